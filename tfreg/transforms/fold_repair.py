"""Smooths a deformation where its sampled field folds."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from tfreg.transforms.interpolation import sampled
from tfreg.transforms.transform import Transform
from tfreg.transforms.voxel_map import AxisMap

# Control points around a fold that are smoothed, and the smoothing in control points.
AROUND, SIGMA = 2.0, 1.0


def can_be_smoothed(transform: Transform) -> bool:
    """True for deformations made of control points' displacements, by a refinement or by the displacement head.

    Not for several passes together: which of them makes a fold is not known.
    """
    deformation = transform.deformation
    return isinstance(deformation, AxisMap) and deformation.control_displacement is not None


def smoothed_near(transform: Transform, points_world: np.ndarray) -> Transform:
    """A transform whose deformation is smoothed near points, and nowhere else.

    The control points' displacements are replaced near every point by their Gaussian mean. Each of the three maps
    T_i, T_j, T_k is smoothed where it is read: at the point, and at where the maps before it take the point.

    Args:
        transform: A `Transform` that `can_be_smoothed`.
        points_world: `(n, 3)`, fixed world RAS+ mm, such as the folding voxels.

    Returns:
        The `Transform`.
    """
    points = transform.lattice.to_voxel(points_world)
    return replace(transform, deformation=_smoothed(transform, points))


def _smoothed(transform, points):
    """The deformation, smoothed around network voxels `(n, 3)`."""
    deformation = transform.deformation
    points = points @ transform.linear_voxel[:3, :3].T + transform.linear_voxel[:3, 3]
    displacement = deformation.control_displacement
    for d, component in enumerate(deformation.displacements):
        share = _near(points, displacement.shape[:3], deformation.stride)
        mean = ndimage.gaussian_filter(displacement[..., d], SIGMA, mode="nearest")
        displacement[..., d] += share * (mean - displacement[..., d])
        points = points.copy()
        points[:, d] += sampled(component, points)
    return deformation.with_control_displacement(displacement)


def _near(points, shape, stride):
    """`(i, j, k)` in [0, 1], 1 at the control points next to points and falling off around them."""
    index = np.clip(np.round((points + 0.5) / stride - 0.5).astype(int), 0, np.array(shape) - 1)
    marked = np.zeros(shape)
    marked[tuple(index.T)] = 1
    marked = ndimage.grey_dilation(marked, size=3)
    blurred = ndimage.gaussian_filter(marked, AROUND, mode="constant")
    return np.clip(2 * blurred / max(blurred.max(), 1e-12), 0, 1)
