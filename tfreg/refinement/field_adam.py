"""An optimiser for displacement fields."""

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="tfreg")
class FieldAdam(keras.optimizers.Optimizer):
    """Adam with one step length a vector, on gradients smoothed over neighbouring vectors.

    The last axis of a variable holds vectors. Their gradients are smoothed over the spatial axes, and divided
    by the running root mean square of their own length plus `evenness` times its mean over the field: large
    values move places of little contrast less than those of much, as steepest descent does; with 0 all move
    alike, as with Adam.

    Args:
        learning_rate: Length of a step in the variable's units.
        beta_1, beta_2: Memory of the mean gradient and of its mean squared length.
        smoothing: Standard deviation of the Gaussian in samples, 0 for none; for `(batch, i, j, k, vector)`.
        evenness: At least 0.

    Reference:
        Kingma & Ba, ICLR 2015; one length a vector: Ling et al., VectorAdam, NeurIPS 2022; smoothed gradients of
        displacement fields: Vercauteren et al., NeuroImage 2009.
    """

    def __init__(
        self,
        learning_rate: float = 0.2,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        smoothing: float = 1.0,
        evenness: float = 0.5,
        name: str = "field_adam",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.smoothing = smoothing
        self.evenness = evenness

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self._means, self._squares = [], []
        for variable in variables:
            self._means.append(self.add_variable_from_reference(variable, name="mean"))
            self._squares.append(
                self.add_variable(shape=(*variable.shape[:-1], 1), dtype=variable.dtype, name="square")
            )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        mean, square = self._means[index], self._squares[index]
        rate = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        if self.smoothing and len(variable.shape) == 5:
            gradient = gaussian_smoothed(gradient, self.smoothing)
        self.assign(mean, self.beta_1 * mean + (1.0 - self.beta_1) * gradient)
        length = ops.sum(ops.square(gradient), axis=-1, keepdims=True)
        self.assign(square, self.beta_2 * square + (1.0 - self.beta_2) * length)
        unbiased = square / (1.0 - ops.power(self.beta_2, step))
        scale = ops.sqrt(unbiased) + self.evenness * ops.sqrt(ops.mean(unbiased))
        direction = mean / (1.0 - ops.power(self.beta_1, step)) / (scale + 1e-12)
        self.assign_sub(variable, rate * direction)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "smoothing": self.smoothing,
            "evenness": self.evenness,
        }


def gaussian_smoothed(field: Any, sigma: float) -> Any:
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
