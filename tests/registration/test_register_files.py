"""`register_files`: every file of a result, what is replaced, and what a failure leaves."""

import hashlib
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pairs import registered_files, thresholded

import tfreg
from tfreg.errors import UserError
from tfreg.io.formats import read_points, read_volume, write_points, write_volume
from tfreg.io.transform_archive import load_transform
from tfreg.registration import result as module
from tfreg.registration.register_volumes import register
from tfreg.registration.result import REGISTRATION
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

FLIP = np.array([-1, -1, 1])


FILES = {
    "warped.nii.gz",
    "displacement.nii.gz",
    "linear.tfm",
    "transform.h5",
    "transform.npz",
    "inverse_displacement.nii.gz",
    "jacobian.nii.gz",
    "report.json",
    "report.png",
    "views.npz",
}


@pytest.fixture
def files(tmp_path, pair):
    for name, volume in zip(("fixed", "moving"), pair, strict=True):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
        write_volume(tmp_path / f"{name}_labels.nii.gz", thresholded(volume))
        write_points(tmp_path / f"{name}_points.csv", volume.lattice.to_world(np.array([[4.0, 5, 6], [9, 8, 7]])))
    return tmp_path


def test_every_file(files, run_folder):
    out = files / "deep" / "result"
    result = registered_files(
        files / "fixed.nii.gz",
        files / "moving.nii.gz",
        out,
        model=run_folder,
        fixed_labels=files / "fixed_labels.nii.gz",
        moving_labels=files / "moving_labels.nii.gz",
        fixed_points=files / "fixed_points.csv",
        moving_points=files / "moving_points.csv",
        seed=7,
    )
    assert {path.name for path in out.iterdir()} == FILES | {"volume_change.nii.gz"}
    assert [path.name for path in out.parent.iterdir()] == ["result"]
    fixed = read_volume(files / "fixed.nii.gz")
    for name, array in (("warped", result.warped.array), ("jacobian", result.log_jacobian)):
        written = nib.load(out / f"{name}.nii.gz")
        np.testing.assert_array_equal(written.get_fdata(dtype=np.float32), array)
        np.testing.assert_allclose(written.affine, fixed.affine, atol=1e-4)
    field = nib.load(out / "displacement.nii.gz")
    assert field.header["dim"].tolist()[:6] == [5, *fixed.shape, 1, 3]
    np.testing.assert_allclose(field.get_fdata()[:, :, :, 0] * FLIP, result.displacement_mm, atol=1e-5)
    transform, fixed_lattice, _ = load_transform(out)
    assert fixed_lattice.same_as(fixed.lattice, 1e-4)
    np.testing.assert_array_equal(transform(fixed.lattice.points()), result.transform(fixed.lattice.points()))
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")

    report = json.loads((out / "report.json").read_text())
    assert report["versions"]["tfreg"] == tfreg.__version__
    assert {"keras", "numpy", "scipy", "tensorflow"} <= set(report["versions"])
    digest = hashlib.sha256((run_folder / "model.keras").read_bytes()).hexdigest()
    assert (report["model"]["name"], report["model"]["sha256"]) == ("tiny", digest)
    assert report["seed"] == 7
    assert report["config"]["model"]["encoder_filters"] == [4, 6]
    assert {"read", "load_model", "prepare", "predict", "map", "warp", "total"} <= set(report["seconds"])
    assert report["seconds"]["total"] >= sum(value for key, value in report["seconds"].items() if key != "total") - 0.1
    # Neither the place of the inputs nor the user's name leaks.
    assert str(files) not in (out / "report.json").read_text()
    assert str(run_folder.parent) not in (out / "report.json").read_text()
    # The .keras file itself may be named.
    again = registered_files(
        files / "fixed.nii.gz", files / "moving.nii.gz", files / "r2", model=run_folder / "model.keras"
    )
    np.testing.assert_array_equal(again.displacement_mm, result.displacement_mm)


def test_paths_are_recorded_when_asked_for(files):
    registered_files(files / "fixed.nii.gz", files / "moving.nii.gz", files / "out", refine=False, record_paths=True)
    report = json.loads((files / "out" / "report.json").read_text())
    assert report["paths"] == {name: str(files / f"{name}.nii.gz") for name in ("fixed", "moving")}
    assert report["model"] is None


def test_a_frame_code_is_kept(files, pair):
    write_volume(files / "fixed.nii.gz", Volume(pair[0].array, pair[0].affine, frame=4))
    registered_files(files / "fixed.nii.gz", files / "moving.nii.gz", files / "out", refine=False)
    for name in ("warped", "displacement", "jacobian"):
        assert int(nib.load(files / "out" / f"{name}.nii.gz").header["sform_code"]) == 4


def test_a_sheared_fixed_volume(files, pair, tools):
    """A tilted gantry: the field lies on a lattice that is not right-angled."""
    fixed, moving = pair
    affine = np.array(fixed.affine)
    affine[:3, 2] += 0.3 * affine[:3, 1]
    fixed = Volume(fixed.array, affine)
    result = register(fixed, moving, model=tools.ChosenRun(), init="centre")
    result.save(files / "out")
    theirs = sitk.ReadTransform(str(files / "out" / "transform.h5"))
    point_world = fixed.lattice.to_world(np.array([9.0, 11, 7]))
    moved = np.array(theirs.TransformPoint((point_world * FLIP).tolist())) * FLIP
    np.testing.assert_allclose(moved, result.transform(point_world), atol=1e-3)


def test_force_replaces_a_result_and_nothing_else(files):
    arguments = (files / "fixed.nii.gz", files / "moving.nii.gz", files / "out")
    registered_files(*arguments, refine=False)
    with pytest.raises(UserError, match="already exists"):
        registered_files(*arguments, refine=False)
    (files / "out" / "landmarks.csv").write_text("mine")
    (files / "out" / "report.html").write_text("a page of the earlier result")
    registered_files(*arguments, refine=False, force=True)
    assert {path.name for path in (files / "out").iterdir()} == {*FILES, "landmarks.csv"}
    assert (files / "out" / "landmarks.csv").read_text() == "mine"
    shutil.copy(files / "moving.nii.gz", files / "out" / "inside.nii.gz")
    with pytest.raises(UserError, match=r"inside\.nii\.gz: lies in .*out, which is to be written; move it"):
        registered_files(
            files / "fixed.nii.gz", files / "out" / "inside.nii.gz", files / "out", refine=False, force=True
        )
    assert (files / "out" / "inside.nii.gz").is_file()
    assert set(REGISTRATION.own(files / "out")) == FILES


def test_a_picture_that_cannot_be_drawn_does_not_cost_the_result(files, monkeypatch, capsys):
    from tfreg.cli.options import print_summary
    from tfreg.report import registration_figure

    def failing(*arguments):
        raise RuntimeError("no font was found")

    monkeypatch.setattr(registration_figure, "registration_figure", failing)
    result = registered_files(files / "fixed.nii.gz", files / "moving.nii.gz", files / "out", refine=False)
    written = {path.name for path in (files / "out").iterdir()}
    assert {"warped.nii.gz", "displacement.nii.gz", "transform.h5", "report.json"} <= written
    assert "report.png" not in written
    note = "report.png could not be drawn (no font was found); the other results are complete."
    assert note in json.loads((files / "out" / "report.json").read_text())["warnings"]
    print_summary(result, files / "out")
    printed = capsys.readouterr()
    assert f"tfreg: warning: {note}\n" in printed.err
    assert "look at" not in printed.out


def test_nothing_is_left_of_a_failure_while_writing(files, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    before = {path.name for path in files.iterdir()}
    monkeypatch.setattr(module, "write_composite", fail)
    with pytest.raises(UserError, match="No space left"):
        registered_files(files / "fixed.nii.gz", files / "moving.nii.gz", files / "deep" / "out", refine=False)
    assert {path.name for path in files.iterdir()} == before


def test_lung_ct(shared_data, tmp_path, run_folder):
    """Known distances and overlaps before; after, SimpleITK finds what the report says."""
    data = shared_data / "lung_ct"
    out = tmp_path / "result"
    result = registered_files(
        data / "fixed.nii.gz",
        data / "moving.nii.gz",
        out,
        model=run_folder,
        init="centre",
        fixed_labels=data / "fixed_mask.nii.gz",
        moving_labels=data / "moving_mask.nii.gz",
        fixed_points=data / "fixed_points.csv",
        moving_points=data / "moving_points.csv",
    )
    assert {path.name for path in out.iterdir()} == FILES | {"volume_change.nii.gz"}
    metrics = json.loads((out / "report.json").read_text())["metrics"]
    assert metrics["before"]["landmarks"]["mean_mm"] == pytest.approx(35.27, abs=0.005)
    assert metrics["before"]["mean_dice"] == pytest.approx(0.708, abs=0.0005)
    assert metrics["after_init"]["landmarks"]["mean_mm"] == pytest.approx(7.60, abs=0.005)
    assert metrics["after_init"]["mean_dice"] == pytest.approx(0.903, abs=0.0005)

    fixed_points, moving_points = (read_points(data / f"{side}_points.csv") for side in ("fixed", "moving"))
    field = sitk.ReadImage(str(out / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    for theirs in (sitk.ReadTransform(str(out / "transform.h5")), sitk.DisplacementFieldTransform(field)):
        moved = np.array([theirs.TransformPoint(point.tolist()) for point in fixed_points * FLIP]) * FLIP
        tre_mm = np.linalg.norm(moved - moving_points, axis=1).mean()
        assert metrics["after"]["landmarks"]["mean_mm"] == pytest.approx(tre_mm, abs=0.01)
    assert abs(tre_mm - 7.60) > 0.1  # the network did something
    assert np.abs(result.log_jacobian).max() > 0.01
    lung = read_volume(data / "fixed_mask.nii.gz", labels=True).array != 0
    change = read_volume(out / "volume_change.nii.gz").array
    np.testing.assert_allclose(change[lung], 100 * (np.exp(result.log_jacobian[lung]) - 1), atol=1e-3)
    change_of_lung = json.loads((out / "report.json").read_text())["log_jacobian"]["1"]
    assert change_of_lung["volume_change_percent"] == pytest.approx(change[lung].mean(), abs=1e-3)
    assert change_of_lung["volume_ml"] == pytest.approx(lung.sum() * 1.366**2 * 2.5 / 1000, rel=1e-3)
    identity = Transform.identity(Lattice((2, 2, 2), np.eye(4)))
    assert np.linalg.norm(identity(fixed_points) - moving_points, axis=1).mean() == pytest.approx(35.27, abs=0.005)
