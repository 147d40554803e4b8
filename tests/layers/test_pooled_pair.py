"""The network's input against NumPy."""

import keras
import numpy as np
import pytest

from tfreg.layers.pooled_pair import PooledPair


def averaged(volume, stride):
    """`(batch, i, j, k, channels)`: high edges repeated to whole strides, then block means."""
    padding = [(0, 0), *[(0, -n % stride) for n in volume.shape[1:4]], (0, 0)]
    padded = np.pad(volume.astype("float64"), padding, mode="edge")
    batch, i, j, k, channels = padded.shape
    blocks = padded.reshape(batch, i // stride, stride, j // stride, stride, k // stride, stride, channels)
    return blocks.mean(axis=(2, 4, 6))


@pytest.mark.parametrize("shape", [(4, 5, 6), (7, 8, 9), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_agrees_with_numpy(stride, shape, rng):
    moving, fixed = rng.standard_normal((2, 2, *shape, 1)).astype("float32")
    found = keras.ops.convert_to_numpy(PooledPair(stride)(moving, fixed))
    expected = averaged(np.concatenate([moving, fixed], axis=-1), stride)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("stride", [2, 3])
def test_gradient_is_the_adjoint(stride, rng, gradient):
    moving, fixed = rng.standard_normal((2, 1, 3, 4, 5, 1)).astype("float32")
    weights = rng.standard_normal((1, *(-(-n // stride) for n in (3, 4, 5)), 2)).astype("float32")
    found = gradient(lambda m, f: keras.ops.sum(weights * PooledPair(stride)(m, f)), moving, fixed)
    units = np.eye(moving.size).reshape(-1, *moving.shape)
    for channel in range(2):
        expected = [np.sum(weights[..., channel] * averaged(unit, stride)[..., 0]) for unit in units]
        np.testing.assert_allclose(found[channel].ravel(), expected, atol=1e-6)
