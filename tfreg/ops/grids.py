"""Voxel coordinates as tensors, and the arithmetic on them.

Coordinates are float32 and are moved by multiply-add, never by a matrix product: a GPU may round
those to ten bits, and bfloat16 steps by a whole voxel at index 128.
"""

from collections.abc import Sequence

from keras import ops

from tfreg.ops.tensor import Tensor


def spatial_shape(volume: Tensor) -> Sequence[int | Tensor]:
    """The three spatial sizes of `(batch, i, j, k, channels)`, integers or scalar tensors."""
    return ops.shape(volume)[1:4]


def identity_grid(shape: Sequence[int | Tensor]) -> Tensor:
    """Absolute voxel coordinates of every voxel.

    Args:
        shape: Three sizes, integers or scalar tensors.

    Returns:
        `(1, i, j, k, 3)` float32, grid[0, i, j, k] = (i, j, k).
    """
    return voxel_centres([ops.arange(n) for n in shape])


def voxel_centres(planes: Sequence[Tensor]) -> Tensor:
    """The coordinates of the voxels where some planes along each axis meet.

    Args:
        planes: Three tensors of indices, `(i,)`, `(j,)` and `(k,)`.

    Returns:
        `(1, i, j, k, 3)` float32.
    """
    axes = [ops.cast(index, "float32") for index in planes]
    return ops.expand_dims(ops.stack(ops.meshgrid(*axes, indexing="ij"), axis=-1), 0)


def linear_displacement(linear: Tensor, points: Tensor, shape: Sequence[int | Tensor]) -> Tensor:
    """How far a matrix about the volume's centre moves points: A(p - c) + t - (p - c).

    Args:
        linear: `(batch, 3, 4)`, the matrix A and, in its last column, t in voxels.
        points: `(batch or 1, i, j, k, 3)` voxel coordinates.
        shape: Three spatial sizes of the volume; c is (n-1)/2.

    Returns:
        `(batch, i, j, k, 3)`, voxels. Exactly zero for the identity matrix.
    """
    centre = ops.stack([(ops.cast(n, "float32") - 1.0) / 2.0 for n in shape])
    offset = points - centre
    change = linear - ops.eye(3, 4, dtype="float32")
    components = []
    for d in range(3):
        row = ops.reshape(change[:, d], (-1, 1, 1, 1, 4))
        components.append(
            offset[..., 0] * row[..., 0] + offset[..., 1] * row[..., 1] + offset[..., 2] * row[..., 2] + row[..., 3]
        )
    return ops.stack(components, axis=-1)
