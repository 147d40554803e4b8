"""A pair for all passes at once: as it lies, or coarser where the network grid sees much less."""

import numpy as np
import pytest

from tfreg.config import Preprocessing
from tfreg.preprocessing.aligned_pair import align_pair, onto_network_grid
from tfreg.preprocessing.network_grid import cube_lattice
from tfreg.preprocessing.whole_pair import FINENESS, whole_pair


@pytest.fixture
def aligned(pair):
    return align_pair(*pair, Preprocessing(init="moments"))


def test_it_says_where_the_grid_lies_in_both(aligned, rng):
    lattice = cube_lattice(aligned.fixed.lattice, 4000)
    whole = whole_pair(aligned, lattice)
    assert whole.fixed is aligned.fixed
    assert whole.moving is aligned.moving
    voxels = rng.uniform(-3, 20, (50, 3))
    world = lattice.to_world(voxels)
    moved = world @ aligned.init[:3, :3].T + aligned.init[:3, 3]
    for name, volume, points in (("fixed", aligned.fixed, world), ("moving", aligned.moving, moved)):
        matrix = whole.batch[f"{name}_map"]
        places = voxels @ matrix[:, :3].T + matrix[:, 3]
        np.testing.assert_allclose(places, volume.lattice.to_voxel(points), rtol=0, atol=1e-6)
        np.testing.assert_array_equal(whole.batch[name][0, ..., 0], volume.array)
    assert tuple(whole.batch["grid"]) == lattice.shape
    assert whole.voxels == max(np.prod(aligned.fixed.shape), np.prod(aligned.moving.shape), np.prod(lattice.shape))


def test_volumes_that_are_much_finer_are_made_coarser(aligned):
    """Over the same field of view; the network grid sees nearly the same of them."""
    lattice = cube_lattice(aligned.fixed.lattice, 500)
    whole = whole_pair(aligned, lattice)
    steps = []
    for volume, own in ((whole.fixed, aligned.fixed), (whole.moving, aligned.moving)):
        assert volume.array.size < own.array.size
        assert volume.array.min() >= 0
        assert volume.array.max() <= 1
        half = np.full(3, 0.5)
        for corner in (-half, np.array(own.shape) - half):
            inner = own.lattice.to_world(corner)
            outer = volume.lattice.to_world(np.where(corner < 0, -0.5, np.array(volume.shape) - 0.5))
            np.testing.assert_allclose(outer, inner, rtol=0, atol=1e-9)
        steps.extend(np.linalg.norm(np.linalg.inv(volume.affine[:3, :3]) @ lattice.affine[:3, :3], axis=1))
    assert max(steps) < FINENESS + 0.5
    seen, expected = (onto_network_grid(fixed, lattice) for fixed in (whole.fixed, aligned.fixed))
    assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.99
