"""Transforms in the files that ITK, SimpleITK, ANTs and 3D Slicer read: world LPS+ mm, fixed to moving."""

import errno
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.errors import UserError
from tfreg.io.input_files import content_kind, first_bytes, itk_name, unzipped
from tfreg.io.itk_images import ITK_FILES, LPS_TO_RAS, to_itk
from tfreg.io.nifti import read_vectors, write_nifti
from tfreg.runtime.native_output import silenced


def read_linear(path: str | Path) -> np.ndarray:
    """Reads a linear transform in ITK's text, HDF5 or MATLAB (ANTs) format.

    Args:
        path: The file (.tfm, .txt, .h5, .mat).

    Returns:
        `(4, 4)`, fixed world to moving world, RAS+ mm.

    Raises:
        UserError: If the file cannot be read, or the transform is not linear or not invertible.
    """
    import SimpleITK as sitk

    head = first_bytes(path)
    try:
        with ITK_FILES, silenced():
            transform = sitk.ReadTransform(itk_name(path))
    except RuntimeError as error:
        raise UserError(f"{path}: {_what_instead(path, head)}") from error
    if transform.GetDimension() != 3:
        raise UserError(f"{path}: is a transform of {transform.GetDimension()}D points; give a 3D one")
    if not transform.IsLinear():
        raise UserError(f"{path}: is not linear; give a rigid or affine transform")
    count = _transforms_in(path)
    if count > 1:
        raise UserError(
            f"{path}: holds {count} transforms that are not joined to a composite, and their order is not told; give "
            "one of them, or a composite transform"
        )
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    for d in range(3):
        matrix[:3, d] = np.array(transform.TransformPoint(tuple(np.eye(3)[d]))) - origin
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all():
        raise UserError(f"{path}: holds numbers that are not finite; register again with the tool that wrote it")
    # Relative to the columns: a transform from micrometres to millimetres is sound.
    if not lengths.all() or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-9:
        raise UserError(f"{path}: is not invertible; give a rigid or affine transform")
    return LPS_TO_RAS @ matrix @ LPS_TO_RAS


def _what_instead(path, head):
    """What a file is that ITK does not read as a transform, and the cure."""
    text = head.decode("latin-1")
    if re.search(r"(?m)^\(Transform ", text):
        return (
            "is a parameter file of elastix, not an ITK transform; write it as one (elastix: -t0 with .tfm, or "
            "SimpleITK.AffineTransform with its parameters and centre)"
        )
    if _is_bare_matrix(text):
        return (
            "is a bare 4x4 matrix, as FSL's FLIRT writes, which does not say in what coordinates; convert it to an ITK "
            "transform (c3d_affine_tool -ref FIXED -src MOVING MATRIX -fsl2ras -oitk OUT.txt)"
        )
    if content_kind(head) == "an ITK transform":
        return "is an ITK transform that is truncated, or whose numbers cannot be read; write it again"
    if "MNI Transform File" in text:
        return "is a MINC transform (.xfm), not an ITK one; convert it to .tfm, .txt, .h5 or .mat"
    if zipfile.is_zipfile(path):
        return "is an archive, such as tfreg's own transform.npz, not an ITK transform; give linear.tfm of that result"
    if content_kind(head) == "a gzip file":
        head = unzipped(head)
    kind = content_kind(head)
    if kind in ("a NIfTI file", "a NRRD file", "a MetaImage file"):
        return (
            f"is an image ({kind.removeprefix('a ').removesuffix(' file')}), perhaps a displacement field, and the "
            "initial alignment must be linear; give a rigid or affine transform (.tfm, .txt, .h5 or .mat)"
        )
    what = f", it is {kind}" if kind not in (None, "an HDF5 file", "a MATLAB file") else ""
    return f"cannot be read as an ITK transform{what}; give a .tfm, .txt, .h5 or .mat file"


def _is_bare_matrix(text):
    """True for four lines of four numbers."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    try:
        return [len([float(word) for word in row]) for row in rows] == [4, 4, 4, 4]
    except ValueError:
        return False


def _transforms_in(path):
    """How many transforms a file holds side by side: SimpleITK reads the first, and drops the others."""
    # In text, HDF5 and MATLAB files alike ITK names every transform's kind in one piece.
    kinds = re.findall(rb"(\w+)_(?:double|float)_\d+_\d+", Path(path).read_bytes())
    return 1 if b"CompositeTransform" in kinds else len(kinds)


def write_linear(path: str | Path, matrix: np.ndarray) -> None:
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
    with ITK_FILES:
        sitk.WriteTransform(transform, itk_name(path))
    try:
        written = read_linear(path)
    except UserError:
        written = None
    if written is None or not np.allclose(written, matrix):  # ITK does not notice that the disk is full
        raise OSError(errno.ENOSPC, "not written whole, as where the disk is full", str(path))


def read_displacement(path: str | Path) -> np.ndarray:
    """Reads what `write_displacement` wrote.

    Args:
        path: The file.

    Returns:
        `(i, j, k, 3)` float32, RAS+ mm.

    Raises:
        UserError: If the file is missing, damaged, or not a displacement field.
    """
    try:
        field = read_vectors(path)
    except UserError as error:
        # Of a file that tfreg wrote, another cure than a foreign one's.
        raise UserError(f"{str(error).rpartition(';')[0]}; register again") from error
    if field.shape[-1] != 3:
        raise UserError(f"{path}: is not a displacement field; register again")
    return field * np.array([-1, -1, 1], np.float32)


def write_displacement(path: str | Path, displacement_mm: np.ndarray, affine: np.ndarray, frame: int = 1) -> None:
    """Writes a displacement field as NIfTI, as ITK and ANTs expect it.

    Args:
        path: File ending in .nii or .nii.gz.
        displacement_mm: `(i, j, k, 3)`, RAS+ mm; the file holds LPS+ mm, dim [5, i, j, k, 1, 3].
        affine: `(4, 4)` of the lattice.
        frame: NIfTI code of the world frame.
    """
    field = displacement_mm * np.array([-1, -1, 1], np.float32)
    write_nifti(path, field[:, :, :, None, :].astype(np.float32), affine, frame, intent="vector")


def write_composite(path: str | Path, displacement_mm: np.ndarray, affine: np.ndarray) -> None:
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
    transform = sitk.CompositeTransform([sitk.DisplacementFieldTransform(field)])
    with ITK_FILES:
        sitk.WriteTransform(transform, itk_name(path))


def read_itk_displacement(file: Path) -> np.ndarray:
    """The displacement `(i, j, k, 3)`, RAS+ mm, in a vector image that a tool of ITK wrote."""
    import SimpleITK as sitk

    with ITK_FILES:
        image = sitk.ReadImage(str(file))
    return from_itk_displacement(image)


def from_itk_displacement(image: Any) -> np.ndarray:
    """The displacement `(i, j, k, 3)` float32, RAS+ mm, of a `SimpleITK` vector image."""
    import SimpleITK as sitk

    return to_ras(sitk.GetArrayViewFromImage(image).transpose(2, 1, 0, 3))


def to_ras(displacement_lps: np.ndarray) -> np.ndarray:
    """A displacement `(i, j, k, 3)` in LPS+ mm as float32 in RAS+ mm."""
    return np.ascontiguousarray(displacement_lps * np.array([-1, -1, 1]), np.float32)
