"""Fixed and moving headers that are off right angles, by rounding or by a tilt, and who can read the result."""

import importlib.util
import subprocess
import sys
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pairs import registered_files
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.errors import InputWarning, UserError
from tfreg.io.formats import read_volume
from tfreg.io.itk_transforms import read_displacement
from tfreg.io.transform_archive import load_transform
from tfreg.registration.page import write_pair_page

FLIP = np.array([-1, -1, 1])
SHAPE = (22, 25, 20)
NAMES = ("warped", "displacement", "inverse_displacement", "jacobian")
READ_WITH_ANTS = """
import ants, numpy as np
warped = ants.image_read("warped.nii.gz")
assert ants.image_read("displacement.nii.gz").components == 3
np.save("read", warped.numpy())
np.save("place", ants.transform_index_to_physical_point(warped, [4, 5, 6]))
np.save("warped_again", ants.apply_transforms(warped, warped, ["displacement.nii.gz"]).numpy())
"""


def rounded(digits, spacing):
    """`(4, 4)`, an oblique affine whose matrix was rounded to so many digits of a voxel of 2."""
    affine = np.eye(4)
    affine[:3, :3] = np.round(2 * Rotation.from_euler("xyz", [7, -4, 11], degrees=True).as_matrix(), digits) / 2
    affine[:3, :3] *= spacing
    affine[:3, 3] = np.array([-60, -70, -50]) * spacing
    return affine


def tilted(spacing):
    """`(4, 4)`, slices that a gantry tilted by 12 degrees."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[1, 2] = -spacing * np.tan(np.radians(12))
    return affine


def save(path, array, affine, qform_code):
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, qform_code)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    return path


def registered(folder, affine, run=None, qform_code=1):
    """Files of a pair under one affine and their result; gives the two files and the result's folder."""
    array = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal(SHAPE), 2).astype(np.float32)
    fixed = save(folder / "f.nii.gz", array, affine, qform_code)
    moving = save(folder / "m.nii.gz", np.roll(array, 1, 0), affine, qform_code)
    options = {"refine": False} if run is None else {"model": lambda: run}
    registered_files(fixed, moving, folder / "r", **options)
    return fixed, moving, folder / "r"


@pytest.mark.parametrize("spacing", [2.0, 0.01])
def test_itk_and_tfreg_read_the_result_of_a_rounded_header(tmp_path, tools, spacing):
    affine = rounded(3, spacing)
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    assert np.abs(directions.T @ directions - np.eye(3)).max() > 1.5e-4, "ITK would take this for right angles"
    fixed, _, result = registered(tmp_path, affine, tools.ChosenRun(), qform_code=0)
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(fixed))
    transform, lattice, _ = load_transform(result)
    images = {name: sitk.ReadImage(str(result / f"{name}.nii.gz")) for name in NAMES}
    corners = np.array(np.meshgrid(*([0, n - 1] for n in SHAPE))).reshape(3, -1).T
    for image in images.values():
        for index in corners.tolist():
            place = np.array(image.TransformIndexToPhysicalPoint(index)) * FLIP
            # On the grid of the result exactly, and on the input's to a tenth of a voxel.
            np.testing.assert_allclose(place, lattice.to_world(index), rtol=0, atol=1e-3 * spacing)
            np.testing.assert_allclose(place, (affine @ [*index, 1])[:3], rtol=0, atol=0.1 * spacing)
    field = sitk.DisplacementFieldTransform(sitk.Cast(images["displacement"], sitk.sitkVectorFloat64))
    for index in [(3, 4, 5), (11, 12, 9), (20, 23, 18)]:
        point = lattice.to_world(index)
        moved = np.array(field.TransformPoint((point * FLIP).tolist())) * FLIP
        np.testing.assert_allclose(moved, transform(point), rtol=0, atol=0.01 * spacing)
    np.testing.assert_array_equal(
        read_volume(result / "warped.nii.gz").affine, nib.load(result / "warped.nii.gz").affine
    )
    write_pair_page(result)


@pytest.mark.skipif(importlib.util.find_spec("ants") is None, reason="antspyx is not installed")
def test_ants_reads_the_result_of_a_rounded_header(tmp_path):
    _, _, result = registered(tmp_path, rounded(3, 2.0))
    # In a process of its own: ANTs and SimpleITK each bring an ITK.
    subprocess.run([sys.executable, "-c", READ_WITH_ANTS], cwd=result, check=True)
    warped, again, place = (np.load(result / f"{name}.npy") for name in ("read", "warped_again", "place"))
    ours = read_volume(result / "warped.nii.gz")
    np.testing.assert_array_equal(warped, ours.array)
    # ANTs' Python functions count from one.
    nearest = np.abs([ours.lattice.to_world(np.array([4, 5, 6]) - one) * FLIP - place for one in (0, 1)]).max(axis=1)
    assert nearest.min() < 1e-3
    np.testing.assert_allclose(again, ours.array, atol=1e-4)


def test_of_a_tilted_gantry_the_user_is_told_before_the_work(tmp_path):
    with pytest.warns(InputWarning) as caught:
        fixed, moving, result = registered(tmp_path, tilted(2.0))
    for path in (fixed, moving):
        (text,) = [str(each.message) for each in caught if str(each.message).startswith(f"{path}: ")]
        assert "12 degrees off right angles" in text
        assert "transform.h5" in text
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(result / "warped.nii.gz"))
    # What the message names instead, and tfreg itself.
    assert sitk.ReadTransform(str(result / "transform.h5")).GetDimension() == 3
    assert read_displacement(result / "displacement.nii.gz").shape == (*SHAPE, 3)
    np.testing.assert_allclose(read_volume(result / "warped.nii.gz").affine, tilted(2.0), atol=1e-5)
    write_pair_page(result)


def test_the_grid_is_the_one_on_which_itk_reads_a_rounded_input(tmp_path):
    fixed, _, result = registered(tmp_path, rounded(3, 2.0))
    ours, theirs = sitk.ReadImage(str(result / "warped.nii.gz")), sitk.ReadImage(str(fixed))
    for index in ([0, 0, 0], [n - 1 for n in SHAPE]):
        places = [image.TransformIndexToPhysicalPoint(index) for image in (ours, theirs)]
        np.testing.assert_allclose(*places, rtol=0, atol=1e-4)
    sitk.Subtract(ours, theirs)  # which refuses images that do not lie on each other


def test_a_rounded_header_is_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        registered(tmp_path, rounded(3, 2.0))


def test_a_result_in_a_folder_that_itk_cannot_open_is_refused_before_the_work(tmp_path):
    path = tmp_path / "no such file.nii.gz"
    with pytest.raises(UserError, match="the name is not UTF-8, and ITK cannot open it; rename"):
        registered_files(path, path, tmp_path / "r\udcff", model=None)
