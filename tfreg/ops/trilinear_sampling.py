"""Samples a volume at voxel coordinates."""

from keras import ops

from tfreg.ops.acceleration import compiled
from tfreg.ops.tensor import Tensor

BORDERS = ("edge", "zero")


def neighbours(
    indices: list[Tensor], coordinate: Tensor, size: int | Tensor, stride: int
) -> tuple[list[Tensor], Tensor]:
    """What a linear interpolation reads along one more axis.

    Args:
        indices: List of flat indices, what it reads along the axes before.
        coordinate: Float32 voxel coordinates along the axis; outside they count as the border's.
        size: Voxels along the axis.
        stride: Flat indices from one voxel to the next along the axis.

    Returns:
        The list, twice as long, of each index the lower and the upper neighbour; and the share of the upper ones.
    """
    inside = _clamped(coordinate, size)
    low = ops.clip(ops.floor(inside), 0.0, ops.cast(ops.maximum(size - 2, 0), "float32"))
    index = ops.cast(low, "int32") * stride
    step = ops.minimum(size - 1, 1) * stride
    return [end for base in indices for end in (base + index, base + index + step)], inside - low


def blended(values: list[Tensor], fractions: list[Tensor]) -> Tensor:
    """Linear interpolation between what `neighbours` reads.

    Args:
        values: List of tensors, two to the power of the number of axes.
        fractions: A tensor an axis, the share of the upper neighbours.

    Returns:
        A tensor.
    """
    for fraction in reversed(fractions):
        values = _halved(values, fraction)
    return values[0]


def blended_with_slopes(values: list[Tensor], fractions: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """What `blended` returns, and a list of its slopes along the axes."""
    slopes: list[list[Tensor]] = []
    for fraction in reversed(fractions):
        slopes = [_halved(slope, fraction) for slope in slopes]
        slopes.insert(0, [high - low for low, high in zip(values[::2], values[1::2], strict=True)])
        values = _halved(values, fraction)
    return values[0], [slope for (slope,) in slopes]


def _halved(values, fraction):
    return [low * (1.0 - fraction) + high * fraction for low, high in zip(values[::2], values[1::2], strict=True)]


def sample_trilinear(volume: Tensor, points: Tensor, *, border: str = "edge", constant: bool = False) -> Tensor:
    """Trilinear interpolation, eq. 2 of the paper.

    Args:
        volume: `(batch, i, j, k, channels)`.
        points: `(batch or 1, ..., 3)` float32 voxel coordinates. Points outside take the nearest border
            value (border "edge"), faded to zero over one voxel (border "zero", eq. 2 to the letter).
        border: "edge" or "zero".
        constant: True spares the gradient with respect to the volume, which costs more than all the rest, and takes
            that with respect to the points from the slopes found with the values. Volume and points then have the
            same batch.

    Returns:
        `(batch, ..., channels)` float32. Differentiable in both arguments; outside the volume the
        gradient with respect to an edge-clamped coordinate is zero.
    """
    volume = ops.cast(volume, "float32")
    if not constant:
        return _values(volume, points, border=border)

    @ops.custom_gradient
    def sampled(points):
        values, *slopes = _values_and_slopes(volume, points, border=border)

        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            return ops.stack([ops.sum(upstream * slope, axis=-1) for slope in slopes], axis=-1)

        return values, gradient

    return sampled(points)


@compiled
def _values(volume, points, *, border):
    read, fractions = _what_is_read(volume, points)
    values = blended(read, fractions)
    for d in range(3) if border == "zero" else ():
        values = values * _left_outside(points[..., d : d + 1], ops.shape(volume)[d + 1])
    return values


@compiled
def _values_and_slopes(volume, points, *, border):
    """The values, and their slopes along the three axes, four tensors of the same shape."""
    read, fractions = _what_is_read(volume, points)
    values, slopes = blended_with_slopes(read, fractions)
    coordinates, sizes = ops.split(points, 3, axis=-1), ops.shape(volume)[1:4]
    slopes = [slope * follows(c, size) for slope, c, size in zip(slopes, coordinates, sizes, strict=True)]
    for d, (coordinate, size) in enumerate(zip(coordinates, sizes, strict=True)) if border == "zero" else ():
        left = _left_outside(coordinate, size)
        slopes = [slope * left for slope in slopes]
        slopes[d] = slopes[d] - values * ops.sign(_beyond(coordinate, size)) * ops.cast(left > 0.0, "float32")
        values = values * left
    return values, *slopes


def _what_is_read(volume, points):
    """The eight values about every point, and along the axes the share of the upper ones."""
    shape = ops.shape(volume)
    flat = ops.reshape(volume, (-1, shape[4]))
    stride = shape[1] * shape[2] * shape[3]
    indices = [ops.reshape(ops.arange(shape[0]), (-1,) + (1,) * (len(ops.shape(points)) - 2)) * stride]
    fractions = []
    for d in range(3):
        stride = stride // shape[d + 1]
        indices, fraction = neighbours(indices, points[..., d], shape[d + 1], stride)
        fractions.append(ops.expand_dims(fraction, -1))
    return [ops.take(flat, index, axis=0) for index in indices], fractions


def corner_values(volume: Tensor, points: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The eight voxels about every point, and what each contributes to a trilinear interpolation there.

    Args:
        volume: `(batch, i, j, k, channels)`, of any type.
        points: `(batch or 1, x, y, z, 3)` float32 voxel coordinates; outside they count as the border's.

    Returns:
        Two lists of eight: values `(batch, x, y, z, channels)`, and shares `(batch or 1, x, y, z, 1)`, which add up to
        1 and are differentiable in the points.
    """
    values, fractions = _what_is_read(volume, points)
    shares = [ops.ones_like(fractions[0])]
    for fraction in fractions:
        shares = [part for share in shares for part in (share * (1.0 - fraction), share * fraction)]
    return values, shares


def follows(coordinate: Tensor, size: int | Tensor) -> Tensor:
    """One where a value follows the coordinate, zero where that lies outside and counts as the border's."""
    return ops.cast(_beyond(coordinate, size) == 0.0, "float32")


def _left_outside(coordinate, size):
    """What eq. 2 leaves of the border's value: one inside an axis, zero from a voxel outside of it."""
    return ops.maximum(1.0 - ops.abs(_beyond(coordinate, size)), 0.0)


def _beyond(coordinate, size):
    """How far a coordinate lies outside of an axis' voxel centres."""
    return coordinate - _clamped(coordinate, size)


def _clamped(coordinate, size):
    return ops.clip(coordinate, 0.0, ops.cast(size - 1, "float32"))


def sample_nearest(volume: Tensor, points: Tensor) -> Tensor:
    """Nearest-neighbour sampling, for labels; halves round up and points outside take the border's value.

    Args:
        volume: `(batch, i, j, k, channels)`.
        points: `(batch or 1, ..., 3)` float32 voxel coordinates.

    Returns:
        `(batch, ..., channels)`, the volume's dtype.
    """
    shape = ops.shape(volume)
    flat = ops.reshape(volume, (-1, shape[4]))
    index = ops.reshape(ops.arange(shape[0]), (-1,) + (1,) * (len(points.shape) - 2))
    for d in range(3):
        size = shape[1 + d]
        nearest = ops.cast(ops.floor(points[..., d] + 0.5), "int32")
        index = index * size + ops.clip(nearest, 0, size - 1)
    return ops.take(flat, index, axis=0)
