"""Sums of spatial gradients along the axes, which are displacements."""

from keras import ops

from tfreg.ops.grids import spatial_shape
from tfreg.ops.line_products import along_lines, multiplies_lines
from tfreg.ops.tensor import Tensor

ANCHORS = ("centre", "start")


def integrated_displacement(change: Tensor, axis: int, anchor: str, voxels: Tensor | None = None) -> Tensor:
    """Running sum of one component of the gradients, less one, along its own axis.

    Summing the gradients less one, rather than the gradients, keeps the identity exact in float32 and
    gives the displacement: grid = index + displacement.

    Args:
        change: `(batch, i, j, k, 1)`, the component of the gradients less one, in (-1, 1), voxels per voxel.
        axis: 0, 1 or 2, the component's spatial axis.
        anchor: See `anchored`.
        voxels: Indices `(n,)` of the voxels along the axis that are returned, or None for all.

    Returns:
        `(batch, i, j, k, 1)` float32, voxels; with `voxels`, n along the axis.
    """
    total = running_sum(change, axis, voxels)
    if voxels is None or anchor == "start":
        return anchored(total, axis, anchor)
    return total - ops.mean(running_sum(change, axis, _middle(change, axis)), axis=axis + 1, keepdims=True)


def running_sum(volume: Tensor, axis: int, voxels: Tensor | None = None) -> Tensor:
    """The cumulative sum along a spatial axis.

    Args:
        volume: `(batch, i, j, k, 1)`.
        axis: 0, 1 or 2.
        voxels: Indices `(n,)` of the voxels along the axis that are returned, or None for all.

    Returns:
        `(batch, i, j, k, 1)`; with `voxels`, n along the axis.
    """
    if not multiplies_lines(volume):
        total = ops.cumsum(volume, axis=axis + 1)
        return total if voxels is None else ops.take(total, voxels, axis=axis + 1)
    index = ops.arange(ops.shape(volume)[axis + 1])
    return along_lines(ops.expand_dims(index if voxels is None else voxels, 1) >= index, volume, axis)


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
    middle = ops.take(displacement, _middle(displacement, axis), axis=axis + 1)
    return displacement - ops.mean(middle, axis=axis + 1, keepdims=True)


def _middle(volume, axis):
    """The indices of the two middle samples along a spatial axis; of an odd number of them the middle one twice."""
    size = spatial_shape(volume)[axis]
    return ops.stack([(size - 1) // 2, size // 2])
