"""Integrates spatial gradients axis by axis, as the paper does."""

import keras
from keras import ops

from tfreg.layers.integration import Integration
from tfreg.ops.grids import identity_grid, spatial_shape
from tfreg.ops.tensor import Tensor
from tfreg.ops.trilinear_sampling import sample_trilinear


@keras.saving.register_keras_serializable(package="tfreg")
class AxiswiseIntegration(Integration):
    """Sums each gradient component along its own axis, as in the paper's section 2.1.

    Component d of the grid is the running sum of component d of the gradients along axis d, minus one:
    gradients of one give the identity grid exactly. Each component increases along its own axis, so
    lines parallel to an axis do not cross themselves; the map as a whole may still fold.

    Between voxel centres the displacement is interpolated trilinearly; outside the lattice it is
    constant.

    Args:
        anchor: "centre" or "start", where each line keeps its place.

    Call arguments:
        gradients: `(batch, i, j, k, 3)`, in (0, 2), voxels per voxel.
        points: `(batch or 1, ..., 3)` voxel coordinates at which the map is evaluated; None means at
            every voxel centre.

    Returns:
        The map's values at the points, voxel coordinates in the moving volume, float32.

    Reference:
        Christodoulidis et al. 2018, section 2.1.

    Example:
        >>> gradients = np.full((1, 4, 5, 6, 3), 1.5, np.float32)
        >>> grid = tfreg.layers.AxiswiseIntegration(anchor="start")(gradients)
        >>> tuple(grid.shape)
        (1, 4, 5, 6, 3)
        >>> keras.ops.convert_to_numpy(grid)[0, 1, 2, 3].tolist()
        [2.0, 3.5, 5.0]
    """

    def call(self, gradients: Tensor, points: Tensor | None = None) -> Tensor:
        displacement = ops.concatenate(self.displacements(gradients), axis=-1)
        if points is None:
            return identity_grid(spatial_shape(gradients)) + displacement
        return points + sample_trilinear(displacement, points)
