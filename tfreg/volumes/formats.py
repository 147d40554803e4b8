"""Reads and writes volumes, whatever their file format."""

import functools
from pathlib import Path

import nibabel as nib
import numpy as np

from tfreg.errors import UserError
from tfreg.volumes.header_checks import MAX_VOXELS
from tfreg.volumes.itk_images import read_dicom, read_itk, write_itk
from tfreg.volumes.nifti import read_nifti, write_nifti
from tfreg.volumes.points import read_points, write_points
from tfreg.volumes.whole_file import whole_file

__all__ = ["MAX_VOXELS", "header_size", "read_points", "read_volume", "write_points", "write_volume"]

NIFTI = (".nii", ".nii.gz", ".hdr", ".img")
ITK = (".mha", ".mhd", ".nrrd", ".nhdr")
DICOM = (".dcm",)
WRITTEN = (".nii.gz", ".nii", ".mha", ".nrrd")

# Labels 0 to 7 that were stored as uint8 with a scale factor come back up to 0.014 from a whole number.
LABEL_TOLERANCE = 0.05
LABEL_DTYPES = (np.uint8, np.int16, np.uint16, np.int32, np.int64)


def read_volume(path, labels=False):
    """Reads a 3D image or segmentation.

    .nii, .nii.gz and .hdr/.img are read by nibabel; .mha, .mhd, .nrrd, .nhdr and DICOM by SimpleITK.
    Values that are not finite are kept.

    Args:
        path: The file, or a folder that holds one DICOM series. A .dcm file stands for its series.
        labels: Read whole numbers, in the smallest integer dtype that holds them.

    Returns:
        A `Volume`, float32 unless `labels`; its `notes` say what the reader had to decide.

    Raises:
        UserError: If there is no such file, it is damaged, or it holds anything but one 3D volume of
            real numbers that are not all equal, or labels that are not all zero.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path")
    if path.is_dir() or _extension(path) in DICOM:
        volume = read_dicom(path, labels)
    elif not path.is_file():
        raise UserError(f"{path}: is not a file; give a volume")
    elif path.stat().st_size == 0:
        raise UserError(f"{path}: is empty; copy or export the file again")
    elif _extension(path) in NIFTI:
        volume = read_nifti(path, labels)
    elif _extension(path) in ITK:
        volume = read_itk(path, labels)
    else:
        raise UserError(f"{path}: unknown extension; give {', '.join(NIFTI + ITK)} or the folder of a DICOM series")
    if labels:
        return volume.with_array(_whole_numbers(path, volume.array))
    _check_values(path, volume.array)
    return volume


def header_size(path):
    """Shape and spacing of a volume by its header alone, to sort files by; of other formats than NIfTI nothing.

    Args:
        path: The file; it need not be sound.

    Returns:
        A tuple of numbers, empty where the header does not tell.
    """
    try:
        header = nib.load(path).header
        return (*header.get_data_shape(), *(round(float(mm), 3) for mm in header.get_zooms()))
    # Whatever is wrong with the file, whoever reads it says so.
    except Exception:
        return ()


def write_volume(path, volume):
    """Writes a volume; the file appears whole or not at all.

    Floats are stored as float32, booleans as uint8, and int64 as int32 where the values fit.

    Args:
        path: .nii, .nii.gz, .mha or .nrrd.
        volume: The `Volume`. A NIfTI file keeps its frame.

    Raises:
        UserError: If the extension is another one or the file cannot be written.
    """
    path = Path(path)
    if _extension(path) in (".nii", ".nii.gz"):
        write = functools.partial(write_nifti, frame=volume.frame)
    elif _extension(path) in (".mha", ".nrrd"):
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


def _check_values(path, array):
    """Refuses an image that holds nothing to compare."""
    finite = np.isfinite(array)
    if not finite.any():
        raise UserError(f"{path}: no voxel has a finite value; export the image again")
    low, high = array.min(where=finite, initial=np.inf), array.max(where=finite, initial=-np.inf)
    if low == high:
        raise UserError(f"{path}: all voxels have the same value ({low:g}); give an image with contrast")


def _whole_numbers(path, array):
    """The labels in the smallest dtype that holds them."""
    if array.dtype.kind == "f":
        rounded = np.rint(array)
        if not (np.isfinite(array).all() and (np.abs(array - rounded) <= LABEL_TOLERANCE).all()):
            raise UserError(
                f"{path}: labels must be whole numbers; give a segmentation, resampled with nearest interpolation only"
            )
        array = rounded
    low, high = array.min(), array.max()
    if low == high == 0:
        raise UserError(f"{path}: empty mask, no voxel is labelled; give the segmentation of this volume")
    for dtype in LABEL_DTYPES:
        # Compared as Python integers: a float cannot hold int64's largest value.
        if np.iinfo(dtype).min <= int(low) and int(high) <= np.iinfo(dtype).max:
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
