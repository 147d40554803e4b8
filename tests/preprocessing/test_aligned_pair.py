"""What the network sees, against SimpleITK under oblique and unequal headers."""

import numpy as np
import pytest
from itk_reference import itk_resample
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.config import Intensity, Preprocessing
from tfreg.errors import UserError
from tfreg.preprocessing.aligned_pair import (
    labels_onto_network_grid,
    normalised,
    onto_network_grid,
    prepare_pair,
    voxel_map,
)
from tfreg.preprocessing.initial_alignment import initial_alignment
from tfreg.preprocessing.network_grid import network_grid
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume


def placed(matrix, shape, centre_world):
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = centre_world - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Lattice(shape, affine)


def textured(rng, lattice, low=0.0, high=1.0):
    """Smooth random intensities without any symmetry."""
    noise = ndimage.gaussian_filter(rng.standard_normal(lattice.shape), 1.7)
    noise = (noise - noise.min()) / np.ptp(noise)
    return Volume((low + (high - low) * noise).astype(np.float32), lattice.affine)


def turned(*degrees):
    return Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()


@pytest.fixture
def oblique(rng):
    """A fixed and a moving volume of unequal sizes, spacings and directions, 40 mm apart, and a world map."""
    fixed = placed(turned(20, -35, 50) @ np.diag([2.0, -1.6, 1.3]), (14, 17, 20), [10.0, -60.0, 30.0])
    moving = placed(turned(-10, 15, 5) @ np.diag([-1.7, 2.1, 1.2]), (19, 15, 22), [40.0, -60.0, 56.0])
    world_map = np.eye(4)
    world_map[:3, :3] = turned(4, -7, 11) * 1.07
    world_map[:3, 3] = moving.centre_world - world_map[:3, :3] @ fixed.centre_world + [1.5, -2.0, 0.8]
    return textured(rng, fixed, -100, 900), textured(rng, moving, 50, 1200), world_map


def test_normalised_keeps_the_place_and_tells_what_it_replaced(rng):
    volume = textured(rng, placed(turned(20, -35, 50), (4, 5, 6), [1, 2, 3]), 0, 2000)
    volume.array[1, 2, 3] = np.nan
    result = normalised(volume, Intensity(window=(500, 1300)))
    np.testing.assert_array_equal(result.affine, volume.affine)
    expected = np.clip((volume.array - 500) / 800, 0, 1)
    expected[1, 2, 3] = 0
    np.testing.assert_allclose(result.array, expected, atol=1e-6)
    assert result.array.dtype == np.float32
    assert result.notes == ("1 voxels that are not finite were set to the window's floor.",)


def test_normalised_names_a_volume_without_contrast():
    volume = Volume(np.full((4, 5, 6), 7.0, np.float32), np.eye(4))
    with pytest.raises(UserError, match=r"heart\.nii: all voxels come out equal.*intensity window"):
        normalised(volume, Intensity(window=(0, 5)), "heart.nii")


def test_voxel_map_takes_the_lattice_into_the_volume(oblique):
    fixed, moving, world_map = oblique
    matrix = voxel_map(moving, fixed.lattice, world_map)
    voxel = np.array([3, 5, 11, 1])
    expected = moving.lattice.to_voxel((world_map @ fixed.affine @ voxel)[:3])
    np.testing.assert_allclose((matrix @ voxel)[:3], expected, atol=1e-6)
    np.testing.assert_array_equal(voxel_map(fixed, fixed.lattice), np.eye(4))


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_grid_as_fine_as_the_volume_reads_what_itk_reads(oblique, interpolation):
    _, moving, world_map = oblique
    moving = normalised(moving, Intensity(window=(0, 1300)))
    lattice = placed(turned(3, 40, -20) @ np.diag([0.9, 1.1, 1.0]), (21, 18, 25), [12.0, -60.0, 30.0])
    result = onto_network_grid(moving, lattice, world_map, interpolation)
    expected = itk_resample(moving, lattice, interpolation, world_map)
    assert result.dtype == np.float32
    assert 0.05 < (expected == 0).mean() < 0.6  # some of the grid lies outside
    inside = (result != 0) == (expected != 0)  # a point on the border itself may fall on either side
    assert inside.mean() > 0.999
    np.testing.assert_allclose(result[inside], expected[inside], atol=1e-4)


def test_labels_are_itks_nearest_neighbours(oblique, rng):
    fixed, moving, world_map = oblique
    labels = moving.with_array(rng.integers(0, 300, moving.shape).astype(np.int16))
    result = labels_onto_network_grid(labels, fixed.lattice, world_map)
    assert result.dtype == np.int32
    assert (result == itk_resample(labels, fixed.lattice, "nearest", world_map)).mean() > 0.999


def test_a_coarser_grid_is_anti_aliased_as_itk_smooths(oblique):
    _, moving, world_map = oblique
    moving = normalised(moving, Intensity(window=(0, 1300)))
    fixed = placed(turned(20, -35, 50), (9, 8, 10), [10.0, -60.0, 30.0])
    lattice = Lattice(fixed.shape, fixed.affine @ np.diag([3.4, 4.2, 2.9, 1]))
    lattice = placed(lattice.affine[:3, :3], lattice.shape, [10.0, -60.0, 30.0])
    steps = np.linalg.norm(voxel_map(moving, lattice, world_map)[:3, :3], axis=1)
    assert steps.min() > 1.5
    sigma_mm = moving.spacing * np.sqrt(steps**2 - 1) / 2
    expected = itk_resample(moving, lattice, "linear", world_map, sigma_mm=sigma_mm)
    plain = itk_resample(moving, lattice, "linear", world_map)
    result = onto_network_grid(moving, lattice, world_map)
    inside = (result != 0) & (expected != 0)
    assert inside.mean() > 0.2
    # ITK's kernel is a discrete Gaussian, SciPy's a sampled one.
    assert np.abs(result - expected)[inside].max() < 0.01
    assert np.abs(result - plain)[inside].max() > 0.05


def test_what_a_coarse_grid_cannot_hold_is_gone():
    j = np.indices((10, 48, 9))[1]
    stripes = Volume(np.where(j % 2, 1.0, 0.0).astype(np.float32), np.diag([1.5, 1.0, 2.0, 1.0]))
    lattice = Lattice((10, 16, 9), np.diag([1.5, 3.0, 2.0, 1.0]))
    np.testing.assert_allclose(onto_network_grid(stripes, lattice)[:, 2:-2], 0.5, atol=1e-3)


def test_cubic_overshoot_is_clipped():
    array = np.zeros((12, 10, 14), np.float32)
    array[5:, 3:, :8] = 1
    volume = Volume(array, np.diag([1.5, 1.0, 2.5, 1.0]))
    lattice = Lattice((24, 20, 28), np.diag([0.75, 0.5, 1.25, 1.0]))
    raw = itk_resample(volume, lattice, "cubic", np.eye(4))
    assert raw.min() < -0.1
    assert raw.max() > 1.1
    result = onto_network_grid(volume, lattice, interpolation="cubic")
    assert (result.min(), result.max()) == (0, 1)
    np.testing.assert_allclose(result, np.clip(raw, 0, 1), atol=1e-4)


def test_equal_geometry_far_apart_gives_equal_values(rng):
    """Scanner coordinates cancel exactly, so that training keeps one copy of a volume for all its partners."""
    matrix = turned(20, -35, 50) @ np.diag([2.0, 1.6, 1.3])
    moving = textured(rng, placed(matrix, (9, 11, 10), [-31.7, 17.3, 120.9]))
    results = []
    for _ in range(5):
        fixed = placed(matrix, (9, 11, 10), rng.uniform(-500, 500, 3))
        init = np.eye(4)
        init[:3, 3] = moving.lattice.centre_world - fixed.centre_world
        results.append(onto_network_grid(moving, fixed, init))
    for result in results:
        np.testing.assert_array_equal(result, moving.array)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("init", ["header", "centre", "moments"])
def test_prepared_pair_is_itks(oblique, init, interpolation):
    fixed, moving, _ = oblique
    grid = {"orientation": "LIP", "spacing": (1.1, 1.3, 1.2), "shape": (22, 26, 24)}
    preprocessing = Preprocessing(
        network_grid=grid, intensity={"window": (0, 1000)}, interpolation=interpolation, init=init
    )
    pair = prepare_pair(fixed, moving, preprocessing)
    assert pair.lattice.same_as(network_grid(fixed.lattice, **grid), 1e-6)
    assert pair.lattice.shape == grid["shape"]
    normal = [normalised(volume, preprocessing.intensity) for volume in (fixed, moving)]
    np.testing.assert_array_equal(pair.init, initial_alignment(init, *normal))
    for result, volume, world_map in ((pair.fixed, normal[0], np.eye(4)), (pair.moving, normal[1], pair.init)):
        steps = np.linalg.norm(voxel_map(volume, pair.lattice, world_map)[:3, :3], axis=1)
        sigma_mm = volume.spacing * np.sqrt(np.maximum(steps**2 - 1, 0)) / 2
        expected = itk_resample(volume, pair.lattice, interpolation, world_map, sigma_mm=np.maximum(sigma_mm, 1e-4))
        assert (result.dtype, result.shape) == (np.float32, grid["shape"])
        inside = (result != 0) & (expected > 0)
        assert inside.any()
        assert ((result != 0) == (expected > 0)).mean() > 0.98  # cubic values below 0 are clipped
        np.testing.assert_allclose(result[inside], np.clip(expected, 0, 1)[inside], atol=0.012)


def test_a_matrix_replaces_the_kind_of_alignment(oblique):
    fixed, moving, world_map = oblique
    preprocessing = Preprocessing(init="moments")
    pair = prepare_pair(fixed, moving, preprocessing, init=world_map)
    np.testing.assert_array_equal(pair.init, world_map)
    moving_normal = normalised(moving, preprocessing.intensity)
    np.testing.assert_array_equal(pair.moving, onto_network_grid(moving_normal, pair.lattice, world_map))
    assert pair.lattice.same_as(fixed.lattice, 1e-6)  # by default the fixed volume's own grid
    np.testing.assert_array_equal(pair.fixed, normalised(fixed, preprocessing.intensity).array)


def test_masks_restrict_the_moments(oblique):
    fixed, moving, _ = oblique
    corner = np.zeros(moving.shape, np.uint8)
    corner[:5, :5, :5] = 1
    mask = moving.with_array(corner)
    pair = prepare_pair(fixed, moving, Preprocessing(init="moments"), moving_mask=mask)
    fixed_normal = normalised(fixed, Intensity())
    centre = fixed.lattice.to_world(ndimage.center_of_mass(fixed_normal.array))
    reached = moving.lattice.to_voxel((pair.init @ [*centre, 1])[:3])
    np.testing.assert_allclose(reached, [2, 2, 2], atol=1)


def test_notes_name_the_volume(oblique):
    fixed, moving, _ = oblique
    fixed.array[0, 0, 0] = np.inf
    moving.array[:2] = -3024
    notes = prepare_pair(fixed, moving, Preprocessing()).notes
    assert notes[0].startswith("fixed: 1 voxels")
    assert notes[1].startswith(f"moving: {moving.array[:2].size} voxels of padding (-3024)")
    fixed.array[:] = 3
    with pytest.raises(UserError, match=r"^fixed: "):
        prepare_pair(fixed, moving, Preprocessing())
