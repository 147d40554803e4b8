"""Integrates spatial gradients into a composition of three one-dimensional maps."""

import keras

from tfreg.layers.integration import Integration
from tfreg.ops.composition import composed
from tfreg.ops.tensor import Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class ComposedIntegration(Integration):
    """The map T_k ∘ T_j ∘ T_i, where T_d moves only coordinate d.

    T_d adds to coordinate d the trilinear interpolant of the running sum of (gradients - 1) along axis
    d, clamped outside the lattice. Along d its slope is an interpolant of the gradients, hence
    positive: each T_d is strictly increasing in d at every point, and the continuous map is a
    homeomorphism for every gradient in (0, 2). The map is evaluated exactly at any point; its values
    at voxel centres must not be interpolated again.

    Args:
        anchor: "centre" or "start", where each line keeps its place.

    Call arguments:
        gradients: `(batch, i, j, k, 3)`, in (0, 2), voxels per voxel.
        points: `(batch or 1, ..., 3)` voxel coordinates at which the map is evaluated; None means at
            every voxel centre.

    Returns:
        The map's values at the points, voxel coordinates in the moving volume, float32.

    Example:
        >>> integration = tfreg.layers.ComposedIntegration()
        >>> grid = integration(np.ones((1, 4, 5, 6, 3), np.float32))
        >>> keras.ops.convert_to_numpy(grid)[0, 1, 2, 3].tolist()
        [1.0, 2.0, 3.0]
        >>> points = np.array([[[0.5, 1.5, 2.5]]], np.float32)
        >>> keras.ops.convert_to_numpy(integration(np.ones((1, 4, 5, 6, 3), np.float32), points)).tolist()
        [[[0.5, 1.5, 2.5]]]
    """

    def call(self, gradients: Tensor, points: Tensor | None = None) -> Tensor:
        return composed(self.displacements(gradients), points)
