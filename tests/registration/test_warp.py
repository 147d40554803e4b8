"""`warp` repeats a result on other volumes."""

import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import write_slices

from tfreg.errors import InputWarning, UserError
from tfreg.io.formats import read_points, read_volume, write_points, write_volume
from tfreg.registration import warp as module
from tfreg.registration.register_volumes import register
from tfreg.registration.warp import WarpOptions, warp_files
from tfreg.volumes.volume import Volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tools):
    """A result with its inputs: moving.nii.gz, and labels.nii.gz on another lattice of the moving world."""
    rng = np.random.default_rng(11)
    fixed = tools.textured(rng, (18, 22, 14), tools.placed("oblique", (18, 22, 14), [-30.0, 20, 100]))
    moving = tools.textured(rng, (20, 19, 16), tools.placed("LAS", (20, 19, 16), [-28.0, 21, 101]))
    coarse = tools.placed("LPS", (12, 15, 13), [-28.0, 21, 101])
    labels = Volume(rng.integers(0, 4, (12, 15, 13)).astype(np.int16) * 100, coarse)
    folder = tmp_path_factory.mktemp("warp")
    for name, volume in (("fixed", fixed), ("moving", moving), ("labels", labels)):
        write_volume(folder / f"{name}.nii.gz", volume)
    moving = read_volume(folder / "moving.nii.gz")
    result = register(fixed, moving, model=tools.ChosenRun())
    result.save(folder / "result")
    return folder


def refused(*arguments, force=False, on_written=None, **options):
    with pytest.raises(UserError) as caught:
        warp_files(*arguments, WarpOptions(**options), force, on_written)
    assert ";" in str(caught.value) or "choose" in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_moving_image_becomes_the_warped_one(folder, tmp_path):
    (path,) = warp_files(folder / "result" / "transform.npz", [folder / "moving.nii.gz"], tmp_path / "again.nii.gz")
    assert path == tmp_path / "again.nii.gz"
    again, warped = nib.load(path), nib.load(folder / "result" / "warped.nii.gz")
    np.testing.assert_allclose(again.get_fdata(), warped.get_fdata(), atol=1e-3)
    np.testing.assert_allclose(again.affine, warped.affine, atol=1e-4)


def test_labels_stay_labels(folder, tmp_path):
    path = tmp_path / "labels.nii.gz"
    warp_files(folder / "result", [folder / "labels.nii.gz"], path, WarpOptions(interpolation="nearest"))
    result = nib.load(path)
    assert result.get_data_dtype() == np.int16
    assert set(np.unique(result.dataobj)) == {0, 100, 200, 300}
    fixed, moving = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("fixed", "labels"))
    transform = sitk.ReadTransform(str(folder / "result" / "transform.h5"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkNearestNeighbor)).T
    assert (np.asarray(result.dataobj) == theirs).mean() > 0.999  # a point may fall on either side of a face


def test_cubic_is_simpleitks(folder, tmp_path):
    path = tmp_path / "cubic.nii.gz"
    warp_files(folder / "result", [folder / "moving.nii.gz"], path, WarpOptions(interpolation="cubic", background=0.0))
    fixed, moving = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving"))
    transform = sitk.ReadTransform(str(folder / "result" / "transform.h5"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkBSpline, 0.0)).T
    ours = nib.load(path).get_fdata()
    same = (ours == 0) == (theirs == 0)
    assert same.mean() > 0.999
    np.testing.assert_allclose(ours[same], theirs[same], atol=0.01 * np.ptp(ours))


def test_another_grid(folder, tmp_path):
    reference = Volume(np.zeros((9, 8, 7), np.float32), np.diag([3.0, 3.5, 4.0, 1.0]), frame=4)
    affine = np.array(reference.affine)
    affine[:3, 3] = np.array([-30.0, 20, 100]) - affine[:3, :3] @ [4, 3.5, 3]
    array = reference.array
    array[0] = 1
    write_volume(tmp_path / "reference.nii.gz", Volume(array, affine, frame=4))
    path = tmp_path / "coarse.nii.gz"
    warp_files(
        folder / "result", [folder / "moving.nii.gz"], path, WarpOptions(reference=tmp_path / "reference.nii.gz")
    )
    image = sitk.ReadImage(str(path))
    assert image.GetSize() == (9, 8, 7)
    assert int(nib.load(path).header["sform_code"]) == 4
    # The transform is exact on any grid; the written field is interpolated on the fixed one.
    moving = sitk.ReadImage(str(folder / "moving.nii.gz"))
    transform = sitk.ReadTransform(str(folder / "result" / "transform.h5"))
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, image, transform, sitk.sitkLinear, -200.0)).T
    ours = nib.load(path).get_fdata()
    assert np.median(np.abs(ours - theirs)) < 0.01 * np.ptp(ours)


def test_several_inputs_keep_their_names(folder, tmp_path):
    out = tmp_path / "deep" / "warped"
    inputs = [folder / "moving.nii.gz", folder / "labels.nii.gz"]
    assert warp_files(folder / "result", inputs, out) == [out / "moving.nii.gz", out / "labels.nii.gz"]
    assert sorted(path.name for path in out.iterdir()) == ["labels.nii.gz", "moving.nii.gz"]
    assert warp_files(folder / "result", inputs[:1], out, force=True) == [out / "moving.nii.gz"]


def test_dicom_becomes_nifti(folder, tmp_path):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 900, (6, 5, 4)).astype(np.uint16)
    write_slices(tmp_path / "scan", pixels)
    write_slices(tmp_path / "scan", pixels + 1, series="1.2.4")
    (tmp_path / "out").mkdir()
    inputs = [tmp_path / "scan#1.2.3", tmp_path / "scan" / "1.2.4_97.dcm"]
    with pytest.warns(InputWarning, match="does not reach the grid"):
        targets = warp_files(folder / "result", inputs, tmp_path / "out")
    assert [path.name for path in targets] == ["scan_1.2.3.nii.gz", "1.2.4_97.nii.gz"]


def test_the_background_is_the_smallest_value_or_the_one_given(folder, tmp_path, pair):
    far = np.array(pair[1].affine)
    far[:3, 3] += 500
    write_volume(tmp_path / "far.nii.gz", Volume(pair[1].array, far))
    for background, expected in ((None, pair[1].array.min()), (7.5, 7.5)):
        with pytest.warns(InputWarning, match=r"far.nii.gz: it does not reach the grid"):
            warp_files(
                folder / "result",
                [tmp_path / "far.nii.gz"],
                tmp_path / "out.nii.gz",
                WarpOptions(background=background),
                True,
            )
        assert (nib.load(tmp_path / "out.nii.gz").get_fdata(dtype=np.float32) == np.float32(expected)).all()


def test_what_is_refused(folder, tmp_path, monkeypatch):
    moving, result = folder / "moving.nii.gz", folder / "result"
    out = tmp_path / "out.nii.gz"
    assert refused(result, [moving], out, interpolation="sinc").startswith("--interpolation sinc: choose")
    assert refused(tmp_path, [moving], out).startswith(f"{tmp_path / 'transform.npz'}: does not exist")
    assert refused(result / "report.json", [moving], out).startswith(f"{result / 'report.json'}: is not a tfreg")
    assert "no such file" in refused(result, [tmp_path / "nowhere.nii.gz"], out)
    assert "no such file" in refused(result, [moving], out, reference=tmp_path / "nowhere.nii.gz")
    assert "two inputs" in refused(result, [moving, folder / "result" / ".." / "moving.nii.gz"], tmp_path / "new")
    assert refused(result, [moving], tmp_path / "out.png").startswith(f"{tmp_path / 'out.png'}: unknown extension")
    assert "choose another place" in refused(result, [moving], result / "report.json" / "deep" / "out.nii.gz")
    assert "is the input itself" in refused(result, [moving], moving, force=True)
    assert list(tmp_path.iterdir()) == []
    out.write_text("mine")
    assert "--force" in refused(result, [moving], out)
    assert out.read_text() == "mine"


def test_a_failure_leaves_the_other_inputs_and_nothing_of_its_own(folder, tmp_path, monkeypatch):
    def fail_for_the_second(path, volume):
        if path.name.endswith("labels.nii.gz"):
            raise UserError(f"{path}: cannot be written (No space left on device); choose another place")
        write_volume(path, volume)

    monkeypatch.setattr(module, "write_volume", fail_for_the_second)
    inputs = [folder / "moving.nii.gz", folder / "labels.nii.gz"]
    out, written = tmp_path / "deep" / "out", []
    text = refused(folder / "result", inputs[::-1], out, on_written=written.append)
    assert text.startswith(f"1 of 2 inputs could not be warped, the others are in {out}: {out / 'labels.nii.gz'}: ")
    assert list(out.iterdir()) == written == [out / "moving.nii.gz"]
    refused(folder / "result", inputs[1:], tmp_path / "new" / "labels.nii.gz")
    assert list(tmp_path.iterdir()) == [tmp_path / "deep"]
    (out / "labels.nii.gz").write_text("earlier")
    refused(folder / "result", inputs[1:], out, force=True)
    assert (out / "labels.nii.gz").read_text() == "earlier"


def test_no_input_is_replaced_under_another_name(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    moving, result = tmp_path / "copy" / "moving.nii.gz", tmp_path / "copy" / "result"
    (tmp_path / "link.nii.gz").symlink_to(moving)
    (tmp_path / "hard.nii.gz").hardlink_to(moving)
    (tmp_path / "nowhere.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    for name in ("link.nii.gz", "hard.nii.gz"):
        assert "is the input itself" in refused(result, [moving], tmp_path / name, force=True)
    assert "already exists" in refused(result, [moving], tmp_path / "nowhere.nii.gz")
    reference = result / "warped.nii.gz"
    assert "is the input itself" in refused(result, [moving], reference, reference=reference, force=True)
    assert "unknown extension" in refused(result, [moving], result / "transform.npz", force=True)


def test_a_file_that_appears_meanwhile_is_kept(folder, tmp_path, monkeypatch):
    def slowly(path, volume):
        write_volume(path, volume)
        (tmp_path / "out.nii.gz").write_text("mine")

    monkeypatch.setattr(module, "write_volume", slowly)
    text = refused(folder / "result", [folder / "moving.nii.gz"], tmp_path / "out.nii.gz")
    assert text == f"{tmp_path / 'out.nii.gz'}: appeared while the command ran; name another file"
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_points_go_to_the_fixed_image_and_back(folder, tmp_path):
    rng = np.random.default_rng(4)
    moving_points = np.array([-28.0, 21, 101]) + rng.uniform(-8, 8, (40, 3))
    write_points(tmp_path / "moving.csv", moving_points)
    warp_files(folder / "result", [tmp_path / "moving.csv"], tmp_path / "fixed.csv")
    fixed_points = read_points(tmp_path / "fixed.csv")
    assert np.linalg.norm(fixed_points - moving_points, axis=1).mean() > 1

    transform = sitk.ReadTransform(str(folder / "result" / "linear.tfm"))  # that the field is left out shows
    flip = np.array([-1, -1, 1])
    linear = np.array([transform.TransformPoint(tuple(p)) for p in fixed_points * flip]) * flip
    assert np.abs(linear - moving_points).max() > 0.1

    warp_files(folder / "result", [tmp_path / "fixed.csv"], tmp_path / "back.csv", WarpOptions(inverse=True))
    np.testing.assert_allclose(read_points(tmp_path / "back.csv"), moving_points, atol=1e-5)


def test_inverse_takes_the_fixed_image_to_the_moving_grid(folder, tmp_path):
    (path,) = warp_files(
        folder / "result", [folder / "fixed.nii.gz"], tmp_path / "inverse.nii.gz", WarpOptions(inverse=True)
    )
    fixed, moving = (sitk.ReadImage(str(folder / f"{name}.nii.gz")) for name in ("fixed", "moving"))
    field = sitk.ReadImage(str(folder / "result" / "inverse_displacement.nii.gz"), sitk.sitkVectorFloat64)
    background = float(sitk.GetArrayFromImage(fixed).min())
    theirs = sitk.Resample(fixed, moving, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, background)
    ours = sitk.ReadImage(str(path))
    np.testing.assert_allclose(ours.GetOrigin(), moving.GetOrigin(), atol=1e-4)
    ours, theirs = sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs)
    same = (ours == background) == (theirs == background)
    assert same.mean() > 0.99
    np.testing.assert_allclose(ours[same], theirs[same], atol=0.5)


def test_landmarks_are_not_written_as_an_image(folder, tmp_path):
    write_points(tmp_path / "points.csv", np.zeros((1, 3)))
    assert ".csv" in refused(folder / "result", [tmp_path / "points.csv"], tmp_path / "points.nii.gz")
