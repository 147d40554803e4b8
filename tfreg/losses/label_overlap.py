"""Soft overlap of warped labels, as a loss: weak supervision by segmentations."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfreg.ops.grids import identity_grid, spatial_shape
from tfreg.ops.tensor import Tensor
from tfreg.ops.trilinear_sampling import corner_values


@keras.saving.register_keras_serializable(package="tfreg")
class LabelOverlap(keras.losses.Loss):
    """weight (1 - Dice) of moving labels, each warped as an image of ones and zeros by trilinear interpolation.

    Dice of a label is 2 Σ F W / (Σ F + Σ W), with F the fixed image of ones and zeros and W the warped moving one;
    averaged over the labels that are in the fixed or in the warped image. A pair without any counts as zero.

    A warped voxel belongs to at most eight labels, those of the corners about it: all sums are gathered from these,
    and the memory does not grow with the number of labels.

    Args:
        labels: The label values to count, background left out.
        weight: At least 0.

    Call arguments:
        pair_labels: `(batch, i, j, k, 2)`, fixed labels first, moving labels second; values below 2^31, those of
            float32 exact up to 2^24.
        displacement: `(batch, i, j, k, 3)` voxels.

    Reference:
        Balakrishnan et al. 2019, VoxelMorph, section III-D.

    Example:
        >>> labels = np.zeros((1, 4, 4, 4, 2), np.float32)
        >>> labels[:, 1:3, 1:3, 1:3, 0] = labels[:, 1:3, 1:3, 2:4, 1] = 1
        >>> displacement = np.zeros((1, 4, 4, 4, 3), np.float32)
        >>> round(float(tfreg.losses.LabelOverlap(labels=(1,))(labels, displacement)), 3)
        0.5
    """

    def __init__(self, labels: Sequence[int], weight: float = 1.0, name: str = "label_overlap", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.labels = tuple(sorted(labels))
        self.weight = weight

    def call(self, pair_labels: Tensor, displacement: Tensor) -> Tensor:
        numbers = self._numbered(ops.cast(pair_labels, "int32"))
        fixed, moving = numbers[..., :1], numbers[..., 1:2]
        corners, shares = corner_values(moving, identity_grid(spatial_shape(fixed)) + displacement)
        fixed_sizes = self._sums(fixed, ops.ones_like(shares[0]))
        overlap, warped_sizes = 0.0, 0.0
        for corner, share in zip(corners, shares, strict=True):
            overlap = overlap + self._sums(corner, share * ops.cast(corner == fixed, "float32"))
            warped_sizes = warped_sizes + self._sums(corner, share)
        sizes = fixed_sizes + warped_sizes
        present = ops.cast(sizes > 0.0, "float32")
        apart = ops.sum(present * (1.0 - 2.0 * overlap / ops.maximum(sizes, 1e-6)), axis=1)
        return self.weight * apart / ops.maximum(ops.sum(present, axis=1), 1.0)

    def _numbered(self, labels):
        """The place of each label among those that count, from 1 on; 0 for others."""
        values = ops.convert_to_tensor(self.labels, dtype="int32")
        place = ops.minimum(
            ops.cast(ops.searchsorted(values, ops.reshape(labels, (-1,))), "int32"), len(self.labels) - 1
        )
        place = ops.reshape(place, ops.shape(labels))
        return ops.where(ops.take(values, place, axis=0) == labels, place + 1, 0)

    def _sums(self, numbers, values):
        """What values add up to at each label's voxels, `(batch, labels)`."""
        batch, count = ops.shape(numbers)[0], len(self.labels) + 1
        rows = ops.reshape(ops.arange(batch), (-1, 1, 1, 1, 1)) * count
        places = ops.reshape(rows + numbers, (-1,))
        sums = ops.scatter(ops.expand_dims(places, 1), ops.reshape(values, (-1,)), (batch * count,))
        return ops.reshape(sums, (batch, count))[:, 1:]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": self.labels, "weight": self.weight}
