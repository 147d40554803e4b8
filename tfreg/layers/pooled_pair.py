"""Joins the two images into the network's input at trunk resolution."""

import keras
from keras import ops

from tfreg.layers.strided import Strided
from tfreg.ops.tensor import Shape, Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class PooledPair(Strided):
    """Concatenates moving and fixed, replicates the high edges up to a whole number of strides, and averages.

    Args:
        stride: Voxels averaged along each axis; 1 keeps the full resolution.

    Call arguments:
        moving, fixed: `(batch, i, j, k, 1)`.

    Returns:
        `(batch, ceil(i/stride), ceil(j/stride), ceil(k/stride), 2)`, moving first.

    Raises:
        ValueError: If the stride is not a positive integer.

    Example:
        >>> moving, fixed = np.zeros((2, 1, 5, 6, 7, 1), np.float32)
        >>> tuple(tfreg.layers.PooledPair(stride=2)(moving, fixed).shape)
        (1, 3, 3, 4, 2)
    """

    def call(self, moving: Tensor, fixed: Tensor) -> Tensor:
        pair = ops.concatenate([moving, fixed], axis=-1)
        if self.stride == 1:
            return pair
        for axis in (1, 2, 3):
            edge = [slice(None)] * 5
            edge[axis] = slice(-1, None)
            pair = ops.concatenate([pair] + [pair[tuple(edge)]] * (self.stride - 1), axis=axis)
        # Pooling drops what is left over: together with the padding, that is rounding up.
        return ops.average_pool(pair, self.stride, strides=self.stride, padding="valid", data_format="channels_last")

    def compute_output_shape(self, moving_shape: Shape, fixed_shape: Shape) -> Shape:
        trunk = [None if n is None else -(-n // self.stride) for n in moving_shape[1:4]]
        return (moving_shape[0], *trunk, 2)
