"""Transforms in the files that ITK, SimpleITK, ANTs and 3D Slicer read: world LPS+ mm, fixed to moving."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.native_output import silenced
from tfreg.volumes.itk_images import LPS_TO_RAS, to_itk
from tfreg.volumes.nifti import write_nifti


def read_linear(path):
    """Reads a linear transform in ITK's text, HDF5 or MATLAB (ANTs) format.

    Args:
        path: The file (.tfm, .txt, .h5, .mat).

    Returns:
        `(4, 4)`, fixed world to moving world, RAS+ mm.

    Raises:
        UserError: If the file cannot be read, or the transform is not linear or not invertible.
    """
    import SimpleITK as sitk

    try:
        with silenced():
            transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: cannot be read as an ITK transform; give a .tfm, .txt, .h5 or .mat file") from error
    if transform.GetDimension() != 3:
        raise UserError(f"{path}: is a transform of {transform.GetDimension()}D points; give a 3D one")
    if not transform.IsLinear():
        raise UserError(f"{path}: is not linear; give a rigid or affine transform")
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    for d in range(3):
        matrix[:3, d] = np.array(transform.TransformPoint(tuple(np.eye(3)[d]))) - origin
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
        raise UserError(f"{path}: is not invertible; give a rigid or affine transform")
    return LPS_TO_RAS @ matrix @ LPS_TO_RAS


def write_linear(path, matrix):
    """Writes a linear transform as ITK text.

    Args:
        path: File ending in .tfm or .txt.
        matrix: `(4, 4)`, fixed world to moving world, RAS+ mm.

    Raises:
        OSError: If the file cannot be written whole.
    """
    import SimpleITK as sitk

    lps = LPS_TO_RAS @ matrix @ LPS_TO_RAS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    sitk.WriteTransform(transform, str(path))
    try:
        written = read_linear(path)
    except UserError:
        written = None
    if written is None or not np.allclose(written, matrix):  # ITK does not notice that the disk is full
        raise OSError(errno.ENOSPC, "not written whole, as where the disk is full", str(path))


def read_displacement(path):
    """Reads what `write_displacement` wrote.

    Args:
        path: The file.

    Returns:
        `(i, j, k, 3)` float32, RAS+ mm.

    Raises:
        UserError: If the file is missing, damaged, or not a displacement field.
    """
    import SimpleITK as sitk

    try:
        with silenced():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: is missing or cannot be read; register again") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3:
        raise UserError(f"{path}: is not a displacement field; register again")
    field = np.swapaxes(sitk.GetArrayViewFromImage(image), 0, 2)  # (i, j, k, 3)
    return field.astype(np.float32, copy=False) * np.array([-1, -1, 1], np.float32)


def write_displacement(path, displacement_mm, affine, frame=1):
    """Writes a displacement field as NIfTI, as ITK and ANTs expect it.

    Args:
        path: File ending in .nii or .nii.gz.
        displacement_mm: `(i, j, k, 3)`, RAS+ mm; the file holds LPS+ mm, dim [5, i, j, k, 1, 3].
        affine: `(4, 4)` of the lattice.
        frame: NIfTI code of the world frame.
    """
    field = displacement_mm * np.array([-1, -1, 1], np.float32)
    write_nifti(path, field[:, :, :, None, :].astype(np.float32), affine, frame, intent="vector")


def write_composite(path, displacement_mm, affine):
    """Writes a displacement field as an ITK composite transform.

    Args:
        path: File ending in .h5.
        displacement_mm: `(i, j, k, 3)`, RAS+ mm.
        affine: `(4, 4)` of the lattice, without shear.

    Raises:
        OSError: If there is no room for it.
    """
    import SimpleITK as sitk

    if shutil.disk_usage(Path(path).parent).free < displacement_mm.size * np.dtype(np.float64).itemsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))  # HDF5 prints pages when it finds out
    field = to_itk(displacement_mm * np.array([-1.0, -1.0, 1.0]), affine)
    sitk.WriteTransform(sitk.CompositeTransform([sitk.DisplacementFieldTransform(field)]), str(path))
