"""The sampler against SciPy, eq. 2 of the paper and finite differences."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.layers.trilinear_sampler import TrilinearSampler
from tfreg.ops.grids import identity_grid
from tfreg.ops.trilinear_sampling import sample_nearest, sample_trilinear

SCIPY_MODES = {"edge": "nearest", "zero": "grid-constant"}
every_border = pytest.mark.parametrize("border", sorted(SCIPY_MODES))
sizes = pytest.mark.parametrize("shape", [(4, 5, 6), (7, 3, 2), (1, 5, 4), (4, 1, 1)], ids=str)


def scipy_sampled(volume, points, border):
    """`(batch, ..., channels)` float64, by SciPy, one channel of one volume at a time."""
    points = np.broadcast_to(points, (len(volume), *points.shape[1:]))
    return np.stack(
        [
            np.stack(
                [
                    ndimage.map_coordinates(
                        channel.astype("float64"), np.moveaxis(places, -1, 0), order=1, mode=SCIPY_MODES[border]
                    )
                    for channel in np.moveaxis(item, -1, 0)
                ],
                axis=-1,
            )
            for item, places in zip(volume, points.astype("float64"), strict=True)
        ]
    )


def eq_2(volume, points):
    """The paper's eq. 2 as it is printed: a sum over all lattice points q."""
    weights = [
        np.maximum(0, 1 - np.abs(points[..., d, None].astype("float64") - np.arange(volume.shape[1 + d])))
        for d in range(3)
    ]
    return np.einsum("bijkc,bxyzi,bxyzj,bxyzk->bxyzc", volume.astype("float64"), *weights)


def random_volume(rng, shape, batch=2, channels=3):
    return rng.standard_normal((batch, *shape, channels)).astype("float32")


def random_points(rng, shape, batch=2, margin=3.0):
    """Points inside the volume and up to `margin` voxels outside."""
    low, high = np.full(3, -margin), np.array(shape) - 1 + margin
    return rng.uniform(low, high, (batch, 5, 6, 7, 3)).astype("float32")


def off_lattice_points(rng, shape, batch=2):
    """Points inside and outside, at least a tenth of a voxel from every lattice plane."""
    points = rng.integers(-2, np.array(shape) + 1, (batch, 4, 3, 5, 3)) + rng.uniform(0.1, 0.9, (batch, 4, 3, 5, 3))
    return points.astype("float32")


def sampled(volume, points, border):
    return keras.ops.convert_to_numpy(TrilinearSampler(border)(volume, points))


@every_border
@sizes
def test_agrees_with_scipy(shape, border, rng):
    volume, points = random_volume(rng, shape), random_points(rng, shape)
    np.testing.assert_allclose(sampled(volume, points, border), scipy_sampled(volume, points, border), atol=1e-5)


@sizes
def test_border_zero_is_eq_2(shape, rng):
    volume, points = random_volume(rng, shape), random_points(rng, shape)
    np.testing.assert_allclose(sampled(volume, points, "zero"), eq_2(volume, points), atol=1e-5)


@every_border
def test_lattice_points_give_voxels_exactly(border, rng):
    volume = random_volume(rng, (4, 5, 6))
    order = rng.permutation(4 * 5 * 6)
    points = np.stack(np.unravel_index(order, (4, 5, 6)), axis=-1).reshape(1, 4, 5, 6, 3).astype("float32")
    expected = volume.reshape(2, -1, 3)[:, order].reshape(volume.shape)
    np.testing.assert_array_equal(sampled(volume, np.repeat(points, 2, axis=0), border), expected)


def test_one_grid_serves_the_whole_batch(rng):
    volume, points = random_volume(rng, (4, 5, 6)), random_points(rng, (4, 5, 6), batch=1)
    both = keras.ops.convert_to_numpy(sample_trilinear(volume, points))
    np.testing.assert_allclose(both, scipy_sampled(volume, points, "edge"), atol=1e-5)


def test_points_may_have_any_rank(rng):
    volume, points = random_volume(rng, (4, 5, 6)), random_points(rng, (4, 5, 6))
    line = keras.ops.convert_to_numpy(sample_trilinear(volume, points.reshape(2, -1, 3)))
    np.testing.assert_array_equal(line.reshape(2, 5, 6, 7, 3), sampled(volume, points, "edge"))


def test_ramp_is_read_at_its_coordinate(rng):
    ramp = np.arange(4)[:, None, None] + 10.0 * np.arange(5)[:, None] - 3.0 * np.arange(6)
    points = rng.uniform(0, [3, 4, 5], (1, 3, 4, 5, 3)).astype("float32")
    expected = points @ np.array([1.0, 10.0, -3.0])
    np.testing.assert_allclose(
        sampled(ramp[None, ..., None].astype("float32"), points, "edge")[..., 0], expected, atol=1e-5
    )


@every_border
def test_gradient_of_the_volume(border, rng, gradient, finite_differences):
    shape = (3, 4, 2)
    volume, points = random_volume(rng, shape, channels=2), off_lattice_points(rng, shape)
    weights = rng.standard_normal((*points.shape[:-1], 2)).astype("float32")
    (found,) = gradient(lambda v: keras.ops.sum(weights * sample_trilinear(v, points, border=border)), volume)
    expected = finite_differences(lambda v: np.sum(weights * scipy_sampled(v, points, border)), volume)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@every_border
@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 4)], ids=str)
def test_gradient_of_the_grid(shape, border, rng, gradient):
    volume, points = random_volume(rng, shape), off_lattice_points(rng, shape)
    weights = rng.standard_normal((*points.shape[:-1], 3)).astype("float32")
    (found,) = gradient(lambda p: keras.ops.sum(weights * sample_trilinear(volume, p, border=border)), points)
    for d in range(3):  # every point moves alone: all may move at once
        step = 1e-4 * np.eye(3)[d]
        change = scipy_sampled(volume, points + step, border) - scipy_sampled(volume, points - step, border)
        np.testing.assert_allclose(found[..., d], (weights * change).sum(-1) / 2e-4, atol=2e-5)


@every_border
@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 4)], ids=str)
def test_a_constant_volume_changes_neither_values_nor_the_gradient_of_the_grid(shape, border, rng, gradient):
    volume, points = random_volume(rng, shape), random_points(rng, shape)
    weights = rng.standard_normal((*points.shape[:-1], 3)).astype("float32")
    values, found = [], []
    for constant in (False, True):
        options = {"border": border, "constant": constant}
        values.append(keras.ops.convert_to_numpy(sample_trilinear(volume, points, **options)))
        (slope,) = gradient(lambda p, o=options: keras.ops.sum(weights * sample_trilinear(volume, p, **o)), points)
        found.append(slope)
    np.testing.assert_allclose(*values, atol=1e-6)
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize("constant", [False, True])
def test_gradient_outside_an_edge_is_zero(constant, rng, gradient):
    volume = random_volume(rng, (4, 5, 6), batch=1)
    points = np.array([[[-0.7, 1.4, 2.3], [5.2, 0.6, 4.4]]], "float32")
    (found,) = gradient(lambda p: keras.ops.sum(sample_trilinear(volume, p, constant=constant)), points)
    assert np.all(found[..., 0] == 0)
    assert np.all(found[..., 1:] != 0)


def test_nearest_agrees_with_scipy_off_ties(rng):
    labels = rng.integers(0, 100, (2, 4, 5, 6, 2)).astype("int32")
    points = random_points(rng, (4, 5, 6))
    found = keras.ops.convert_to_numpy(sample_nearest(labels, points))
    assert found.dtype == np.int32
    for b in range(2):
        for c in range(2):
            expected = ndimage.map_coordinates(
                labels[b, ..., c], np.moveaxis(points[b], -1, 0), order=0, mode="nearest"
            )
            np.testing.assert_array_equal(found[b, ..., c], expected)


def test_nearest_rounds_halves_up_and_clamps():
    labels = np.arange(4 * 5 * 6, dtype="int32").reshape(1, 4, 5, 6, 1)
    places = [
        ((0.5, 1.5, 2.5), (1, 2, 3)),
        ((-0.5, -0.51, 0.49), (0, 0, 0)),
        ((-9, 3.4999, 99), (0, 3, 5)),
        ((3.5, 4.5, 5.5), (3, 4, 5)),
    ]
    points = np.array([[point for point, _ in places]], "float32")
    found = keras.ops.convert_to_numpy(sample_nearest(labels, points))[0, :, 0]
    np.testing.assert_array_equal(found, [labels[(0, *voxel, 0)] for _, voxel in places])


def test_nearest_keeps_batch_items_apart(rng):
    labels = rng.integers(0, 9, (3, 4, 5, 6, 1)).astype("int32")
    grid = identity_grid((4, 5, 6))  # one grid for three volumes
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(sample_nearest(labels, grid)), labels)
