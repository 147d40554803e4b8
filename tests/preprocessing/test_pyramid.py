"""Lattices of cubes, their levels, and the volumes on these."""

import numpy as np
from scenes import lattice_about

from tfreg.preprocessing.pyramid import coarsened, cube_lattice, level_factors, onto_level
from tfreg.volumes.resampling import sample
from tfreg.volumes.volume import Volume

MOVING = lattice_about(np.diag([-1.8, -2.1, 2.4]), (34, 32, 30), np.array([-30.0, 20, 100]))


def test_cubes_level_thick_slices():
    thick = lattice_about(np.diag([1.5, 1.5, 10.0]), (120, 110, 9), np.zeros(3))
    cubes = cube_lattice(thick, 10**7)
    np.testing.assert_allclose(cubes.spacing, np.cbrt(22.5))
    assert np.all(np.array(cubes.shape) % 8 == 0)
    np.testing.assert_allclose(cubes.centre_world, thick.centre_world, atol=1e-9)
    assert np.all(np.array(cubes.shape) * cubes.spacing >= np.array(thick.shape) * thick.spacing - 1e-6)
    assert np.prod(cube_lattice(thick, 3000).shape) < 4 * 3000


def test_levels_even_out_spacing_first():
    thick = lattice_about(np.diag([1.0, 1.0, 4.0]), (96, 96, 16), np.zeros(3))
    assert level_factors(thick, 3) == [(4, 4, 1), (2, 2, 1), (1, 1, 1)]
    cubes = lattice_about(np.eye(3), (96, 96, 48), np.zeros(3))
    assert level_factors(cubes, 4) == [(4, 4, 4), (2, 2, 2), (1, 1, 1)]
    coarse = coarsened(cubes, (4, 2, 1))
    np.testing.assert_allclose(coarse.to_world([0, 0, 0]), cubes.to_world([1.5, 0.5, 0]))
    wide = cubes.extended((1, 2, 3), 4)
    assert wide.shape == (101, 102, 55)
    np.testing.assert_allclose(wide.to_world([1, 2, 3]), cubes.to_world([0, 0, 0]), atol=1e-9)


def test_level_volumes_are_sampled_where_they_lie():
    volume = Volume(sample(MOVING.points()[..., 0], MOVING.voxels()), MOVING.affine)  # a ramp in x
    inner = coarsened(MOVING, (2, 2, 2)).extended(-2, -2)
    values, weights = onto_level(volume, inner)
    np.testing.assert_allclose(values, inner.points()[..., 0], atol=1e-3)
    np.testing.assert_array_equal(weights, 1)
    values, weights = onto_level(volume, MOVING.extended(3, 0))
    np.testing.assert_array_equal(weights[:3], 0)
    np.testing.assert_array_equal(weights[3:, 3:, 3:], 1)
    np.testing.assert_allclose(values[:3, 5, 5], values[3, 5, 5])


def test_what_a_mask_leaves_out_does_not_blur_into_the_rest():
    array, mask = np.full(MOVING.shape, 0.5, np.float32), np.ones(MOVING.shape, np.uint8)
    array[:9], mask[:9] = 1.0, 0
    values, weights = onto_level(
        Volume(array, MOVING.affine), coarsened(MOVING, (4, 4, 4)), None, Volume(mask, MOVING.affine)
    )
    np.testing.assert_allclose(values[weights > 0.01], 0.5, atol=1e-4)
    assert weights[0].max() < 0.01
    assert weights[-1].min() > 0.99
    assert onto_level(Volume(array, MOVING.affine), coarsened(MOVING, (4, 4, 4)))[0][2].mean() > 0.55


def test_thin_fields_of_view_are_divided_finer():
    """Along a thin axis more voxels, along the others fewer; about as many in all."""
    thin = lattice_about(np.diag([1.0, 2.0, 1.2]), (180, 9, 150), np.array([10.0, 20, -30]))
    plain, finer = cube_lattice(thin, 100_000), cube_lattice(thin, 100_000, min_size=28)
    assert plain.shape[1] < 28 <= finer.shape[1]
    np.testing.assert_allclose(finer.spacing[1], 18 / 28)
    np.testing.assert_allclose(finer.spacing[0], finer.spacing[2])
    assert finer.spacing[0] > plain.spacing[0]
    np.testing.assert_allclose(180 * 180 / finer.spacing[0] ** 2 * 28, 100_000)
    np.testing.assert_allclose(finer.centre_world, thin.centre_world, atol=1e-9)
    assert np.all(np.array(finer.shape) * finer.spacing >= np.array(thin.shape) * thin.spacing - 1e-6)


def test_small_fields_of_view_are_divided_finer_along_all_axes():
    small = lattice_about(np.diag([-1.0, 1.1, 1.2]), (17, 20, 19), np.zeros(3))
    finer = cube_lattice(small, 400_000, min_size=28)
    assert finer.shape == (32, 32, 32)
    np.testing.assert_allclose(finer.spacing, np.array(small.shape) * small.spacing / 28)
    # Where voxels are few, an axis that becomes thin is divided too.
    assert min(cube_lattice(lattice_about(np.eye(3), (60, 40, 9), np.zeros(3)), 30_000, min_size=28).shape) >= 28
    large = lattice_about(np.eye(3), (60, 40, 50), np.zeros(3))
    assert cube_lattice(large, 400_000, min_size=28).same_as(cube_lattice(large, 400_000))
