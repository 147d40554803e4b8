"""Trilinear up-sampling by a whole factor."""

from keras import ops

from tfreg.ops.line_products import along_lines, multiplies_lines
from tfreg.ops.tensor import Tensor


def upsample_lines(volume: Tensor, factor: int, axis: int) -> Tensor:
    """Linear up-sampling along an axis with half-pixel centres: fine voxel f lies at (f + 1/2) / factor - 1/2.

    Beyond the outermost coarse centres the border's value continues. Written as sums of shifted copies,
    whose gradient is as cheap as the sum itself.

    Args:
        volume: `(batch, i, j, k, channels)`.
        factor: Positive integer.
        axis: 0, 1 or 2, spatial.

    Returns:
        The same, with `factor` times the voxels along the axis.
    """
    if factor == 1:
        return volume

    def part(start, stop):
        index = [slice(None)] * 5
        index[axis + 1] = slice(start, stop)
        return volume[tuple(index)]

    before = ops.concatenate([part(0, 1), part(0, -1)], axis=axis + 1)
    after = ops.concatenate([part(1, None), part(-1, None)], axis=axis + 1)
    phases = []
    for phase in range(factor):
        shift = (phase + 0.5) / factor - 0.5
        neighbour = before if shift < 0 else after
        phases.append(volume + abs(shift) * (neighbour - volume))
    shape = list(ops.shape(volume))
    shape[axis + 1] = shape[axis + 1] * factor
    return ops.reshape(ops.stack(phases, axis=axis + 2), shape)


def upsample_lines_by_product(volume: Tensor, factor: int, axis: int, voxels: Tensor | None = None) -> Tensor:
    """What `upsample_lines` returns, by `along_lines`.

    Args:
        volume, factor, axis: As `upsample_lines` takes them.
        voxels: Indices `(n,)` of the fine voxels along the axis that are returned, or None for all.
    """
    if factor == 1 and voxels is None:
        return volume
    size = ops.shape(volume)[axis + 1]
    if voxels is None:
        voxels = ops.arange(factor * size)
    # Places in steps of 1 / (2 factor) voxels, which are whole numbers.
    places = ops.minimum(ops.maximum(2 * voxels + 1 - factor, 0), 2 * factor * (size - 1))
    apart = ops.abs(ops.expand_dims(places, 1) - 2 * factor * ops.arange(size))
    shares = ops.cast(ops.maximum(2 * factor - apart, 0), "float32") / (2 * factor)
    return along_lines(shares, volume, axis)


def upsampled_voxels(volume: Tensor, factor: int, axis: int, voxels: Tensor) -> Tensor:
    """Some of the voxels that `upsample_lines` returns, by the faster way.

    Args:
        volume, factor, axis: As `upsample_lines` takes them.
        voxels: Indices `(n,)` of the fine voxels along the axis.

    Returns:
        The same, with n voxels along the axis.
    """
    if multiplies_lines(volume):
        return upsample_lines_by_product(volume, factor, axis, voxels)
    return ops.take(upsample_lines(volume, factor, axis), voxels, axis=axis + 1)
