"""Reading and writing volumes, held against SimpleITK."""

import os
import re
import stat

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nifti_files import image, patch, save

from tfreg.errors import UserError
from tfreg.io.formats import read_volume, write_volume
from tfreg.volumes.volume import Volume

WRITTEN = ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "A.NII.GZ"])
def test_nifti_points_are_itks(tmp_path, volume, name):
    path = save(tmp_path / name, volume.array, volume.affine)
    result = read_volume(path)
    other = sitk.ReadImage(str(path), imageIO="NiftiImageIO")
    for index in [(0, 0, 0), (3, 4, 5), (1, 3, 2)]:
        lps = np.array(other.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(result.lattice.to_world(index), lps * [-1, -1, 1], atol=1e-4)
        assert result.array[index] == other[index] == volume.array[index]
    assert result.array.dtype == np.float32
    assert (result.frame, result.notes) == (1, ())


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
def test_itk_files_agree_with_nifti(tmp_path, volume, name):
    other = sitk.ReadImage(str(save(tmp_path / "b.nii", volume.array, volume.affine)))
    sitk.WriteImage(other, str(tmp_path / name))
    result = read_volume(tmp_path / name)
    np.testing.assert_array_equal(result.array, volume.array)
    assert result.lattice.same_as(volume.lattice, 1e-4)
    assert result.array.flags.c_contiguous


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("shear", [0, 0.2])
def test_what_is_written_comes_back(tmp_path, volume, name, shear):
    sheared = volume.affine.copy()
    sheared[:3, 1] += shear * sheared[:3, 0]
    write_volume(tmp_path / name, Volume(volume.array, sheared, frame=4))
    result = read_volume(tmp_path / name)
    np.testing.assert_array_equal(result.array, volume.array)
    np.testing.assert_allclose(result.affine, sheared, atol=1e-4)
    assert len(result.notes) == (shear > 0)
    assert all("degrees off right angles" in note for note in result.notes)
    assert result.frame == (4 if ".nii" in name else 1)
    assert os.listdir(tmp_path) == [name]


def test_written_nifti_header(tmp_path, volume):
    write_volume(tmp_path / "a.nii.gz", Volume(volume.array.astype(np.float64), volume.affine, frame=0))
    header = nib.load(tmp_path / "a.nii.gz").header
    assert header.get_data_dtype() == np.float32
    assert header.get_xyzt_units()[0] == "mm"
    assert (header["sform_code"], header["qform_code"]) == (1, 1)
    np.testing.assert_allclose(header.get_sform(), header.get_qform(), atol=1e-4)


def test_a_sheared_volume_is_written_without_a_qform(tmp_path):
    affine = np.diag([1.5, 1, 2.5, 1])
    affine[0, 2] = 0.5
    write_volume(tmp_path / "a.nii", Volume(image(), affine))
    header = nib.load(tmp_path / "a.nii").header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)
    # With a qform beside it ITK would read that one, and misplace the voxels without a word.
    with pytest.raises(RuntimeError, match="No orthonormal definition found"):
        sitk.ReadImage(str(tmp_path / "a.nii"))


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (image(dtype=np.int64) - 60, np.int32),
        (image(dtype=np.uint64), np.int32),
        (image() > 60, np.uint8),
        (image(dtype=np.uint16), np.uint16),
        (image(dtype=np.int64) * 2**40, np.int64),
    ],
)
def test_integers_keep_their_values(tmp_path, name, array, dtype):
    write_volume(tmp_path / name, Volume(array, np.eye(4)))
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name))).T
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored, array)
    np.testing.assert_array_equal(read_volume(tmp_path / name, labels=True).array, array)


def test_scale_factor_and_byte_order(tmp_path):
    nifti = nib.Nifti1Image(image(dtype=">i2"), np.eye(4), nib.Nifti1Header(endianness=">"), dtype=np.int16)
    nifti.to_filename(tmp_path / "a.nii")
    # scl_slope and scl_inter, big-endian float32
    patch(tmp_path / "a.nii", 112, np.array([0.5, -3], ">f4").tobytes())
    array = read_volume(tmp_path / "a.nii").array
    np.testing.assert_array_equal(array, 0.5 * image() - 3)
    assert array.dtype.isnative


def test_trailing_axes_of_one(tmp_path, volume):
    save(tmp_path / "a.nii", volume.array[..., None, None], volume.affine)
    assert read_volume(tmp_path / "a.nii").shape == (4, 5, 6)
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(image().T)]), str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mha").array, image())


def test_nifti2(tmp_path):
    nib.Nifti2Image(image(), np.eye(4)).to_filename(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, image())


def test_values_that_are_not_finite_are_kept(tmp_path):
    array = image()
    array[0, 0], array[1, 1, 1] = np.nan, np.inf
    np.testing.assert_array_equal(read_volume(save(tmp_path / "a.nii", array)).array, array)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 1], np.uint8),
        ([0.0, 255.0], np.uint8),
        ([-1, 3], np.int16),
        ([0, 40000], np.uint16),
        ([0, 70000], np.int32),
        ([0, 2.0**40], np.int64),
    ],
)
def test_labels_take_the_smallest_dtype(tmp_path, values, dtype):
    array = np.resize(np.array(values), (4, 5, 6))
    result = read_volume(save(tmp_path / "a.nii.gz", array), labels=True)
    assert result.array.dtype == dtype
    np.testing.assert_array_equal(result.array, array)


def test_labels_stored_with_a_scale_factor(tmp_path):
    nib.Nifti1Image(np.resize([0.0, 1, 2, 7], (4, 5, 6)), np.eye(4)).to_filename(tmp_path / "a.nii")
    nifti = nib.load(tmp_path / "a.nii")
    nifti.set_data_dtype(np.uint8)
    nifti.to_filename(tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").dataobj.slope != 1
    np.testing.assert_array_equal(
        read_volume(tmp_path / "b.nii", labels=True).array, np.resize([0, 1, 2, 7], (4, 5, 6))
    )


@pytest.mark.parametrize(("units", "scale", "name"), [("meter", 1e3, "metre"), ("micron", 1e-3, "micron")])
def test_units_are_scaled_as_in_itk(tmp_path, units, scale, name):
    affine = np.diag([-2, 3, 4, 1]) / scale
    affine[:3, 3], affine[3, 3] = np.array([7, 8, 9]) / scale, 1
    path = save(tmp_path / "a.nii", image(), affine, units=units)
    result = read_volume(path)
    assert name in result.notes[0]
    np.testing.assert_allclose(result.spacing, [2, 3, 4], rtol=1e-5)
    point = np.array(sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((3, 4, 5)))
    np.testing.assert_allclose(result.lattice.to_world([3, 4, 5]), point * [-1, -1, 1], rtol=1e-5)


def test_sform_and_qform_that_disagree(tmp_path):
    nifti = nib.load(save(tmp_path / "a.nii", image()))
    other = np.diag([1.5, 1, 2.5, 1])
    other[0, 3] = 0.5
    nifti.set_qform(other, 2)
    nifti.to_filename(tmp_path / "b.nii")
    result = read_volume(tmp_path / "b.nii")
    assert re.search(r"sform and qform disagree by up to 0.333 voxels: the sform was used", result.notes[0])
    np.testing.assert_array_equal(result.affine, np.diag([1.5, 1, 2.5, 1]))
    # A twentieth of a voxel is the same place.
    other[0, 3] = 0.075
    nifti.set_qform(other, 2)
    nifti.to_filename(tmp_path / "c.nii")
    assert read_volume(tmp_path / "c.nii").notes == ()


def test_the_frame_is_the_code_of_the_form_that_was_used(tmp_path):
    assert read_volume(save(tmp_path / "a.nii", image(), sform=4, qform=1)).frame == 4
    assert read_volume(save(tmp_path / "b.nii", image(), sform=0, qform=2)).frame == 2


def test_an_unknown_frame_is_noted(tmp_path):
    result = read_volume(save(tmp_path / "a.nii", image(), sform=0, qform=0))
    assert result.frame == 0
    assert "world frame is unknown" in result.notes[0]
    assert "LAS" in result.notes[0]
    assert result.orientation == "LAS"


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a", "a.hdr"])
def test_unknown_extension_to_write(tmp_path, volume, name):
    with pytest.raises(UserError, match=r"unknown extension; give \.nii\.gz"):
        write_volume(tmp_path / name, volume)


def test_no_folder_to_write_into(tmp_path, volume):
    with pytest.raises(UserError, match="folder does not exist; create"):
        write_volume(tmp_path / "none" / "a.nii", volume)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_to_write(tmp_path, volume):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(UserError, match="cannot be written"):
        write_volume(tmp_path / "a.nii", volume)


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, volume):
    write_volume(tmp_path / "a.nii", volume)
    too_long = Volume(np.zeros((1, 40000, 1), np.uint8), np.eye(4))
    with pytest.raises(UserError, match="cannot be written"):
        write_volume(tmp_path / "a.nii", too_long)
    assert os.listdir(tmp_path) == ["a.nii"]
    assert read_volume(tmp_path / "a.nii").shape == (4, 5, 6)


@pytest.mark.parametrize("name", ["lung_ct/fixed", "lung_mri/0004", "cardiac/patient001_ED"])
def test_real_volumes_lie_where_itk_puts_them(shared_data, name):
    path = shared_data / f"{name}.nii.gz"
    result, other = read_volume(path), sitk.ReadImage(str(path))
    corner = np.array(result.shape) - 1
    point = np.array(other.TransformIndexToPhysicalPoint(corner.tolist()))
    np.testing.assert_allclose(result.lattice.to_world(corner), point * [-1, -1, 1], atol=1e-2)
    assert result.array[tuple(corner // 2)] == other[(corner // 2).tolist()]
    assert result.notes == ()
