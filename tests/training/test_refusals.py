"""A config, volumes or a folder that do not fit are refused in one line, and nothing is written."""

import os
import socket

import numpy as np
import pytest
from training_runs import changed, tiny

from tfreg.io.folders.folder_lock import locked_folder
from tfreg.io.formats import read_volume, write_volume
from tfreg.io.tables.manifest import read_subjects
from tfreg.volumes.volume import Volume


def test_a_run_in_use_is_refused(data, refusal, tmp_path):
    with locked_folder(tmp_path / "run"):
        line = refusal(tiny(), data, tmp_path / "run")
        assert line.startswith(
            f"{tmp_path / 'run'}: is in use by process {os.getpid()} on {socket.gethostname()} since"
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "overrides", "expected"),
    [
        ("training: {epoch: 3}", (), "unknown key `training.epoch`"),
        ("training: {epochs: many}", (), "`training.epochs`"),
        ("pairs: all", ("loss.gamma=1",), "unknown key `loss.gamma`"),
        ("preprocessing: {init: best}", (), "preprocessing.init: best is for registering alone"),
        ("pairs: {moving: inhale, fixed: hold}", (), "no volume has phase 'hold'"),
        ("phase: hold", (), "no volume has phase 'hold'"),
        ("preprocessing: {intensity: {window: [5000, 6000]}}", (), "give another intensity window"),
    ],
)
def test_configs_that_do_not_fit_are_refused(data, refusal, tmp_path, config, overrides, expected):
    assert expected in refusal(config, data, tmp_path / "run", *overrides)
    assert not (tmp_path / "run").exists()


def test_labels_on_another_grid_are_refused(data, manifest, refusal, tmp_path):
    labels = read_volume(read_subjects(data)[0].labels, labels=True)
    shifted = labels.affine.copy()
    shifted[0, 3] += 3  # a fifth of a voxel
    write_volume(tmp_path / "shifted.nii.gz", Volume(labels.array, shifted))
    path = manifest(lambda s: changed(s, labels=tmp_path / "shifted.nii.gz") if s.id == "s001_inhale" else s)
    line = refusal(tiny(), path, tmp_path / "run")
    assert line.startswith(str(tmp_path / "shifted.nii.gz"))
    assert "another grid than its image s001_inhale.nii.gz" in line
    assert not (tmp_path / "run").exists()


def test_network_grids_of_several_shapes_are_refused(data, manifest, refusal, tmp_path):
    image = read_volume(read_subjects(data)[1].image)
    write_volume(tmp_path / "cropped.nii.gz", Volume(image.array[:, :-5], image.affine))
    path = manifest(
        lambda s: changed(s, image=tmp_path / "cropped.nii.gz", labels=None) if s.id == "s001_exhale" else s
    )
    line = refusal(tiny(preprocessing={"network_grid": {"spacing": 20}}), path, tmp_path / "run")
    assert line.startswith(str(tmp_path / "cropped.nii.gz"))
    assert line.endswith("set preprocessing.network_grid.shape")
    assert not (tmp_path / "run").exists()


def test_labels_beyond_32_bits_are_refused(data, manifest, refusal, tmp_path):
    labels = read_volume(read_subjects(data)[0].labels, labels=True)
    large = labels.array.astype(np.int64) * 2**32
    write_volume(tmp_path / "large.nii.gz", labels.with_array(large))
    path = manifest(lambda s: changed(s, labels=tmp_path / "large.nii.gz") if s.id == "s001_inhale" else s)
    line = refusal(tiny(), path, tmp_path / "run")
    assert line.startswith(f"{tmp_path / 'large.nii.gz'}: has labels beyond 32 bits")
