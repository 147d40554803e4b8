"""Overlap of labels after warping, as a metric of training."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfreg.ops.grids import identity_grid, spatial_shape
from tfreg.ops.tensor import Tensor
from tfreg.ops.trilinear_sampling import sample_nearest


@keras.saving.register_keras_serializable(package="tfreg")
class WarpedDice(keras.metrics.Metric):
    """Mean Dice of moving labels, warped by nearest neighbour, with fixed labels.

    Averaged over the labels that occur in a pair's fixed or moving volume, then over pairs.

    Args:
        labels: The label values to count, background left out.

    Call arguments of `update_state`:
        pair_labels: `(batch, i, j, k, 2)`, fixed labels first, moving labels second.
        displacement: `(batch, i, j, k, 3)` voxels.

    Example:
        >>> labels = np.zeros((1, 4, 4, 4, 2), np.int32)
        >>> labels[:, 1:3, 1:3, 1:3] = 1
        >>> dice = tfreg.losses.WarpedDice(labels=(1,))
        >>> dice.update_state(labels, np.zeros((1, 4, 4, 4, 3), np.float32))
        >>> float(dice.result())
        1.0
    """

    def __init__(self, labels: Sequence[int], name: str = "dice", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.labels = tuple(labels)
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, pair_labels: Tensor, displacement: Tensor, sample_weight: Tensor | None = None) -> None:
        pair_labels = ops.cast(pair_labels, "int32")
        displacement = ops.cast(displacement, "float32")
        fixed, moving = pair_labels[..., :1], pair_labels[..., 1:]
        warped = sample_nearest(moving, identity_grid(spatial_shape(fixed)) + displacement)
        axes = (1, 2, 3, 4)

        def volume(mask):
            return ops.sum(ops.cast(mask, "float32"), axis=axes)

        overlap, present = 0.0, 0.0
        for label in self.labels:
            both = volume((fixed == label) & (warped == label))
            sizes = volume(fixed == label) + volume(warped == label)
            occurs = ops.cast(sizes + volume(moving == label) > 0, "float32")
            overlap = overlap + occurs * 2.0 * both / ops.maximum(sizes, 1.0)
            present = present + occurs
        has_labels = ops.cast(present > 0, "float32")
        self.total.assign_add(ops.sum(has_labels * overlap / ops.maximum(present, 1.0)))
        self.count.assign_add(ops.sum(has_labels))

    def result(self) -> Tensor:
        return self.total / ops.maximum(self.count, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": self.labels}
