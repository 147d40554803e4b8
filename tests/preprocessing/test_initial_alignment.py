"""Initial alignments map fixed world to moving world."""

import numpy as np
import pytest
import SimpleITK as sitk

from tfreg.io.formats import read_points, read_volume
from tfreg.preprocessing.initial_alignment import initial_alignment
from tfreg.volumes.volume import Volume

AFFINE = np.array([[0, -1.5, 0, 30], [0, 0, 1.25, -12], [2.5, 0, 0, 7], [0, 0, 0, 1]])


def blob(centre_voxel, shape=(30, 32, 34), affine=AFFINE, floor=0.0):
    """A volume whose intensity has its centre of mass at a voxel coordinate."""
    distance = np.square(np.moveaxis(np.indices(shape), 0, -1) - centre_voxel).sum(axis=-1)
    return Volume((floor + 100 * np.exp(-distance / 18)).astype(np.float32), affine)


def moved(matrix, point):
    return matrix[:3, :3] @ point + matrix[:3, 3]


def test_header_is_the_identity():
    np.testing.assert_array_equal(initial_alignment("header", blob([9, 9, 9]), blob([15, 15, 15])), np.eye(4))


def test_centre_maps_fixed_centre_to_moving_centre(volume):
    moving = Volume(np.zeros((7, 3, 9)), AFFINE)
    matrix = initial_alignment("centre", volume, moving)
    np.testing.assert_array_equal(matrix[:3, :3], np.eye(3))
    assert matrix.dtype == np.float64
    np.testing.assert_allclose(moved(matrix, volume.lattice.centre_world), moving.lattice.centre_world, atol=1e-9)


@pytest.mark.parametrize("floor", [0.0, -1000.0])
def test_moments_map_mass_to_mass(floor):
    fixed = blob([12, 14, 18], floor=floor)
    other = np.diag([-1.0, 2.0, 1.0, 1.0])
    moving = blob([14, 17, 13], affine=other, floor=floor)
    matrix = initial_alignment("moments", fixed, moving)
    expected = moving.lattice.to_world([14, 17, 13])
    np.testing.assert_allclose(moved(matrix, fixed.lattice.to_world([12, 14, 18])), expected, atol=0.05)
    np.testing.assert_array_equal(matrix[:3, :3], np.eye(3))


def test_moments_are_itks():
    array = np.random.default_rng(0).uniform(0, 1, (9, 10, 11)).astype(np.float32) ** 4
    array[:4] *= 5
    affine = np.diag([-1.5, -2.0, 2.5, 1.0])  # LPS: identity directions in ITK
    fixed, moving = Volume(array, affine), Volume(array[::-1].copy(), affine)
    images = []
    for one in (fixed, moving):
        image = sitk.GetImageFromArray(np.ascontiguousarray(one.array.T))
        image.SetSpacing([1.5, 2.0, 2.5])
        images.append(image)
    start = sitk.CenteredTransformInitializer(
        *images, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    shift = np.array(sitk.Euler3DTransform(start).GetTranslation()) * [-1, -1, 1]
    # tfreg clips the highest and lowest hundredth of the intensities first.
    np.testing.assert_allclose(initial_alignment("moments", fixed, moving)[:3, 3], shift, atol=0.3)
    assert np.abs(shift).max() > 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -2000])
def test_moments_ignore_what_is_not_a_measurement(value):
    fixed, moving = blob([12, 14, 18]), blob([16, 15, 14])
    expected = initial_alignment("moments", fixed, moving)
    array = moving.array.copy()
    array[:, :, 28:] = value
    result = initial_alignment("moments", fixed, moving.with_array(array))
    np.testing.assert_allclose(result, expected, atol=0.05)


def test_moments_within_masks():
    fixed, moving = blob([12, 14, 18]), blob([16, 15, 14])
    array = moving.array.copy()
    array[:9, :9, 22:] += 150
    distractor = moving.with_array(array)
    mask = moving.with_array((np.indices(moving.shape)[2] < 22).astype(np.uint8))
    expected = initial_alignment("moments", fixed, moving)
    result = initial_alignment("moments", fixed, distractor, moving_mask=mask)
    np.testing.assert_allclose(result, expected, atol=0.5)
    assert np.abs(initial_alignment("moments", fixed, distractor) - expected).max() > 5


def test_a_small_object_is_found():
    array = np.zeros((30, 32, 34), np.float32)
    array[20:22, 5:7, 9:11] = 1
    matrix = initial_alignment("moments", Volume(array, np.eye(4)), Volume(np.roll(array, 3, axis=1), np.eye(4)))
    np.testing.assert_allclose(matrix[:3, 3], [0, 3, 0], atol=1e-4)


def test_bad_arguments():
    fixed = blob([12, 14, 18])
    with pytest.raises(ValueError, match="'principal axes'"):
        initial_alignment("principal axes", fixed, fixed)
    with pytest.raises(ValueError, match="lattice"):
        initial_alignment("moments", fixed, fixed, Volume(fixed.array > 0, np.eye(4)))
    with pytest.raises(ValueError, match="covers no voxel"):
        initial_alignment("moments", fixed, fixed, fixed.with_array(np.zeros(fixed.shape, np.uint8)))


def test_real_ct_pair(shared_data):
    folder = shared_data / "lung_ct"
    fixed, moving = (read_volume(folder / f"{name}.nii.gz") for name in ("fixed", "moving"))
    fixed_points, moving_points = (read_points(folder / f"{name}_points.csv") for name in ("fixed", "moving"))

    def error_mm(kind):
        matrix = initial_alignment(kind, fixed, moving)
        mapped = fixed_points @ matrix[:3, :3].T + matrix[:3, 3]
        return np.linalg.norm(mapped - moving_points, axis=1).mean()

    assert error_mm("header") == pytest.approx(35.3, abs=0.1)
    assert error_mm("centre") == pytest.approx(7.6, abs=0.1)
    assert error_mm("moments") < 20
