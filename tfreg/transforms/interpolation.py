"""Trilinear interpolation of arrays in float64: at points, and by a whole factor."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def upsampled(volume: np.ndarray, factor: int | Sequence[int]) -> np.ndarray:
    """Trilinear up-sampling with half-pixel centres, the border's value continued.

    Args:
        volume: `(i, j, k, channels)`.
        factor: Positive integer, or three of them, one an axis.

    Returns:
        `(factor*i, factor*j, factor*k, channels)` float64.
    """
    volume = np.asarray(volume, np.float64)
    for axis, times in enumerate(np.broadcast_to(factor, 3)):
        size = volume.shape[axis]
        position = np.clip((np.arange(size * times) + 0.5) / times - 0.5, 0, size - 1)
        low = np.floor(position).astype(np.intp)
        fraction = (position - low).reshape([-1 if a == axis else 1 for a in range(4)])
        high = np.minimum(low + 1, size - 1)
        volume = volume.take(low, axis) * (1 - fraction) + volume.take(high, axis) * fraction
    return volume


def sampled(array: np.ndarray, points_voxel: np.ndarray) -> np.ndarray:
    """Trilinear interpolation of an image or of one displacement component, the border's value continued outside.

    Args:
        array: `(i, j, k)`, of floats.
        points_voxel: `(..., 3)` voxel coordinates.

    Returns:
        `(...)`, of the array's dtype.
    """
    coordinates = np.asarray(points_voxel).reshape(-1, 3).T  # (3, n)
    values = ndimage.map_coordinates(array, coordinates, array.dtype, order=1, mode="nearest")
    return values.reshape(np.shape(points_voxel)[:-1])
