"""How much a transform stretches space."""

import numpy as np

SMALLEST_DETERMINANT = 1e-6


def jacobian_determinant(displacement_mm: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Determinant of the transform's derivative, by central differences (one-sided at the border).

    Args:
        displacement_mm: `(i, j, k, 3)`, RAS+ mm, sampled on a lattice.
        affine: `(4, 4)` of that lattice.

    Returns:
        `(i, j, k)` float32; 1 where volume is kept, above 1 where the moving image is larger. Along an
        axis of one voxel the transform counts as constant.

    Example:
        >>> lattice = tfreg.Lattice((6, 7, 8), np.diag([2.0, 2.0, 3.0, 1.0]))
        >>> grown_mm = (0.5 * lattice.points()).astype(np.float32)
        >>> determinant = tfreg.transforms.jacobian_determinant(grown_mm, lattice.affine)
        >>> determinant.shape, round(float(determinant.mean()), 3)
        ((6, 7, 8), 3.375)
    """
    to_voxel = np.linalg.inv(affine[:3, :3]).astype(np.float32)
    # d(displacement)/d(world) = d(displacement)/d(voxel) · d(voxel)/d(world)
    derivative = np.zeros((3, 3, *displacement_mm.shape[:3]), np.float32)  # world axis, component
    for axis in range(3):
        if displacement_mm.shape[axis] > 1:
            for component in range(3):
                slope = np.gradient(displacement_mm[..., component], axis=axis)
                for world in range(3):
                    derivative[world, component] += slope * to_voxel[axis, world]
    for axis in range(3):
        derivative[axis, axis] += 1
    x, y, z = derivative
    return x[0] * (y[1] * z[2] - y[2] * z[1]) + x[1] * (y[2] * z[0] - y[0] * z[2]) + x[2] * (y[0] * z[1] - y[1] * z[0])


def log_jacobian(displacement_mm: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Natural logarithm of the determinant, `(i, j, k)` float32; folded voxels take log 1e-6.

    Example:
        >>> lattice = tfreg.Lattice((6, 7, 8), np.diag([2.0, 2.0, 3.0, 1.0]))
        >>> grown_mm = (0.5 * lattice.points()).astype(np.float32)
        >>> logarithm = tfreg.transforms.log_jacobian(grown_mm, lattice.affine)
        >>> round(float(np.exp(logarithm).mean()), 3)
        3.375
    """
    return np.log(np.maximum(jacobian_determinant(displacement_mm, affine), SMALLEST_DETERMINANT))


def volume_change_percent(logarithm: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The local change of volume inside a segmentation, such as the ventilation of a lung from exhale to inhale.

    Args:
        logarithm: `(i, j, k)`, the log Jacobian.
        labels: `(i, j, k)`, 0 is background.

    Returns:
        `(i, j, k)` float32, 100 (J - 1): by how many percent the tissue at each voxel is larger in the moving image;
        0 outside the labels.

    Reference:
        Reinhardt et al., Registration-based estimates of local lung tissue expansion compared to xenon CT measures
        of specific ventilation (Medical Image Analysis 2008).
    """
    return np.where(labels != 0, 100 * np.expm1(logarithm), 0).astype(np.float32)
