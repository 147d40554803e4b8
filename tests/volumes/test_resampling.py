"""Resampling against closed forms and ITK's ResampleImageFilter."""

import numpy as np
import pytest
import SimpleITK as sitk
from itk_reference import itk_image, itk_resample
from scipy.spatial.transform import Rotation

from tfreg.volumes.lattice import Lattice
from tfreg.volumes.resampling import anti_aliased, resample, sample
from tfreg.volumes.volume import Volume


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_ramp_is_reproduced_between_voxels(interpolation):
    i, j, k = np.indices((24, 25, 26))
    points_voxel = np.random.default_rng(0).uniform(9, 14, (50, 3))
    values = sample(2.0 * i + 3.0 * j - 5.0 * k, points_voxel, interpolation)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, points_voxel @ [2, 3, -5], atol=1e-4)


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
def test_every_voxel_centre_keeps_its_value(interpolation):
    array = np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(sample(array, Lattice((4, 5, 6), np.eye(4)).voxels(), interpolation), array, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_border_and_ties_are_itks(interpolation, axis):
    array = np.random.default_rng(2).normal(size=(4, 5, 6)).astype(np.float32)
    last = array.shape[axis] - 1
    places = [-1, -0.75, -0.5, -0.25, 0, 0.5, 1.5, 2.5, last - 0.5, last, last + 0.25, last + 0.5, last + 0.75]
    for place in places:
        affine = np.eye(4)
        affine[axis, 3] = place
        shape = [1 if d == axis else n for d, n in enumerate(array.shape)]
        volume, lattice = Volume(array, np.eye(4)), Lattice(shape, affine)
        expected = itk_resample(volume, lattice, interpolation, np.eye(4), -99.0)
        result = resample(volume, lattice, interpolation, fill=-99.0).array
        np.testing.assert_allclose(result, expected, atol=1e-4, err_msg=f"at {place}")


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
def test_oblique_resampling_through_a_world_map_is_itks(volume, interpolation):
    world_map = np.eye(4)
    world_map[:3, :3] = Rotation.from_euler("xyz", [4, -7, 11], degrees=True).as_matrix() * 1.07
    centre = volume.lattice.centre_world
    world_map[:3, 3] = centre - world_map[:3, :3] @ centre + [0.4, -0.3, 0.9]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [-13, 5, 31], degrees=True).as_matrix() @ np.diag([1.1, 0.9, 1.7])
    affine[:3, 3] = centre - affine[:3, :3] @ [3.5, 4, 4.5]
    lattice = Lattice((8, 9, 10), affine)
    result = resample(volume, lattice, interpolation, fill=-99.0, world_map=world_map)
    expected = itk_resample(volume, lattice, interpolation, world_map, -99.0)
    assert 0.05 < (expected == -99).mean() < 0.95
    np.testing.assert_allclose(result.array, expected, atol=2e-3)
    assert result.lattice.same_as(lattice, 1e-6)


def test_nearest_keeps_the_dtype_and_rounds_half_up():
    labels = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    values = sample(labels, [[0.5, 1.5, 2.5], [0.49, 1.49, 2.49]], "nearest")
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, [labels[1, 2, 3], labels[0, 1, 2]])


def test_one_point_and_points_that_are_not_numbers():
    array = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    for interpolation in ("nearest", "linear", "cubic"):
        assert sample(array, [1, 2, 3], interpolation) == pytest.approx(45)
        np.testing.assert_array_equal(sample(array, [[np.nan, 1, 1], [np.inf, 1, 1]], interpolation, -1.0), [-1, -1])


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_what_is_not_measured_has_no_part_in_an_interpolation(interpolation, rng):
    array = rng.normal(100, 10, (14, 15, 16)).astype(np.float32)
    measured = np.ones(array.shape, bool)
    measured[:4] = measured[9, 9, 9] = False
    points = rng.uniform(-1, 16, (500, 3))
    expected = sample(array, points, interpolation, -7)
    found = []
    for value in (np.float32(-3.4e38), np.float32(1000), np.float32(np.nan)):
        found.append(sample(np.where(measured, array, value), points, interpolation, -7, measured))
        np.testing.assert_array_equal(found[-1], found[0])
    nearest = sample(measured, points, "nearest", False)
    assert (found[0][~nearest] == -7).all()
    assert (np.abs(found[0][nearest] - 100) < 60).all()
    far = nearest & (points[:, 0] > 9) & (np.linalg.norm(points - 9, axis=1) > 6)
    # The spline's coefficients beside the hole fade by 0.27 a voxel.
    np.testing.assert_allclose(found[0][far], expected[far], atol=0.1 if interpolation == "cubic" else 0)


def test_where_nothing_is_measured_all_is_fill():
    array = np.full((4, 5, 6), np.nan, np.float32)
    assert (sample(array, np.ones((3, 3)), "linear", 5, np.zeros(array.shape, bool)) == 5).all()


@pytest.mark.parametrize("fill", [-1, 256, 0.5, np.nan])
def test_labels_do_not_cut_the_value_outside(fill):
    array = np.ones((3, 4, 5), np.uint8)
    with pytest.raises(ValueError, match="`fill` must be a value of the array's dtype, uint8"):
        sample(array, np.full((2, 3), -9.0), "nearest", fill)
    assert sample(array, np.full((2, 3), -9.0), "nearest", 255.0).tolist() == [255, 255]


def test_unknown_interpolation():
    with pytest.raises(ValueError, match="'quintic'"):
        sample(np.zeros((4, 5, 6)), [0, 0, 0], "quintic")


def test_anti_aliasing_leaves_steps_up_to_one_alone():
    array = np.random.default_rng(3).integers(0, 9, (4, 5, 6))
    result = anti_aliased(array, [1 + 1e-12, 0.5, 1])
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, array)


def test_anti_aliasing_blurs_each_axis_by_its_step():
    array = np.zeros((41, 42, 43), np.float32)
    array[20, 20, 20] = 1
    blurred = anti_aliased(array, [3, 1, 2])
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    variance = [
        (blurred.sum(axis=tuple({0, 1, 2} - {d})) * (np.arange(n) - 20.0) ** 2).sum() for d, n in enumerate(array.shape)
    ]
    np.testing.assert_allclose(variance, [8 / 4, 0, 3 / 4], rtol=0.03)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_anti_aliasing_damps_a_wave_by_the_step_along_its_own_axis(axis):
    index = np.indices((48, 50, 52))[axis]
    volume = Volume(np.cos(2 * np.pi * index / 8).astype(np.float32), np.diag([1.5, 1.0, 2.5, 1.0]))
    # The lattice's axes are permuted: steps of 2, 3 and 1 voxels along the volume's.
    affine = np.array([[0, 3.0, 0, 0], [0, 0, 3.0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1]])
    lattice = Lattice((52, 24, 16), affine)
    variance = (np.array([2, 3, 1])[axis] ** 2 - 1) / 4
    expected = np.exp(-variance * (2 * np.pi / 8) ** 2 / 2) * resample(volume, lattice).array
    result = resample(volume, lattice, anti_alias=True).array
    np.testing.assert_allclose(result[3:-3, 3:-3, 3:-3], expected[3:-3, 3:-3, 3:-3], atol=2e-3)


def test_anti_aliasing_is_itks_gaussian_on_a_smooth_image():
    i, j, k = np.indices((24, 25, 26))
    array = np.exp(-((i - 11) ** 2 + (j - 12) ** 2 + (k - 14) ** 2) / 40).astype(np.float32)
    volume = Volume(array, np.diag([1.5, 1.0, 2.5, 1.0]))
    lattice = Lattice((8, 9, 10), np.diag([3.0, 2.5, 5.0, 1.0]))
    variance = volume.spacing**2 * (np.array([2, 2.5, 2]) ** 2 - 1) / 4
    smooth = sitk.GetArrayFromImage(sitk.DiscreteGaussian(itk_image(array, volume.affine), variance.tolist(), 64, 1e-5))
    expected = itk_resample(Volume(smooth.T, volume.affine), lattice, "linear", np.eye(4), 0)
    np.testing.assert_allclose(resample(volume, lattice, anti_alias=True).array, expected, atol=3e-3)


def test_down_sampling_removes_what_the_coarse_lattice_cannot_hold():
    i, _, _ = np.indices((48, 8, 9))
    volume = Volume(np.where(i % 2, 1.0, -1.0).astype(np.float32), np.eye(4))
    lattice = Lattice((16, 8, 9), np.diag([3.0, 1, 1, 1]))
    assert np.abs(resample(volume, lattice).array).min() == 1
    assert np.abs(resample(volume, lattice, anti_alias=True).array[2:-2]).max() < 1e-3


def test_labels_are_never_blurred():
    labels = Volume(np.random.default_rng(5).integers(0, 4, (12, 10, 8)).astype(np.uint8), np.eye(4))
    lattice = Lattice((4, 5, 4), np.diag([3.0, 2.0, 2.0, 1.0]))
    result = resample(labels, lattice, "nearest", anti_alias=True).array
    np.testing.assert_array_equal(result, labels.array[::3, ::2, ::2])
