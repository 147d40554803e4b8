"""The supervised loss against NumPy, its gradients, and what the expected error learns."""

import keras
import numpy as np
import pytest

from tfreg.losses.place_error import SMALLEST, PlaceError, distance_before, log_error_bias, mean_distance

SHAPE = (2, 4, 5, 6, 4)


@pytest.fixture
def arrays(rng):
    """True displacements with weights, and predicted ones with logarithms of their error."""
    true, predicted = (rng.standard_normal(SHAPE).astype("float32") * 2 for _ in range(2))
    true[..., 3] = rng.choice([0.1, 1.0], SHAPE[:-1])
    predicted[..., 3] /= 2
    return true, predicted


def expected_loss(true, predicted, slopes, expected_error):
    """By NumPy, in float64."""
    true, predicted = true.astype("float64"), predicted.astype("float64")
    residual, weight = predicted[..., :3] - true[..., :3], true[..., 3]

    def mean(values, weight):
        return (values * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))

    distance = np.sqrt((residual**2).sum(-1) + SMALLEST**2)
    likelihood = distance / np.exp(predicted[..., 3]) + predicted[..., 3]
    total = mean(distance + expected_error * likelihood, weight)
    for axis in (1, 2, 3):
        index = np.arange(SHAPE[axis] - 1)
        pairs = np.take(weight, index, axis) * np.take(weight, index + 1, axis)
        length = np.sqrt((np.diff(residual, axis=axis) ** 2).sum(-1) + SMALLEST**2)
        total = total + slopes * mean(length, pairs)
    return total


def test_known_values(arrays):
    true, predicted = arrays
    for weights in ((0.0, 0.0), (0.7, 0.0), (0.0, 0.03), (0.5, 0.2)):
        np.testing.assert_allclose(PlaceError(*weights).call(true, predicted), expected_loss(*arrays, *weights), 1e-5)
    np.testing.assert_allclose(mean_distance(true, predicted), expected_loss(*arrays, 0, 0), 1e-5)
    nothing = np.zeros_like(predicted)
    np.testing.assert_allclose(distance_before(true, predicted), expected_loss(true, nothing, 0, 0), 1e-5)


def test_gradients_agree_with_differences(arrays, gradient, rng):
    true, predicted = arrays
    (of_loss,) = gradient(lambda p: keras.ops.sum(PlaceError(0.7, 0.0).call(true, p)), predicted)
    direction = rng.standard_normal(SHAPE)
    direction[..., 3] = 0
    step = 1e-5
    values = [expected_loss(true, predicted + sign * step * direction, 0.7, 0.0).sum() for sign in (1, -1)]
    assert (of_loss * direction).sum() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3)


def test_the_likelihood_teaches_the_expected_error_alone(arrays, gradient):
    """Its gradient is zero where e^s is the distance, and none goes to the displacement."""
    true, predicted = arrays
    distance = np.sqrt(((predicted - true)[..., :3] ** 2).sum(-1) + SMALLEST**2)

    def likelihood(p):
        return keras.ops.sum(PlaceError(0.0, 1.0).call(true, p) - PlaceError(0.0, 0.0).call(true, p))

    (found,) = gradient(likelihood, predicted)
    assert np.abs(found[..., :3]).max() < 1e-6
    weight = true[..., 3] / true[..., 3].sum((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found[..., 3], weight * (1 - distance / np.exp(predicted[..., 3])), rtol=1e-3, atol=1e-6)
    predicted[..., 3] = np.log(distance)
    (found,) = gradient(likelihood, predicted)
    assert np.abs(found).max() < 1e-6
    np.testing.assert_allclose(log_error_bias(true, predicted), 0, atol=1e-6)


def test_places_that_do_not_count(arrays):
    true, predicted = arrays
    true[0, ..., 3] = 0
    assert np.asarray(PlaceError().call(true, predicted))[0] == 0
    true[1, ..., 3] = 0
    true[1, 2, 3, 4, 3] = 1
    predicted[1, 2, 3, 4, :3] = true[1, 2, 3, 4, :3] + [2, 3, 6]
    assert np.asarray(mean_distance(true, predicted))[1] == pytest.approx(7, rel=1e-5)


def test_saved_and_loaded():
    loss = PlaceError(0.4, 0.2)
    assert PlaceError.from_config(loss.get_config()).get_config() == loss.get_config()
