"""Takes the folds out of a sampled deformation by smoothing it where they are."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from tfreg.transforms.certificate import LEAST_DETERMINANT, digital_jacobian
from tfreg.transforms.deformation import sampled

# Control points around a fold that are smoothed, and the smoothing in control points.
AROUND, SIGMA = 2.0, 1.0

# Determinants below this are taken for folds, because smoothing a neighbour may lower them.
MARGIN = 0.01


def unfolded(transform, lattice, rounds=12):
    """Smooths a composed deformation near its folds until none is left.

    The control points' displacements, from which the logits follow, are replaced near every fold by their
    Gaussian mean; elsewhere the deformation stays as it is. Each of the three maps T_i, T_j, T_k is smoothed
    where it is read: at the fold, and at where the maps before it take the fold.

    Args:
        transform: A `Transform`; with a deformation that is not composed and anchored at the start of each
            line it is returned as it came.
        lattice: The `Lattice` on which the displacement will be written, in fixed world coordinates.
        rounds: Most rounds of smoothing.

    Returns:
        The `Transform`, and how many rounds it took.
    """
    deformation = transform.deformation
    if deformation is None or (deformation.integration, deformation.anchor) != ("composed", "start"):
        return transform, 0
    for done in range(rounds):
        folds = digital_jacobian(transform.displacement_mm(lattice), lattice.affine)
        if not (folds <= LEAST_DETERMINANT).any():
            return transform, done
        voxels = transform.lattice.to_voxel(lattice.to_world(np.argwhere(folds < MARGIN)))
        transform = replace(transform, deformation=_smoothed(transform, voxels))
    return transform, rounds


def _smoothed(transform, points):
    """The deformation, smoothed around network voxels `(n, 3)`."""
    deformation = transform.deformation
    points = points @ transform.linear_voxel[:3, :3].T + transform.linear_voxel[:3, 3]
    logits = np.empty_like(deformation.logits, dtype=np.float64)
    for d, component in enumerate(deformation.displacements):
        # From logits to displacements of control points and back, along the component's own axis.
        displacement = np.cumsum(deformation.logits[..., d], axis=d)
        share = _near(points, displacement.shape, deformation.stride)
        mean = ndimage.gaussian_filter(displacement, SIGMA, mode="nearest")
        displacement = displacement + share * (mean - displacement)
        logits[..., d] = np.diff(displacement, axis=d, prepend=0)
        points = points.copy()
        points[:, d] += sampled(component, points)
    return replace(deformation, logits=logits)


def _near(points, shape, stride):
    """`(i, j, k)` in [0, 1], 1 at the control points next to points and falling off around them."""
    index = np.clip(np.round((points + 0.5) / stride - 0.5).astype(int), 0, np.array(shape) - 1)
    marked = np.zeros(shape)
    marked[tuple(index.T)] = 1
    marked = ndimage.grey_dilation(marked, size=3)
    blurred = ndimage.gaussian_filter(marked, AROUND, mode="constant")
    return np.clip(2 * blurred / max(blurred.max(), 1e-12), 0, 1)
