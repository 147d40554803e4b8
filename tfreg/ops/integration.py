"""Sums of spatial gradients along the axes, which are displacements."""

from keras import ops

from tfreg.ops.grids import spatial_shape
from tfreg.ops.line_products import along_lines, multiplies_lines
from tfreg.ops.tensor import Tensor

ANCHORS = ("centre", "start")


def integrated_displacement(gradient: Tensor, axis: int, anchor: str) -> Tensor:
    """Running sum of one component of the gradients, minus one, along its own axis.

    Summing the gradients minus one, rather than the gradients, keeps the identity exact in float32 and
    gives the displacement: grid = index + displacement.

    Args:
        gradient: `(batch, i, j, k, 1)`, the component, in (0, 2), voxels per voxel.
        axis: 0, 1 or 2, the component's spatial axis.
        anchor: See `anchored`.

    Returns:
        `(batch, i, j, k, 1)` float32, voxels.
    """
    return anchored(running_sum(gradient - 1.0, axis), axis, anchor)


def running_sum(volume: Tensor, axis: int) -> Tensor:
    """The cumulative sum along a spatial axis.

    Args:
        volume: `(batch, i, j, k, 1)`.
        axis: 0, 1 or 2.

    Returns:
        `(batch, i, j, k, 1)`.
    """
    if not multiplies_lines(volume):
        return ops.cumsum(volume, axis=axis + 1)
    index = ops.arange(ops.shape(volume)[axis + 1])
    return along_lines(ops.expand_dims(index, 1) >= index, volume, axis)


def anchored(displacement: Tensor, axis: int, anchor: str) -> Tensor:
    """A displacement component without what the anchor takes from each line along its own axis.

    Args:
        displacement: `(batch, i, j, k, 1)`.
        axis: 0, 1 or 2, the component's spatial axis.
        anchor: "start" takes nothing; "centre" what the middle of the line has, at (n-1)/2, the mean of the two
            middle samples when n is even.

    Returns:
        `(batch, i, j, k, 1)`.
    """
    if anchor == "start":
        return displacement
    size = spatial_shape(displacement)[axis]
    low = ops.take(displacement, ops.expand_dims((size - 1) // 2, 0), axis=axis + 1)
    high = ops.take(displacement, ops.expand_dims(size // 2, 0), axis=axis + 1)
    return displacement - 0.5 * (low + high)
