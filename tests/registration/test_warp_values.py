"""`warp`: what becomes of values, backgrounds, labels and landmarks, and what is said of it."""

import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from tfreg.errors import InputWarning, UserError
from tfreg.io.formats import write_points, write_volume
from tfreg.io.transform_archive import load_transform, save_transform
from tfreg.registration.register_volumes import register
from tfreg.registration.warp import WarpOptions, warp_files
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The result of an initial alignment that does nothing, between grids of 2 mm, and where the inputs are."""
    affine = np.diag([2.0, 2, 2, 1])
    rng = np.random.default_rng(3)
    image = Volume(rng.normal(500, 50, (12, 13, 14)).astype(np.float32), affine, frame=4)
    shifted = Volume(image.array, affine + np.array([[0, 0, 0, 8.0], [0] * 4, [0] * 4, [0] * 4]), frame=2)
    folder = tmp_path_factory.mktemp("plain")
    register(image, shifted, model="none", refine=False).save(folder / "result")
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
    with pytest.raises(UserError) as caught:
        warp_files(plain / "result", inputs, tmp_path / "out", WarpOptions(interpolation="nearest"))
    text = str(caught.value)
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
