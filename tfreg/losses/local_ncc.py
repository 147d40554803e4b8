"""Squared correlation of intensities in a window around every voxel."""

from typing import Any

import keras
from keras import ops

from tfreg.losses.similarity import Similarity, weighted_mean
from tfreg.ops.line_products import along_lines, multiplies_lines
from tfreg.ops.tensor import Tensor

VARIANCE_FLOOR = 1e-5  # intensities are in [0, 1]: structure weaker than 0.003 counts as flat


def box_mean(volume: Tensor, window: int, voxels: slice = slice(None)) -> Tensor:
    """Mean over a cube around each voxel, of the part of it inside the volume.

    Args:
        volume: `(batch, i, j, k, 1)`.
        window: Odd positive integer, the cube's side in voxels.
        voxels: Those along every axis whose means are returned, a slice.

    Returns:
        `(batch, i, j, k, 1)`, of those voxels.
    """
    for axis in range(3):
        if multiplies_lines(volume):
            volume = along_lines(_box_matrix(ops.shape(volume)[axis + 1], window)[voxels], volume, axis)
            continue
        kernel_shape = [1, 1, 1, 1, 1]
        kernel_shape[axis] = window
        kernel = ops.ones(kernel_shape, dtype=volume.dtype)
        line_shape = [1, 1, 1, 1, 1]
        line_shape[axis + 1] = ops.shape(volume)[axis + 1]
        count = ops.conv(ops.ones(line_shape, dtype=volume.dtype), kernel, padding="same", data_format="channels_last")
        volume = ops.conv(volume, kernel, padding="same", data_format="channels_last") / count
        volume = volume[(slice(None),) * (axis + 1) + (voxels,)]
    return volume


def _box_matrix(size, window):
    """`(size, size)`, rows that take the mean of what lies in the window around each voxel of a line."""
    index = ops.arange(size)
    inside = ops.cast(ops.abs(ops.expand_dims(index, 1) - index) <= window // 2, "float32")
    return inside / ops.sum(inside, axis=1, keepdims=True)


@keras.saving.register_keras_serializable(package="tfreg")
class LocalNCC(Similarity):
    """One minus the mean squared local normalised cross-correlation.

    At each voxel, with means over a window: (|cov(fixed, warped)| + f)² / ((var(fixed) + f) (var(warped) + f)), with
    a floor f, which is blind to smooth changes of brightness and contrast. 0 for images that are locally linear
    functions of each other, 1 for unrelated ones.

    Args:
        window: Odd positive integer, side of the window in voxels.

    Raises:
        ValueError: If the window is not an odd positive integer.

    Reference:
        Avants et al., Medical Image Analysis 2008, section 2.

    Example:
        >>> fixed = np.random.default_rng(0).random((1, 12, 12, 12, 1), np.float32)
        >>> loss = tfreg.losses.LocalNCC(window=5)
        >>> float(loss(fixed, 0.5 * fixed + 0.2)) < 0.01
        True
        >>> float(loss(fixed, np.flip(fixed, axis=1))) > 0.9
        True
    """

    def __init__(self, window: int = 9, name: str = "local_ncc", **kwargs: Any) -> None:
        if not isinstance(window, int) or window < 1 or window % 2 == 0:
            raise ValueError(f"`window` must be an odd positive integer. Received: window={window!r}")
        super().__init__(name=name, **kwargs)
        self.window = window

    def _means(self, *volumes):
        """Window means of several volumes in one filter pass, stacked along the batch."""
        return ops.split(box_mean(ops.concatenate(volumes, axis=0), self.window), len(volumes), axis=0)

    def compare(self, fixed: Tensor, warped: Tensor, mask: Tensor | None = None) -> Tensor:
        # The fixed image is filtered apart: no gradient passes through its moments where it is constant.
        fixed_mean, fixed_square = self._means(fixed, fixed * fixed)
        warped_mean, warped_square, product = self._means(warped, warped * warped, fixed * warped)
        fixed_variance = ops.maximum(fixed_square - ops.square(fixed_mean), 0.0) + VARIANCE_FLOOR
        warped_variance = ops.maximum(warped_square - ops.square(warped_mean), 0.0) + VARIANCE_FLOOR
        covariance = product - fixed_mean * warped_mean
        # The floor is in all three: only then is nothing more like an image than the image itself.
        correlation = ops.square(ops.abs(covariance) + VARIANCE_FLOOR) / (fixed_variance * warped_variance)
        return 1.0 - weighted_mean(correlation, mask)

    def on_every_second_voxel(self) -> "LocalNCC":
        """With a window about as wide."""
        return LocalNCC(self.window // 2 | 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "window": self.window}
