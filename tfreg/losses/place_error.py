"""The loss where the true place is known: distance, slopes, and the likelihood of the expected error."""

from typing import Any

import keras
from keras import ops

from tfreg.ops.tensor import Tensor

# Voxels; keeps the gradient of a distance of zero finite.
SMALLEST = 0.01
# Logarithms of expected errors are taken to lie between these.
ERROR_LIMITS = (-5.0, 4.0)


def mean_distance(true: Tensor, predicted: Tensor) -> Tensor:
    """Distance between predicted and true places, a weighted mean over the volume.

    Args:
        true: `(batch, i, j, k, 4)`: the true displacement in voxels, and what each place counts, at least 0.
        predicted: `(batch, i, j, k, 4)`: the predicted displacement in voxels, and the logarithm of its expected error.

    Returns:
        `(batch,)`, voxels.
    """
    return _weighted(_distance(true, predicted), true[..., 3])


def distance_before(true: Tensor, predicted: Tensor) -> Tensor:
    """What `mean_distance` is where nothing is predicted to move; arguments and result as there."""
    return mean_distance(true, ops.zeros_like(true))


def log_error_bias(true: Tensor, predicted: Tensor) -> Tensor:
    """Mean of the logarithm of true over expected error; arguments and result as of `mean_distance`."""
    return _weighted(ops.log(_distance(true, predicted)) - predicted[..., 3], true[..., 3])


@keras.saving.register_keras_serializable(package="tfreg")
class PlaceError(keras.losses.Loss):
    """Distance in voxels + slopes * error of the slopes + expected_error * (distance / e^s + s).

    All are weighted means over a volume. s is the predicted logarithm of the expected error. The last term is the
    negative log-likelihood of an exponential distribution of the distance, whose smallest value is where e^s is the
    mean distance; the distance is a constant in it, so that it teaches s alone.

    Args:
        slopes: Weight of at least 0 of the differences between neighbours, of predicted less true displacement.
        expected_error: Weight of at least 0.

    Call arguments:
        true, predicted: As of `mean_distance`.

    Example:
        >>> true, predicted = np.zeros((1, 4, 5, 6, 4), np.float32), np.zeros((1, 4, 5, 6, 4), np.float32)
        >>> true[..., 0], true[..., 3], predicted[..., 2] = 3.0, 1.0, 4.0
        >>> round(float(tfreg.losses.PlaceError(slopes=0.0, expected_error=0.0)(true, predicted)), 3)
        5.0
    """

    def __init__(
        self, slopes: float = 0.7, expected_error: float = 0.03, name: str = "place_error", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.slopes = slopes
        self.expected_error = expected_error

    def call(self, true: Tensor, predicted: Tensor) -> Tensor:
        distance, weight = _distance(true, predicted), true[..., 3]
        log_error = ops.clip(predicted[..., 3], *ERROR_LIMITS)
        likelihood = ops.stop_gradient(distance) * ops.exp(-log_error) + log_error
        loss = _weighted(distance + self.expected_error * likelihood, weight)
        return loss + self.slopes * self._slope_error(predicted[..., :3] - true[..., :3], weight)

    def _slope_error(self, residual, weight):
        total = 0.0
        for axis in (1, 2, 3):
            low, high = [slice(None)] * 4, [slice(None)] * 4
            low[axis], high[axis] = slice(None, -1), slice(1, None)
            difference = residual[tuple(high)] - residual[tuple(low)]
            # Where one of two neighbours counts little, so does their difference.
            both = weight[tuple(high)] * weight[tuple(low)]
            total = total + _weighted(_length(difference, SMALLEST**2), both)
        return total

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "slopes": self.slopes, "expected_error": self.expected_error}


def _distance(true, predicted):
    return _length(predicted[..., :3] - true[..., :3], SMALLEST**2)


def _length(vectors, least):
    """Lengths of vectors on the last axis, at least the root of `least`."""
    return ops.sqrt(ops.sum(ops.square(vectors), axis=-1) + least)


def _weighted(values, weight):
    """A weighted mean over space, `(batch,)`; zero where nothing counts."""
    axes = (1, 2, 3)
    return ops.sum(values * weight, axis=axes) / ops.maximum(ops.sum(weight, axis=axes), 1e-6)
