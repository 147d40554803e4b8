"""Random smooth displacements, and their inverses."""

import math

from keras import ops

from tfreg.config.simulated_pairs import RandomDisplacements
from tfreg.ops.grids import identity_grid
from tfreg.ops.tensor import Tensor
from tfreg.ops.trilinear_sampling import sample_trilinear
from tfreg.simulation.random_pairs.draws import Draws, per_pair
from tfreg.simulation.random_pairs.noise import smooth_noise

ITERATIONS = 24


def random_displacement(draws: Draws, size: int, unit: float, options: RandomDisplacements) -> Tensor:
    """Draws displacements: an affine map about the centre and smooth noise, less steep than a limit.

    Args:
        draws: Random numbers.
        size: Voxels along each axis.
        unit: Voxels per voxel of the options.
        options: How far places move.

    Returns:
        `(batch, size, size, size, 3)`, voxels. At every voxel and for every component the absolute differences to the
        next voxels along the three axes add up to at most `options.max_slope`.
    """
    offset = identity_grid((size,) * 3) - (size - 1) / 2
    matrix = _matrix(draws, options)
    total = ops.sum(ops.expand_dims(offset, -2) * ops.reshape(matrix, (-1, 1, 1, 1, 3, 3)), axis=-1)
    total = total + per_pair(draws.uniform(3, between=(-1.0, 1.0)) * draws.chance(0.6, 3)) * options.translation * unit
    for spacing, amplitude in zip(options.spacings, options.amplitudes, strict=True):
        amplitudes = amplitude * unit * draws.uniform() ** 1.5
        total = total + per_pair(amplitudes) * smooth_noise(draws, size, spacing * unit, 3)
    total = total * per_pair(draws.uniform(between=options.amount))
    return total * per_pair(ops.minimum(1.0, options.max_slope / ops.maximum(steepness(total), 1e-6)))


def _matrix(draws, options):
    """Random rotations, scales and shears less the identity, `(batch, 3, 3)`; a part of the pairs has none of each."""
    turned, stretched = draws.chance(0.6), draws.chance(0.6)
    angles = draws.normal(3) * math.radians(options.rotation_degrees) * turned[:, None]
    scales = draws.normal(3) + draws.normal(1)
    shears = draws.normal(3, 3)
    matrix = ops.eye(3) + options.shear * shears * stretched[:, None, None]
    matrix = matrix * ops.exp(options.scale * scales * stretched[:, None])[:, None, :]
    for axis in range(3):
        matrix = ops.matmul(_rotation(angles[:, axis], axis), matrix)
    return matrix - ops.eye(3)


def _rotation(angle, axis):
    """Rotations about an axis, `(batch, 3, 3)`."""
    cosine, sine, zero = ops.cos(angle), ops.sin(angle), ops.zeros_like(angle)
    rows = [[zero] * 3 for _ in range(3)]
    one, other = (axis + 1) % 3, (axis + 2) % 3
    rows[axis][axis] = zero + 1.0
    rows[one][one], rows[one][other], rows[other][one], rows[other][other] = cosine, -sine, sine, cosine
    return ops.stack([ops.stack(row, axis=-1) for row in rows], axis=-2)


def steepness(displacement: Tensor) -> Tensor:
    """How steep a displacement is: the largest sum of absolute differences along the axes, of any component.

    Below 1 the map is one to one, and its inverse can be iterated.

    Args:
        displacement: `(batch, i, j, k, 3)`, voxels.

    Returns:
        `(batch,)`, voxels per voxel.
    """
    total = 0.0
    for axis in (1, 2, 3):
        inner, shifted = [slice(None)] + [slice(None, -1)] * 3, [slice(None)] + [slice(None, -1)] * 3
        shifted[axis] = slice(1, None)
        total = total + ops.abs(displacement[tuple(shifted)] - displacement[tuple(inner)])
    return ops.max(total, axis=(1, 2, 3, 4))


def inverted(displacement: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of p -> p + D(p), by the iteration t <- -D(p + t).

    Each round multiplies the error by the steepness at most: 0.7 leaves 2e-4 of it.

    Args:
        displacement: D, `(batch, i, j, k, 3)`, voxels, interpolated trilinearly, constant outside.
        points: `(1, x, y, z, 3)` voxel coordinates.

    Returns:
        The inverse displacement t at the points, `(batch, x, y, z, 3)`; and how far p + t + D(p + t) lies from p,
        `(batch, x, y, z, 1)`; voxels.
    """

    def mapped(_, inverse):
        return -sample_trilinear(displacement, points + inverse)

    inverse = ops.fori_loop(0, ITERATIONS, mapped, -sample_trilinear(displacement, points + ops.zeros_like(points)))
    apart = ops.square(mapped(0, inverse) - inverse)
    return inverse, ops.sqrt(ops.sum(apart, axis=-1, keepdims=True))
