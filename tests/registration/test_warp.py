"""`warp` repeats a result on other volumes."""

import shutil
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import write_slices

from tfreg.errors import InputWarning, UserError
from tfreg.io.formats import read_points, read_volume, write_points, write_volume
from tfreg.io.transform_archive import load_transform, save_transform
from tfreg.registration import warp as module
from tfreg.registration.register_volumes import register
from tfreg.registration.warp import WarpOptions, warp_files
from tfreg.volumes.lattice import Lattice
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


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The result of an initial alignment that does nothing, between grids of 2 mm, and where the inputs are."""
    affine = np.diag([2.0, 2, 2, 1])
    rng = np.random.default_rng(3)
    image = Volume(rng.normal(500, 50, (12, 13, 14)).astype(np.float32), affine, frame=4)
    shifted = Volume(image.array, affine + np.array([[0, 0, 0, 8.0], [0] * 4, [0] * 4, [0] * 4]), frame=2)
    folder = tmp_path_factory.mktemp("plain")
    register(image, shifted, refine=False).save(folder / "result")
    return folder


SHIFTED = np.diag([2.0, 2, 2, 1]) + np.array([[0, 0, 0, 8.0], [0] * 4, [0] * 4, [0] * 4])


def warped(plain, array, tmp_path, affine=SHIFTED, **options):
    """What comes of values on the moving grid (4 voxels on along the first axis), its dtype, and what was said."""
    nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), tmp_path / "input.nii.gz")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warp_files(plain / "result", [tmp_path / "input.nii.gz"], tmp_path / "out.nii.gz", WarpOptions(**options), True)
    assert all(issubclass(warning.category, InputWarning) for warning in caught)
    texts = [str(warning.message).removeprefix(f"{tmp_path / 'input.nii.gz'}: ") for warning in caught]
    image = nib.load(tmp_path / "out.nii.gz")
    return np.asanyarray(image.dataobj), image.get_data_dtype(), texts


def blocks(values, dtype):
    """Labels: a block of every value, and 0 around them."""
    array = np.zeros((12, 13, 14), dtype)
    for number, value in enumerate(values):
        array[2 * number + 1 : 2 * number + 3, 2:11, 3:12] = value
    return array


def test_what_has_no_contrast_is_warped(plain, tmp_path):
    reference = nib.Nifti1Image(np.zeros((20, 20, 20), np.uint8), np.diag([3.0, 3, 3, 1]))
    nib.save(reference, tmp_path / "grid.nii.gz")
    ones, _, texts = warped(
        plain, np.ones((12, 13, 14), np.float32), tmp_path, background=0, reference=tmp_path / "grid.nii.gz"
    )
    assert texts == []
    moving = sitk.GetImageFromArray(np.ones((14, 13, 12)))
    moving.SetSpacing([2, 2, 2])
    moving.SetOrigin([-8, 0, 0])
    moving.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
    theirs = sitk.Resample(moving, sitk.ReadImage(str(tmp_path / "grid.nii.gz")), sitk.Transform(), sitk.sitkLinear)
    np.testing.assert_array_equal(ones, sitk.GetArrayFromImage(theirs).T)
    empty, dtype, texts = warped(plain, np.zeros((12, 13, 14), np.uint8), tmp_path, interpolation="nearest")
    assert (dtype, texts) == (np.uint8, [])
    assert not empty.any()


def test_a_bad_input_among_good_ones_is_named(plain, tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5, 2), np.uint8), np.eye(4)), tmp_path / "4d.nii.gz")
    nib.save(nib.Nifti1Image(blocks([1, 2], np.uint8), np.diag([2.0, 2, 2, 1])), tmp_path / "good.nii.gz")
    inputs = [tmp_path / "4d.nii.gz", tmp_path / "good.nii.gz", tmp_path / "none.csv"]
    text = refused(plain / "result", inputs, tmp_path / "out", interpolation="nearest")
    assert text.startswith(f"2 of 3 inputs could not be warped, the others are in {tmp_path / 'out'}: ")
    assert "4d.nii.gz: is 4D" in text
    assert "none.csv: no such file" in text
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.nii.gz"]


def test_the_world_keeps_its_name(plain, tmp_path):
    image = nib.Nifti1Image(np.ones((9, 9, 9), np.float32), np.diag([4.0, 4, 4, 1]))
    image.set_sform(image.affine, 1)
    nib.save(image, tmp_path / "image.nii.gz")
    for inverse, code in ((False, 4), (True, 2)):
        (path,) = warp_files(
            plain / "result",
            [tmp_path / "image.nii.gz"],
            tmp_path / f"{code}.nii.gz",
            WarpOptions(inverse=inverse, background=0),
        )
        assert int(nib.load(path).header["sform_code"]) == int(nib.load(path).header["qform_code"]) == code


def test_a_tilted_grid_is_told(plain, tmp_path):
    transform, fixed, moving = load_transform(plain / "result")
    affine = np.array(fixed.affine)
    affine[1, 2] += 0.5
    save_transform(tmp_path / "transform.npz", transform, Lattice(fixed.shape, affine), moving)
    write_volume(tmp_path / "input.nii.gz", Volume(np.ones((12, 13, 14), np.float32), SHIFTED))
    with pytest.warns(InputWarning, match="transform.npz: The axes are 14 degrees off right angles"):
        warp_files(tmp_path / "transform.npz", [tmp_path / "input.nii.gz"], tmp_path / "out.nii.gz")
    (tmp_path / "points.csv").write_text("x,y,z\n9,9,9\n")
    warp_files(tmp_path / "transform.npz", [tmp_path / "points.csv"], tmp_path / "out.csv")


def test_header_notes_are_told(plain, tmp_path):
    image = nib.Nifti1Image(np.ones((5, 5, 5), np.float32), np.eye(4))
    image.set_sform(np.eye(4), 1)
    image.set_qform(np.diag([2.0, 2, 2, 1]), 1)
    nib.save(image, tmp_path / "torn.nii.gz")
    with pytest.warns(InputWarning, match=r"torn.nii.gz: sform and qform disagree"):
        warp_files(plain / "result", [tmp_path / "torn.nii.gz"], tmp_path / "out.nii.gz")


@pytest.mark.parametrize(("background", "dtype"), [(-1, np.int16), (300, np.int16), (7, np.uint8), (40000, np.uint16)])
def test_labels_hold_the_background(plain, tmp_path, background, dtype):
    array, stored, texts = warped(
        plain, blocks([9, 3, 3], np.uint8), tmp_path, interpolation="nearest", background=background
    )
    assert (stored, texts) == (dtype, [])
    assert (array[:4] == background).all()  # 8 mm that the moving image does not reach
    np.testing.assert_array_equal(array[4:], blocks([9, 3, 3], np.uint8)[:8])


@pytest.mark.parametrize(
    ("background", "text"), [(255.5, "no whole number"), (np.nan, "no whole number"), (1e30, "give a smaller number")]
)
def test_a_background_that_labels_cannot_hold(plain, tmp_path, background, text):
    with pytest.raises(UserError, match=rf"input.nii.gz: .*--background .*{text}"):
        warped(plain, blocks([9, 3], np.uint8), tmp_path, interpolation="nearest", background=background)
    assert not (tmp_path / "out.nii.gz").exists()


def test_an_image_holds_any_background_that_float32_holds(plain, tmp_path):
    array = np.random.default_rng(1).integers(-1000, 1000, (12, 13, 14)).astype(np.int16)
    for background in (0.5, -70000.0, np.nan):
        result, _, texts = warped(plain, array, tmp_path, interpolation="nearest", background=background)
        assert texts == []
        np.testing.assert_array_equal(result[:4], np.full((4, 13, 14), background, np.float32))
        np.testing.assert_array_equal(result[4:], array[:8])
    with pytest.raises(UserError, match="beyond float32"):
        warped(plain, array, tmp_path, background=1e39)


def test_outside_a_ct_by_nearest_neighbour_is_its_smallest_value(plain, tmp_path):
    array = np.random.default_rng(1).normal(40, 30, (12, 13, 14)).astype(np.int16)
    array[:, :3] = -1000
    result, dtype, texts = warped(plain, array, tmp_path, interpolation="nearest")
    assert (dtype, texts) == (np.int16, [])
    assert (result[:4] == -1000).all()
    np.testing.assert_array_equal(result[4:], array[:8])
    result, dtype, texts = warped(plain, array + np.float32(0.25), tmp_path, interpolation="nearest")
    assert (result[:4] == -999.75).all()
    assert dtype == np.float32
    assert texts == ["its values are not whole numbers: it was warped as an image, not as labels."]


def test_lost_structures_are_told_with_their_numbers(plain, tmp_path):
    array = blocks([9, 3, 3], np.uint16)
    array[9:11, 2:11, 3:12] = 11145  # beyond the end of the fixed grid
    _, _, texts = warped(plain, array, tmp_path, interpolation="nearest")
    lost = "structures are lost, outside the grid or between its voxels"
    assert texts == [f"1 of 3 {lost}: 11145 (162 voxels)."]
    far = np.diag([2.0, 2, 2, 1])
    far[:3, 3] = 500
    result, _, texts = warped(plain, array, tmp_path, affine=far, interpolation="nearest")
    assert not result.any()
    assert texts == [f"3 of 3 {lost}: 3 (324 voxels), 9 (162 voxels), 11145 (162 voxels)."]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint64])
def test_large_labels_are_exact(plain, tmp_path, dtype):
    values = [3, 14175, 2**24 + 2 if dtype == np.float32 else 2**24 + 1]
    values += [2**63 + 4096] if dtype == np.uint64 else []
    array = blocks(values, dtype)
    result, stored, texts = warped(plain, array, tmp_path, affine=np.diag([2.0, 2, 2, 1]), interpolation="nearest")
    np.testing.assert_array_equal(result, array)
    assert np.dtype(stored).kind in "iu"
    assert texts == []


def test_labels_by_linear_interpolation_are_doubted(plain, tmp_path):
    _, dtype, texts = warped(plain, blocks([9, 3, 3], np.uint8), tmp_path)
    assert dtype == np.float32
    assert len(texts) == 1
    assert texts[0].startswith("it looks like labels (0, 3, 9), and linear interpolation makes values between them")
    noise = np.random.default_rng(1).integers(0, 255, (12, 13, 14)).astype(np.uint8)
    for array in (noise, np.ones_like(noise)):  # an image in 8 bits, and a coverage
        assert warped(plain, array, tmp_path, background=0)[2] == []


def test_labels_where_nothing_was_measured(plain, tmp_path):
    array = blocks([9, 3, 3], np.float32)
    array[0] = np.nan
    result, _, texts = warped(plain, array, tmp_path, interpolation="nearest")
    assert texts == ["182 voxels that are not finite were taken as background, 0."]
    np.testing.assert_array_equal(np.unique(result), [0, 3, 9])


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_padding_does_not_bleed_into_what_is_warped(plain, tmp_path, interpolation):
    tissue = np.random.default_rng(1).normal(40, 30, (12, 13, 14)).astype(np.float32)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = 0.7
    results = []
    for value in np.float32([-2048, -32768, -3e38]):
        array = tissue.copy()
        array[:, :4] = value
        result, _, texts = warped(plain, array, tmp_path, affine=affine, interpolation=interpolation)
        text = "672 voxels that hold padding or are not finite have no part in the warped image, which is"
        assert texts == [f"{text} {value:g} there."]
        assert (result[:, :4] == value).all()
        results.append(np.where(result == value, np.nan, result))
        np.testing.assert_array_equal(results[-1], results[0])
    assert np.nanmin(results[0]) > -150


def test_an_image_without_a_finite_value(plain, tmp_path):
    result, _, texts = warped(plain, np.full((12, 13, 14), np.nan, np.float32), tmp_path)
    assert np.isnan(result).all()
    assert texts == ["no voxel has a finite value."]


def test_an_image_that_does_not_reach_the_grid(plain, tmp_path, rng):
    far = np.diag([2.0, 2, 2, 1])
    far[:3, 3] = 500
    _, _, texts = warped(plain, rng.normal(size=(12, 13, 14)).astype(np.float32), tmp_path, affine=far, background=3)
    assert texts == ["it does not reach the grid, and the result is 3 everywhere."]


def test_landmarks_keep_what_was_said_of_them_and_doubts_are_told(plain, tmp_path):
    (tmp_path / "a.csv").write_text("name,x,y,z,reader\ncarina,10,6,8,A\napex,-400,6,8,B\n")
    with pytest.warns(InputWarning, match=r"a.csv: 1 of 2 points lie outside the image, by up to 407 mm: point apex"):
        (path,) = warp_files(plain / "result", [tmp_path / "a.csv"], tmp_path / "out.csv")
    assert path.read_text().splitlines() == [
        "name,x,y,z,reader",
        "carina,10.000000,6.000000,8.000000,A",
        "apex,-400.000000,6.000000,8.000000,B",
    ]
    write_points(tmp_path / "lps.csv", np.array([[-10.0, -6, 8]]))
    with pytest.warns(InputWarning, match=r"lps.csv: .* point 1; with x and y negated they lie in it"):
        warp_files(plain / "result", [tmp_path / "lps.csv"], tmp_path / "other.csv")
    fcsv = "# CoordinateSystem = LPS\n# columns = id,x,y,z,label\n7,-10,-6,8,carina\n8,,,,apex\n"
    (tmp_path / "a.fcsv").write_text(fcsv)
    with pytest.warns(InputWarning, match=r"a.fcsv: 1 of 2 points are not placed, and stay so"):
        warp_files(plain / "result", [tmp_path / "a.fcsv"], tmp_path / "out.fcsv")
    lines = (tmp_path / "out.fcsv").read_text().splitlines()
    assert lines == [*fcsv.splitlines()[:2], "7,-10.000000,-6.000000,8.000000,carina", "8,,,,apex"]


def test_a_folder_of_slices_gets_a_name_that_can_be_written(plain, tmp_path):
    image = sitk.GetImageFromArray(np.ones((5, 6, 7), np.float32))
    sitk.WriteImage(image, str(tmp_path / "a.mhd"))
    write_volume(tmp_path / "b.mha", Volume(np.ones((5, 6, 7), np.float32), np.eye(4)))
    out = tmp_path / "out"
    written = warp_files(plain / "result", [tmp_path / "a.mhd", tmp_path / "b.mha"], out)
    assert written == [out / "a.nii.gz", out / "b.mha"]
