"""The composition of three maps, each of which moves one coordinate."""

from collections.abc import Sequence

from keras import ops

from tfreg.ops.grids import identity_grid, spatial_shape
from tfreg.ops.shifted_sampling import sample_shifted
from tfreg.ops.tensor import Tensor
from tfreg.ops.trilinear_sampling import sample_trilinear


def composed(
    displacements: Sequence[Tensor], points: Tensor | None = None, start: tuple[int, int, int] = (0, 0, 0)
) -> Tensor:
    """The map T_k ∘ T_j ∘ T_i, where T_d adds to coordinate d the trilinear interpolant of its displacement.

    Args:
        displacements: Three `(batch, i, j, k, 1)` tensors, voxels, that of T_i first; constant outside the lattice.
        points: `(batch or 1, ..., 3)` voxel coordinates at which the map is evaluated; None means at every voxel
            centre.
        start: Without points: three indices of the first voxel at which it is evaluated.

    Returns:
        The map's values at the points, voxel coordinates, float32.
    """
    first, second, third = displacements
    if points is None:
        # At voxel centres the first map needs no interpolation, the second one along a single axis.
        points = identity_grid(spatial_shape(first))[(slice(None), *(slice(n, None) for n in start))]
        if any(start):
            # Not by indexing, the gradient of which is slow.
            first = ops.slice(first, (0, *start, 0), (ops.shape(first)[0], *spatial_shape(points), 1))
        i = points[..., 0:1] + first
        j = points[..., 1:2] + sample_shifted(second, i, start=start)
        k = points[..., 2:3] + sample_shifted(third, i, j, start=start)
        return ops.concatenate([i, j, k], axis=-1)
    i = points[..., 0:1] + sample_trilinear(first, points)
    j, k = (ops.broadcast_to(points[..., d : d + 1], ops.shape(i)) for d in (1, 2))
    j = j + sample_trilinear(second, ops.concatenate([i, j, k], axis=-1))
    k = k + sample_trilinear(third, ops.concatenate([i, j, k], axis=-1))
    return ops.concatenate([i, j, k], axis=-1)
