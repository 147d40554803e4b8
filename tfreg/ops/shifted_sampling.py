"""Samples a component of a displacement at lattice points that moved along the first axes only."""

import math

from keras import ops

from tfreg.ops.acceleration import compiled
from tfreg.ops.tensor import Tensor
from tfreg.ops.trilinear_sampling import blended_with_slopes, follows, neighbours


def sample_shifted(volume: Tensor, *coordinates: Tensor) -> Tensor:
    """Trilinear interpolation where points keep their lattice index along the last axes.

    Two values are read for one moved axis, four for two, instead of eight. The gradient goes by the slopes found
    with the values: of all that was read nothing else is kept.

    Args:
        volume: `(batch, i, j, k, 1)`.
        coordinates: One to three tensors `(batch, x, y, z, 1)`, float32 voxel coordinates along axes 0, 1
            and 2 in this order; along an axis without one every point keeps its index. Points outside take
            the border's value.

    Returns:
        `(batch, x, y, z, 1)` float32.
    """

    @ops.custom_gradient
    def sampled(volume, *coordinates):
        value, *slopes = _values_and_slopes(volume, *coordinates)

        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            given_back = _given_back(upstream, volume, *coordinates)
            return given_back, *[upstream * slope for slope in slopes]

        return value, gradient

    return sampled(volume, *coordinates)


@compiled
def _values_and_slopes(volume, *coordinates):
    """The values, and their slopes along every moved axis."""
    shape = ops.shape(volume)
    indices, fractions = _what_is_read(shape, coordinates)
    flat = ops.reshape(volume, (-1,))
    value, slopes = blended_with_slopes([ops.take(flat, index) for index in indices], fractions)
    moved = zip(slopes, coordinates, shape[1:4], strict=False)
    return value, *[slope * follows(coordinate, size) for slope, coordinate, size in moved]


@compiled
def _given_back(values, volume, *coordinates):
    """The interpolation's transpose: values handed out to the voxels that were read, like the volume."""
    shape = ops.shape(volume)
    indices, fractions = _what_is_read(shape, coordinates)
    shares, result = [values], 0.0
    for fraction in fractions:
        shares = [part for share in shares for part in (share * (1.0 - fraction), share * fraction)]
    for index, share in zip(indices, shares, strict=True):
        result = result + ops.scatter(ops.reshape(index, (-1, 1)), ops.reshape(share, (-1,)), (math.prod(shape),))
    return ops.reshape(result, shape)


def _what_is_read(shape, coordinates):
    """Flat indices into a volume, a list, and along every moved axis the share of the upper neighbours."""
    batch, *sizes = shape[:4]
    strides = (sizes[1] * sizes[2], sizes[2], 1)
    base = ops.reshape(ops.arange(batch), (-1, 1, 1, 1, 1)) * (sizes[0] * strides[0])
    for d in range(len(coordinates), 3):
        line = [1, 1, 1, 1, 1]
        line[d + 1] = -1
        base = base + ops.reshape(ops.arange(sizes[d]) * strides[d], line)
    indices, fractions = [base], []
    for d, coordinate in enumerate(coordinates):
        indices, fraction = neighbours(indices, coordinate, sizes[d], strides[d])
        fractions.append(fraction)
    return indices, fractions
