"""Turns a grid into a displacement."""

import keras

from tfreg.ops.grids import identity_grid, spatial_shape


@keras.saving.register_keras_serializable(package="tfreg")
class Displacement(keras.layers.Layer):
    """Subtracts the identity grid.

    Call arguments:
        grid: `(batch, i, j, k, 3)` absolute voxel coordinates.

    Returns:
        `(batch, i, j, k, 3)` voxels, float32.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, grid):
        return grid - identity_grid(spatial_shape(grid))

    def compute_output_shape(self, grid_shape):
        return grid_shape
