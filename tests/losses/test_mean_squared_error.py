"""The mean squared error in closed form."""

import keras
import numpy as np
import pytest

from tfreg.losses.mean_squared_error import MeanSquaredError


def test_agrees_with_numpy(rng):
    fixed, warped = rng.random((2, 3, 4, 5, 6, 1), "float32")
    assert float(MeanSquaredError()(fixed, warped)) == pytest.approx(np.mean((fixed - warped) ** 2), rel=1e-5)


def test_is_one_number_a_volume(rng):
    fixed, warped = rng.random((2, 3, 4, 5, 6, 1), "float32")
    found = keras.ops.convert_to_numpy(MeanSquaredError().compare(fixed, warped))
    np.testing.assert_allclose(found, ((fixed - warped) ** 2).mean(axis=(1, 2, 3, 4)), rtol=1e-5)


def test_mask_leaves_voxels_out(rng):
    fixed, warped = rng.random((2, 2, 4, 5, 6, 1), "float32")
    mask = (rng.random((2, 4, 5, 6, 1)) < 0.3).astype("float32")
    found = keras.ops.convert_to_numpy(MeanSquaredError().compare(fixed, warped, mask))
    expected = [np.mean((fixed[b] - warped[b])[mask[b] > 0] ** 2) for b in range(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    changed = np.where(mask > 0, warped, 7.0).astype("float32")
    np.testing.assert_allclose(MeanSquaredError().compare(fixed, changed, mask), found, rtol=1e-6)


def test_empty_mask_gives_zero(rng):
    fixed, warped = rng.random((2, 2, 4, 5, 6, 1), "float32")
    found = MeanSquaredError().compare(fixed, warped, np.zeros((2, 4, 5, 6, 1), "float32"))
    np.testing.assert_array_equal(found, np.zeros(2))


def test_gradient(rng, gradient):
    fixed, warped = rng.random((2, 2, 3, 4, 5, 1), "float32")
    (found,) = gradient(lambda w: MeanSquaredError()(fixed, w), warped)
    np.testing.assert_allclose(found, 2 * (warped - fixed) / warped.size, atol=1e-7)
