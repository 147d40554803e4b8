"""Reads and writes volumes, whatever their file format."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from tfreg.errors import UserError
from tfreg.io.dicom.series import EXTENSIONS as DICOM
from tfreg.io.dicom.series import is_dicom, split_choice
from tfreg.io.dicom.volume import read_dicom
from tfreg.io.folders.whole_file import whole_file
from tfreg.io.header_checks import MAX_VOXELS, shear_note
from tfreg.io.input_files import content_kind, first_bytes, itk_name, path_kind
from tfreg.io.itk_images import read_itk, write_itk
from tfreg.io.nifti import read_nifti, write_nifti
from tfreg.io.points import landmark_extension, read_landmarks, read_points, write_landmarks, write_points
from tfreg.volumes.volume import Volume

__all__ = [
    "MAX_VOXELS",
    "header_size",
    "landmark_extension",
    "read_landmarks",
    "read_points",
    "read_values",
    "read_volume",
    "whole_numbers",
    "writable_name",
    "write_landmarks",
    "write_points",
    "write_volume",
]

NIFTI = (".nii", ".nii.gz", ".hdr", ".img")
WRITTEN = (".nii.gz", ".nii", ".mha", ".nrrd")
ITK = (".mha", ".mhd", ".nrrd", ".nhdr")

# Labels 0 to 7 that were stored as uint8 with a scale factor come back up to 0.014 from a whole number.
LABEL_TOLERANCE = 0.05
LABEL_DTYPES = (np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64)


def read_volume(path: str | Path, labels: bool = False) -> Volume:
    """Reads a 3D image or segmentation.

    .nii, .nii.gz and .hdr/.img are read by nibabel; .mha, .mhd, .nrrd and .nhdr by SimpleITK; DICOM by pydicom.
    Values that are not finite are kept.

    Args:
        path: The file, or a folder that holds one DICOM series, or FOLDER#uid for one of several. A file of a DICOM
            series stands for the series.
        labels: Read whole numbers, in the smallest integer dtype that holds them.

    Returns:
        A `Volume`, float32 unless `labels`; its `notes` say what the reader had to decide.

    Raises:
        UserError: If there is no such file, it is damaged, or it holds anything but one 3D volume of
            real numbers that are not all equal, or labels that are not all zero.

    Example:
        >>> volume = tfreg.read_volume("exhale.nii.gz")
        >>> volume.shape, volume.spacing.tolist()
        ((17, 16, 18), [19.0, 20.0, 18.0])
        >>> lungs = tfreg.read_volume("chests/labels/s003_exhale.nii.gz", labels=True)
        >>> np.unique(lungs.array).tolist()
        [0, 1, 2]
    """
    volume = read_values(path, labels)
    if labels:
        volume = volume.with_array(whole_numbers(path, volume.array))
        if not volume.array.any():
            raise UserError(f"{path}: empty mask, no voxel is labelled; give the segmentation of this volume")
        return volume
    _check_values(path, volume.array)
    return volume


def read_values(path: str | Path, as_stored: bool = False) -> Volume:
    """Reads a 3D volume, whatever its values say.

    Args:
        path: As of `read_volume`.
        as_stored: Keep the stored dtype instead of converting to float32.

    Returns:
        A `Volume`; its `notes` say what the reader had to decide.

    Raises:
        UserError: If there is no such file, it is damaged, or it does not hold one 3D volume of real numbers.
    """
    path = Path(path)
    place, _ = split_choice(path)
    extension = _extension(path)
    if path_kind(place) == "folder":
        if _extension(place) in NIFTI + ITK:
            raise UserError(f"{path}: is a folder with the name of a file; give the file that lies in it")
        volume = read_dicom(path, as_stored)
    # The voxels of an .img file may begin as DICOM does.
    elif extension in DICOM or (extension not in NIFTI + ITK and is_dicom(path)):
        volume = read_dicom(path, as_stored)
    elif extension in NIFTI:
        volume = read_nifti(path, as_stored)
    elif extension in ITK:
        volume = read_itk(path, as_stored)
    else:
        kind = content_kind(first_bytes(path))
        raise UserError(
            f"{path}: unknown extension{f' of {kind}' if kind else ''}; give {', '.join(NIFTI + ITK)} or the folder "
            "of a DICOM series"
        )
    if volume.lattice.is_sheared:
        volume = _straightened(volume)
    return volume


def header_size(path: str | Path) -> tuple[float, ...]:
    """Shape and spacing of a volume by its header alone, to sort files by; of other formats than NIfTI nothing.

    Args:
        path: The file; it need not be sound.

    Returns:
        A tuple of numbers, empty where the header does not tell.
    """
    try:
        header: Any = nib.load(path).header
        return (*header.get_data_shape(), *(float(f"{mm:.4g}") for mm in header.get_zooms()))
    # Whatever is wrong with the file, whoever reads it says so.
    except Exception:
        return ()


def writable_name(path: str | Path) -> str:
    """The name of a volume's file in a format that `write_volume` knows: its own, or else .nii.gz."""
    path = Path(path)
    place, uid = split_choice(path)
    if place.is_dir():
        return f"{place.resolve().name}{'' if uid is None else f'_{uid}'}.nii.gz"
    extension = _extension(path)
    if extension in WRITTEN:
        return path.name
    return (path.name[: -len(extension)] if extension in (*NIFTI, *ITK, *DICOM) else path.name) + ".nii.gz"


def write_volume(path: str | Path, volume: Volume) -> None:
    """Writes a volume; the file appears whole or not at all.

    Floats are stored as float32, booleans as uint8, and int64 as int32 where the values fit.

    Args:
        path: .nii, .nii.gz, .mha or .nrrd.
        volume: The `Volume`. A NIfTI file keeps its frame.

    Raises:
        UserError: If the extension is another one or the file cannot be written.

    Example:
        >>> volume = tfreg.read_volume("exhale.nii.gz")
        >>> tfreg.write_volume("clipped.mha", volume.with_array(volume.array.clip(0, 1000)))
        >>> clipped = tfreg.read_volume("clipped.mha")
        >>> clipped.lattice.same_as(volume.lattice)
        True
    """
    path = Path(path)
    if _extension(path) in (".nii", ".nii.gz"):
        write: Callable[..., None] = functools.partial(write_nifti, frame=volume.frame)
    elif _extension(path) in (".mha", ".nrrd"):
        itk_name(path)
        write = write_itk
    else:
        raise UserError(f"{path}: unknown extension; give {', '.join(WRITTEN)}")
    if not path.parent.is_dir():
        raise UserError(f"{path}: its folder does not exist; create {path.parent}")
    try:
        with whole_file(path) as partial:
            write(partial, _storable(volume.array), volume.affine)
    except (OSError, RuntimeError, nib.spatialimages.HeaderDataError) as error:
        reason = getattr(error, "strerror", None) or "the format does not hold this volume"
        raise UserError(f"{path}: cannot be written ({reason}); choose another place or format") from error


def _extension(path):
    """The lower-case extension, ".nii.gz" in one piece."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def _straightened(volume):
    """The volume at right angles where it misses them by rounding, else with a note of what a person should know."""
    lattice = volume.lattice.straightened()
    if not lattice.is_sheared:
        return replace(volume, affine=lattice.affine)
    return replace(volume, notes=(*volume.notes, shear_note(lattice)))


def _check_values(path, array):
    """Refuses an image that holds nothing to compare."""
    finite = np.isfinite(array)
    if not finite.any():
        raise UserError(f"{path}: no voxel has a finite value; export the image again")
    low, high = array.min(where=finite, initial=np.inf), array.max(where=finite, initial=-np.inf)
    if low == high:
        raise UserError(f"{path}: all voxels have the same value ({low:g}); give an image with contrast")


def whole_numbers(path: str | Path, array: np.ndarray, background: float = 0) -> np.ndarray:
    """Labels in the smallest dtype that holds them.

    Args:
        path: Their file, for the messages.
        array: `(i, j, k)`, any real dtype.
        background: A whole number that the dtype holds too.

    Returns:
        `(i, j, k)` of integers.

    Raises:
        UserError: If the values are not whole numbers, or beyond 64 bits.
    """
    if array.dtype.kind == "f":
        strange = np.count_nonzero(~np.isfinite(array))
        if strange:
            raise UserError(
                f"{path}: {strange} voxels of the labels are not finite numbers; set them to 0 or to their label"
            )
        rounded = np.rint(array)
        if not (np.abs(array - rounded) <= LABEL_TOLERANCE).all():
            raise UserError(
                f"{path}: labels must be whole numbers; give a segmentation, resampled with nearest interpolation only"
            )
        array = rounded
    # Compared as Python integers: a float cannot hold int64's largest value.
    low, high = min(int(array.min()), int(background)), max(int(array.max()), int(background))
    for dtype in LABEL_DTYPES:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    raise UserError(f"{path}: labels beyond 64-bit integers; give a segmentation")


def _storable(array):
    """The array in a dtype that every reader knows."""
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    limits = np.iinfo(np.int32)
    if array.dtype.itemsize == 8 and limits.min <= int(array.min()) and int(array.max()) <= limits.max:
        return array.astype(np.int32)
    return array
