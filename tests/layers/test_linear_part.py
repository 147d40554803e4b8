"""Head and grid of the linear part, and the displacement, against NumPy."""

import keras
import numpy as np
import pytest

from tfreg.layers.displacement import Displacement
from tfreg.layers.linear_grid import LinearGrid
from tfreg.layers.linear_head import LinearHead
from tfreg.ops.grids import identity_grid

sizes = pytest.mark.parametrize("shape", [(4, 5, 6), (7, 1, 2)], ids=str)


def voxel_centres(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype("float64")


@sizes
def test_identity_grid_holds_its_indices(shape):
    np.testing.assert_array_equal(identity_grid(shape), voxel_centres(shape)[None])


@sizes
def test_grid_is_the_matrix_about_the_centre(shape, rng):
    linear = (np.eye(3, 4) + rng.normal(0, 0.5, (2, 3, 4))).astype("float32")
    found = keras.ops.convert_to_numpy(LinearGrid()(linear, np.zeros((2, *shape, 1), "float32")))
    centre = (np.array(shape) - 1) / 2
    for b in range(2):
        matrix, translation = linear[b, :, :3].astype("float64"), linear[b, :, 3].astype("float64")
        expected = (voxel_centres(shape) - centre) @ matrix.T + translation + centre
        np.testing.assert_allclose(found[b], expected, atol=1e-5)


@sizes
def test_identity_matrix_is_exactly_the_identity_grid(shape):
    linear = np.repeat(np.eye(3, 4, dtype="float32")[None], 2, axis=0)
    found = keras.ops.convert_to_numpy(LinearGrid()(linear, np.zeros((2, *shape, 1), "float32")))
    np.testing.assert_array_equal(found, np.repeat(voxel_centres(shape)[None], 2, axis=0))


def test_gradient_of_the_matrix(rng, gradient):
    shape = (4, 5, 6)
    linear = (np.eye(3, 4) + rng.normal(0, 0.5, (2, 3, 4))).astype("float32")
    weights = rng.standard_normal((2, *shape, 3)).astype("float32")
    volume = np.zeros((2, *shape, 1), "float32")
    (found,) = gradient(lambda a: keras.ops.sum(weights * LinearGrid()(a, volume)), linear)
    offset = voxel_centres(shape) - (np.array(shape) - 1) / 2
    augmented = np.concatenate([offset, np.ones((*shape, 1))], axis=-1)
    np.testing.assert_allclose(found, np.einsum("bijkd,ijke->bde", weights, augmented), atol=1e-4)


def test_head_starts_at_the_identity_matrix(rng):
    features = rng.standard_normal((2, 4, 5, 6, 7)).astype("float32")
    expected = np.repeat(np.eye(3, 4)[None], 2, axis=0)
    np.testing.assert_array_equal(LinearHead()(features), expected)


def test_head_is_pooling_and_one_linear_layer(rng, perturb):
    features = rng.standard_normal((2, 4, 5, 6, 7)).astype("float32")
    head = LinearHead()
    head.build(features.shape)
    perturb(head, rng, scale=1.0)
    kernel, bias = head.get_weights()
    assert kernel.shape == (7, 12)
    expected = np.eye(3, 4) + (features.mean(axis=(1, 2, 3), dtype="float64") @ kernel + bias).reshape(2, 3, 4)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(head(features)), expected, atol=1e-5)


@sizes
def test_displacement_is_the_grid_minus_its_indices(shape, rng):
    displacement = rng.integers(-8, 8, (2, *shape, 3)).astype("float32")
    grid = (displacement + voxel_centres(shape)).astype("float32")
    np.testing.assert_array_equal(Displacement()(grid), displacement)
