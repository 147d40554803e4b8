"""The composition of three maps, each of which moves one coordinate."""

from collections.abc import Sequence

from keras import ops

from tfreg.ops.grids import identity_grid, spatial_shape
from tfreg.ops.shifted_sampling import sample_shifted
from tfreg.ops.tensor import Tensor
from tfreg.ops.trilinear_sampling import sample_trilinear


def composed(displacements: Sequence[Tensor], points: Tensor | None = None) -> Tensor:
    """The map T_k ∘ T_j ∘ T_i, where T_d adds to coordinate d the trilinear interpolant of its displacement.

    Args:
        displacements: Three `(batch, i, j, k, 1)` tensors, voxels, that of T_i first; constant outside the lattice.
        points: `(batch or 1, ..., 3)` voxel coordinates at which the map is evaluated; None means at every voxel
            centre.

    Returns:
        The map's values at the points, voxel coordinates, float32.
    """
    first, second, third = displacements
    if points is None:
        return composed_at_voxels(displacements, identity_grid(spatial_shape(first)))
    i = points[..., 0:1] + sample_trilinear(first, points)
    j, k = (ops.broadcast_to(points[..., d : d + 1], ops.shape(i)) for d in (1, 2))
    j = j + sample_trilinear(second, ops.concatenate([i, j, k], axis=-1))
    k = k + sample_trilinear(third, ops.concatenate([i, j, k], axis=-1))
    return ops.concatenate([i, j, k], axis=-1)


def composed_at_voxels(displacements: Sequence[Tensor], points: Tensor) -> Tensor:
    """What `composed` returns at voxel centres, or at some planes of them along each axis.

    There T_i needs no interpolation, T_j one along the first axis, and T_k one along the first two: of the
    displacements no other planes are read than those of the points along the axes after these.

    Args:
        displacements: Three `(batch, i, j, k, 1)` tensors, voxels: that of T_i at the points, that of T_j on all planes
            along the first axis, that of T_k on all planes along the first two.
        points: `(1, i, j, k, 3)`, the voxel centres.

    Returns:
        `(batch, i, j, k, 3)`, voxel coordinates, float32.
    """
    first, second, third = displacements
    i = points[..., 0:1] + first
    j = points[..., 1:2] + sample_shifted(second, i)
    k = points[..., 2:3] + sample_shifted(third, i, j)
    return ops.concatenate([i, j, k], axis=-1)
