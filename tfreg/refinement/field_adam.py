"""An optimiser for displacement fields."""

from dataclasses import dataclass

import numpy as np
from keras import ops

from tfreg.ops.tensor import Tensor


@dataclass(frozen=True)
class FieldAdam:
    """Adam with one step length a vector, on gradients smoothed over neighbouring vectors.

    The last axis of a variable holds vectors. Their gradients are smoothed over the spatial axes, and divided
    by the running root mean square of their own length plus `evenness` times its mean over the field: large
    values move places of little contrast less than those of much, as steepest descent does; with 0 all move
    alike, as with Adam.

    Args:
        beta_1, beta_2: Memory of the mean gradient and of its mean squared length.
        smoothing: Standard deviation of the Gaussian in samples, 0 for none; for `(batch, i, j, k, vector)`.
        evenness: At least 0.

    Call arguments:
        gradient, variable: Tensors of one shape.
        mean: The mean gradient so far, of that shape, zeros before the first step.
        square: Its mean squared length so far, with a last axis of 1.
        rate: Length of a step in the variable's units.
        number: 1 for the first step.

    Returns:
        The variable after the step, the mean and the square.

    Reference:
        Kingma & Ba, ICLR 2015; one length a vector: Ling et al., VectorAdam, NeurIPS 2022; smoothed gradients of
        displacement fields: Vercauteren et al., NeuroImage 2009.
    """

    beta_1: float = 0.9
    beta_2: float = 0.99
    smoothing: float = 1.0
    evenness: float = 0.5

    def __call__(
        self, gradient: Tensor, variable: Tensor, mean: Tensor, square: Tensor, rate: Tensor, number: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self.smoothing and len(variable.shape) == 5:
            gradient = gaussian_smoothed(gradient, self.smoothing)
        mean = self.beta_1 * mean + (1.0 - self.beta_1) * gradient
        length = ops.sum(ops.square(gradient), axis=-1, keepdims=True)
        square = self.beta_2 * square + (1.0 - self.beta_2) * length
        unbiased = square / (1.0 - ops.power(self.beta_2, number))
        scale = ops.sqrt(unbiased) + self.evenness * ops.sqrt(ops.mean(unbiased))
        direction = mean / (1.0 - ops.power(self.beta_1, number)) / (scale + 1e-12)
        return variable - rate * direction, mean, square


def gaussian_smoothed(field: Tensor, sigma: float) -> Tensor:
    """A field smoothed along its three spatial axes; outside it counts as zero.

    Args:
        field: `(batch, i, j, k, channels)`.
        sigma: Standard deviation in samples.

    Returns:
        The same shape.
    """
    radius = int(np.ceil(2.5 * sigma))
    kernel = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / sigma))
    kernel = (kernel / kernel.sum()).astype("float32")
    shape = ops.shape(field)
    # Channels become batch, because a convolution would mix them.
    field = ops.reshape(ops.moveaxis(field, -1, 1), (-1, *shape[1:4], 1))
    for axis in range(3):
        line = [1, 1, 1, 1, 1]
        line[axis] = -1
        field = ops.conv(field, ops.reshape(kernel, line), padding="same", data_format="channels_last")
    return ops.moveaxis(ops.reshape(field, (-1, shape[4], *shape[1:4])), 1, -1)
