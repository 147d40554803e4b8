"""The two L1 terms of the paper's loss, and smoothness of the gradients."""

from typing import Any

import keras
from keras import ops

from tfreg.ops.acceleration import compiled
from tfreg.ops.tensor import Tensor


def gradient_roughness(gradients: Tensor) -> Tensor:
    """Mean squared difference of the gradients between neighbours, summed over the three axes.

    Args:
        gradients: `(batch, i, j, k, 3)`.

    Returns:
        `(batch,)`. Zero for a linear map aligned with the axes.
    """
    total = 0.0
    for axis in (1, 2, 3):
        low, high = [slice(None)] * 5, [slice(None)] * 5
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        total += ops.mean(ops.square(gradients[tuple(high)] - gradients[tuple(low)]), axis=(1, 2, 3, 4))
    return total


@compiled
def displacement_roughness(displacement: Tensor, *, step: float) -> Tensor:
    """Mean squared slope of a displacement, summed over its components and the three axes.

    Args:
        displacement: `(batch, i, j, k, 3)`, voxels.
        step: Voxels from one sample to the next along each axis.

    Returns:
        `(batch,)`. Zero for a translation.
    """
    # The one is the mean over the components, the other their sum.
    return gradient_roughness(displacement / step) * displacement.shape[-1]


@keras.saving.register_keras_serializable(package="tfreg")
class LinearPenalty(keras.losses.Loss):
    """alpha |A - I|₁, summed over the twelve entries (translations in voxels).

    Args:
        alpha: Weight of at least 0.

    Reference:
        Christodoulidis et al. 2018, eq. 4.

    Example:
        >>> linear = np.eye(3, 4, dtype=np.float32)[None]
        >>> linear[0, 0, 3] = 2.0
        >>> round(float(tfreg.losses.LinearPenalty(alpha=0.01)(linear, linear)), 3)
        0.02
    """

    def __init__(self, alpha: float, name: str = "linear_penalty", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.alpha = alpha

    def call(self, unused: Tensor, linear: Tensor) -> Tensor:
        return self.alpha * ops.sum(ops.abs(linear - ops.eye(3, 4, dtype="float32")), axis=(1, 2))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


@keras.saving.register_keras_serializable(package="tfreg")
class GradientPenalty(keras.losses.Loss):
    """beta |Φ - 1|₁, summed over the volume, plus smoothness times the roughness of Φ.

    The sum grows with the number of voxels: the same beta is stronger on a larger network grid.

    Args:
        beta: Weight of at least 0.
        smoothness: Weight of at least 0; 0 is the paper's loss.

    Reference:
        Christodoulidis et al. 2018, eq. 4.

    Example:
        >>> gradients = np.full((1, 4, 5, 6, 3), 1.5, np.float32)
        >>> penalty = tfreg.losses.GradientPenalty(beta=0.01, smoothness=0.1)
        >>> round(float(penalty(gradients, gradients)), 3)
        1.8
    """

    def __init__(self, beta: float, smoothness: float = 0.0, name: str = "gradient_penalty", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.beta = beta
        self.smoothness = smoothness

    def call(self, unused: Tensor, gradients: Tensor) -> Tensor:
        penalty = self.beta * ops.sum(ops.abs(gradients - 1.0), axis=(1, 2, 3, 4))
        if self.smoothness:
            penalty = penalty + self.smoothness * gradient_roughness(gradients)
        return penalty

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta, "smoothness": self.smoothness}
