"""Turns the predicted matrix into a grid."""

from typing import Any

import keras

from tfreg.ops.grids import identity_grid, linear_displacement, spatial_shape
from tfreg.ops.tensor import Shape, Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class LinearGrid(keras.layers.Layer):
    """Maps every voxel centre by a 3x4 matrix about the volume's centre.

    Call arguments:
        linear: `(batch, 3, 4)`, acting on voxel coordinates about (n-1)/2, translation in voxels.
        volume: `(batch, i, j, k, channels)`, read for its spatial shape only.

    Returns:
        `(batch, i, j, k, 3)` voxel coordinates, float32; the identity matrix gives the identity grid exactly.

    Reference:
        Christodoulidis et al. 2018, section 2.1.

    Example:
        >>> volume = np.zeros((1, 4, 5, 6, 1), np.float32)
        >>> shift = np.array([[[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 1, 0]]], np.float32)
        >>> grid = tfreg.layers.LinearGrid()(shift, volume)
        >>> keras.ops.convert_to_numpy(grid)[0, 1, 2, 3].tolist()
        [3.0, 2.0, 3.0]
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, linear: Tensor, volume: Tensor) -> Tensor:
        shape = spatial_shape(volume)
        points = identity_grid(shape)
        return points + linear_displacement(linear, points, shape)

    def compute_output_shape(self, linear_shape: Shape, volume_shape: Shape) -> Shape:
        return (*volume_shape[:-1], 3)
