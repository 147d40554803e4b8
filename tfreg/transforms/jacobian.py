"""How much a transform stretches space."""

import numpy as np

SMALLEST_DETERMINANT = 1e-6


def jacobian_determinant(displacement_mm, affine):
    """Determinant of the transform's derivative, by central differences (one-sided at the border).

    Args:
        displacement_mm: `(i, j, k, 3)`, RAS+ mm, sampled on a lattice.
        affine: `(4, 4)` of that lattice.

    Returns:
        `(i, j, k)` float32; 1 where volume is kept, above 1 where the moving image is larger. Along an
        axis of one voxel the transform counts as constant.
    """
    inverse = np.linalg.inv(affine[:3, :3])
    shape = displacement_mm.shape[:3]
    derivative = np.empty((*shape, 3, 3), np.float32)
    for axis in range(3):
        slope = np.gradient(displacement_mm, axis=axis) if shape[axis] > 1 else 0.0
        derivative[..., axis] = slope
    # d(displacement)/d(world) = d(displacement)/d(voxel) · d(voxel)/d(world)
    return np.linalg.det(np.eye(3, dtype=np.float32) + derivative @ inverse.astype(np.float32))


def log_jacobian(displacement_mm, affine):
    """Natural logarithm of the determinant, `(i, j, k)` float32; folded voxels take log 1e-6."""
    return np.log(np.maximum(jacobian_determinant(displacement_mm, affine), SMALLEST_DETERMINANT))
