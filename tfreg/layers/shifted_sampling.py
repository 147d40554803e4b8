"""Samples a component of a displacement at lattice points that moved along the first axes only."""

from keras import ops

from tfreg.layers.acceleration import compiled
from tfreg.layers.trilinear_sampler import blended, neighbours


@compiled
def sample_shifted(volume, *coordinates, start=(0, 0, 0)):
    """Trilinear interpolation where points keep their lattice index along the last axes.

    Two values are read for one moved axis, four for two, instead of eight.

    Args:
        volume: `(batch, i, j, k, 1)`.
        coordinates: One to three tensors `(batch, x, y, z, 1)`, float32 voxel coordinates along axes 0, 1
            and 2 in this order; along an axis without one every point keeps its index. Points outside take
            the border's value.
        start: Three indices at which the lattice of points begins in the volume.

    Returns:
        `(batch, x, y, z, 1)` float32.
    """
    sizes = ops.shape(volume)[1:4]
    strides = (sizes[1] * sizes[2], sizes[2], 1)
    batch = ops.shape(volume)[0]
    base = ops.reshape(ops.arange(batch), (-1, 1, 1, 1, 1)) * (sizes[0] * strides[0])
    for d in range(len(coordinates), 3):
        line = [1, 1, 1, 1, 1]
        line[d + 1] = -1
        index = start[d] + ops.arange(ops.shape(coordinates[0])[d + 1])
        base = base + ops.reshape(index * strides[d], line)
    indices, fractions = [base], []
    for d, coordinate in enumerate(coordinates):
        indices, fraction = neighbours(indices, coordinate, sizes[d], strides[d])
        fractions.append(fraction)
    flat = ops.reshape(volume, (-1,))
    return blended([ops.take(flat, index) for index in indices], fractions)
