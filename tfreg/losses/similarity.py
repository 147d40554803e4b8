"""What every similarity loss has in common."""

import keras
from keras import ops

from tfreg.ops.tensor import Tensor


def weighted_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over space and channels, of the voxels that a mask keeps.

    Args:
        values: `(batch, i, j, k, channels)`.
        mask: `(batch, i, j, k, 1)`, weights of at least 0, or None for all voxels alike. An empty mask
            gives 0.

    Returns:
        `(batch,)`.
    """
    axes = (1, 2, 3, 4)
    if mask is None:
        return ops.mean(values, axis=axes)
    mask = ops.broadcast_to(ops.cast(mask, values.dtype), ops.shape(values))
    return ops.sum(values * mask, axis=axes) / ops.maximum(ops.sum(mask, axis=axes), 1e-6)


class Similarity(keras.losses.Loss):
    """Base of the similarity losses: zero where the images agree, larger where they do not.

    A subclass implements `compare(fixed, warped, mask)`, with `(batch, i, j, k, 1)` images and an
    optional mask of the same shape, and returns `(batch,)`. Keras' `fit` calls it without a mask.
    """

    def call(self, fixed: Tensor, warped: Tensor) -> Tensor:
        return self.compare(fixed, warped)

    def on_every_second_voxel(self) -> "Similarity | None":
        """What of every second voxel along each axis gives about the same; None if that cannot be.

        A subclass that looks at the surroundings of a voxel overrides it.
        """
        return self
