"""Gaussian smoothing whose width may be a tensor, as products of lines with a matrix."""

from collections.abc import Sequence

from keras import ops

from tfreg.ops.grids import spatial_shape
from tfreg.ops.line_products import along_lines
from tfreg.ops.tensor import Tensor

# The kernel ends after so many standard deviations, as SciPy's does.
TRUNCATE = 4.0

# A blur below this many voxels leaves a line as it is.
MIN_SIGMA = 1e-3


def smoothed(volume: Tensor, sigmas: Sequence[Tensor]) -> Tensor:
    """Gaussian smoothing along the three axes; beyond the border its value continues.

    It takes the square of the longest axis as memory. Where a GPU rounds matrix products, it rounds the volume as it
    does before a convolution.

    Args:
        volume: `(batch, i, j, k, channels)` float32.
        sigmas: Three scalar float32 tensors, standard deviations in voxels. One longer than its axis counts as long.

    Returns:
        The same shape.

    Reference:
        `scipy.ndimage.gaussian_filter` with mode "nearest".
    """
    for axis, (size, sigma) in enumerate(zip(spatial_shape(volume), sigmas, strict=True)):
        volume = along_lines(_shares(size, sigma), volume, axis)
    return volume


def _shares(size, sigma):
    """`(size, size)`: what each voxel of a smoothed line, a row, takes from each voxel of the line."""
    sigma = ops.clip(sigma, MIN_SIGMA, ops.cast(size, "float32"))
    radius = ops.cast(ops.floor(TRUNCATE * sigma + 0.5), "int32")
    weights = ops.exp(-0.5 * ops.square(ops.cast(ops.arange(-radius, radius + 1), "float32") / sigma))
    shares = ops.cumsum(weights) / ops.sum(weights)

    def share_up_to(offset):
        return ops.where(offset < -radius, 0.0, ops.take(shares, ops.clip(offset + radius, 0, 2 * radius)))

    index = ops.arange(size)
    offset = ops.expand_dims(index, 0) - ops.expand_dims(index, 1)
    # The border's voxels stand for all beyond them.
    upper = ops.where(ops.expand_dims(index, 0) == size - 1, radius, offset)
    lower = ops.where(ops.expand_dims(index, 0) == 0, -radius - 1, offset - 1)
    return share_up_to(upper) - share_up_to(lower)
