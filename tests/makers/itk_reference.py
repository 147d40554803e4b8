"""Resampling by SimpleITK, from our arrays and affines, to compare with."""

import numpy as np
import SimpleITK as sitk

ITK = {"nearest": sitk.sitkNearestNeighbor, "linear": sitk.sitkLinear, "cubic": sitk.sitkBSpline}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_image(array, affine):
    """A SimpleITK image of an `(i, j, k)` array that lies where an affine in RAS+ mm puts it."""
    affine = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def itk_resample(volume, lattice, interpolation, world_map, fill=0.0, sigma_mm=None):
    """A volume's values at a lattice's voxels, `fill` outside, smoothed first if asked."""
    matrix = LPS_TO_RAS @ world_map @ LPS_TO_RAS
    transform = sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())
    reference = itk_image(np.zeros(lattice.shape, np.float32), lattice.affine)
    image = itk_image(volume.array, volume.affine)
    if sigma_mm is not None:
        image = sitk.DiscreteGaussian(image, np.square(sigma_mm).tolist(), 64, 1e-5)
    return sitk.GetArrayFromImage(sitk.Resample(image, reference, transform, ITK[interpolation], fill)).T
