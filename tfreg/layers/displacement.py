"""Turns a grid into a displacement."""

from typing import Any

import keras

from tfreg.ops.grids import identity_grid, spatial_shape
from tfreg.ops.tensor import Shape, Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class Displacement(keras.layers.Layer):
    """Subtracts the identity grid.

    Call arguments:
        grid: `(batch, i, j, k, 3)` absolute voxel coordinates.

    Returns:
        `(batch, i, j, k, 3)` voxels, float32.

    Example:
        >>> volume = np.zeros((1, 4, 5, 6, 1), np.float32)
        >>> linear = np.array([[[1, 0, 0, 2], [0, 1, 0, 0], [0, 0, 1, 0]]], np.float32)
        >>> grid = tfreg.layers.LinearGrid()(linear, volume)
        >>> keras.ops.convert_to_numpy(tfreg.layers.Displacement()(grid))[0, 1, 2, 3].tolist()
        [2.0, 0.0, 0.0]
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, grid: Tensor) -> Tensor:
        return grid - identity_grid(spatial_shape(grid))

    def compute_output_shape(self, grid_shape: Shape) -> Shape:
        return grid_shape
