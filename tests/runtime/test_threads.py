"""Volumes are worked on in slabs, by as many threads as are allowed."""

import os
import threading

import numpy as np
import pytest

from tfreg.runtime import threads
from tfreg.runtime.threads import in_slabs, in_threads, thread_count, usable_cpus
from tfreg.volumes.lattice import Lattice

AFFINE = np.array([[0, -2.0, 0.1, 7], [1.5, 0, 0, -3], [0, 0.2, 4, 11], [0, 0, 0, 1]])


@pytest.mark.parametrize("voxels", [1, 40, 2**16])
def test_slabs_are_the_lattice(monkeypatch, voxels):
    monkeypatch.setattr(threads, "PART_SIZE", voxels)
    lattice = Lattice((7, 5, 4), AFFINE)
    parts = in_slabs(lambda slab, points: (slab, points), lattice)
    assert [index for slab, _ in parts for index in range(*slab.indices(7))] == list(range(7))
    np.testing.assert_allclose(np.concatenate([points for _, points in parts]), lattice.points(), atol=1e-12)
    assert len(parts) == {1: 7, 40: 4, 2**16: 1}[voxels]


def test_an_error_is_raised():
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 / part, [1, 0, 2])


@pytest.mark.parametrize(("allowed", "count"), [("1", 1), ("3", 3), ("", None), ("0", None), ("many", None)])
def test_threads_are_limited(monkeypatch, allowed, count):
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert thread_count() == (count or usable_cpus())
    names = in_threads(lambda _: threading.get_ident(), range(50))
    assert len(set(names)) <= thread_count()


@pytest.mark.parametrize(("quota", "count"), [("max 100000", 6), ("250000 100000", 3), ("50000 100000", 1), ("", 6)])
def test_cpus_are_those_that_a_scheduler_and_a_container_leave(monkeypatch, tmp_path, quota, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    assert usable_cpus() == 6
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cpus() == count
