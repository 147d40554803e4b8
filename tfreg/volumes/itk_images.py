"""MetaImage, NRRD and DICOM series, by SimpleITK. Only here are a volume's coordinates LPS."""

import contextlib
import math
import re
from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.volumes.header_checks import MAX_DEFLATE_RATIO, check_bytes, checked_lattice
from tfreg.volumes.input_files import itk_name
from tfreg.volumes.itk_headers import check_itk_header
from tfreg.volumes.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

# DICOM's Image Position (Patient): the world LPS mm of a slice's first pixel.
POSITION = "0020|0032"

# Slices may lie this share of their distance away from an even stack.
MAX_UNEVENNESS = 0.1


def read_itk(path, labels=False):
    """Reads a .mha, .mhd, .nrrd or .nhdr file.

    Args:
        path: The file.
        labels: Keep the stored dtype instead of converting to float32.

    Returns:
        A `Volume`.

    Raises:
        UserError: If the file is damaged or does not hold one real 3D volume.
    """
    path = Path(path)
    itk_name(path)
    notes = check_itk_header(path)
    with _reading(path, "a MetaImage or NRRD file"):
        reader, itemsize = _checked_header(path, path)
        if path.suffix.lower() in (".mha", ".nrrd"):
            size = path.stat().st_size * (1 if _is_raw(path) else MAX_DEFLATE_RATIO)
            check_bytes(path, math.prod(reader.GetSize()) * itemsize, size)
        # Size 0 removes an axis; those past the third have one voxel.
        reader.SetExtractSize([*reader.GetSize()[:3], *(0 for _ in reader.GetSize()[3:])])
        image = reader.Execute()
        return Volume(_array(image, labels), _affine(image), notes=notes)


def read_dicom(path, labels=False):
    """Reads the DICOM series of a folder, or the one that a given file belongs to.

    The slices' own positions place them, so that a tilted gantry becomes a sheared affine.

    Args:
        path: A folder that holds one series, or one file of a series.
        labels: Keep the stored dtype instead of converting to float32.

    Returns:
        A `Volume`.

    Raises:
        UserError: If there is no series or more than one, or it is not one even stack of slices.
    """
    import SimpleITK as sitk

    path = Path(path)
    with _reading(path, "a DICOM series"):
        folder = path if path.is_dir() else path.parent
        series = _series_in(folder)
        files, notes = _files_of_one(path, series), _left_out(folder, series)
        _checked_header(path, files[0], len(files))
        if len(files) == 1:
            image = sitk.ReadImage(files[0])
            return Volume(_array(image, labels), _affine(image), notes=notes)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(files)
        reader.MetaDataDictionaryArrayUpdateOn()
        image = reader.Execute()
        affine = _affine(image)
        affine[:3, 2] = LPS_TO_RAS[:3, :3] @ _slice_step(path, reader, len(files))
        lattice = checked_lattice(path, image.GetSize(), affine)
        return Volume(_array(image, labels), lattice.affine, notes=notes)


def to_itk(array, affine):
    """An ITK image of an array.

    Args:
        array: `(i, j, k)`, or `(i, j, k, components)` for a vector image.
        affine: `(4, 4)`, voxel to world RAS+ mm, without shear.

    Returns:
        A `SimpleITK.Image`, in LPS+ mm.
    """
    import SimpleITK as sitk

    affine = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = (2, 1, 0, 3)[: array.ndim]
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(axes)), isVector=array.ndim == 4)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def write_itk(path, array, affine):
    """Writes a .mha or .nrrd file.

    Args:
        path: The file.
        array: `(i, j, k)`, in the dtype to store.
        affine: `(4, 4)`, voxel to world RAS+ mm.
    """
    import SimpleITK as sitk

    sitk.WriteImage(to_itk(array, affine), itk_name(path), useCompression=True)


@contextlib.contextmanager
def _reading(path, kind):
    """Turns whatever SimpleITK raises into one line, and keeps its warnings off the terminal."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory; crop or down-sample it") from error
    # Whatever a garbage header makes SimpleITK raise, the file is what is wrong.
    except Exception as error:
        raise UserError(f"{path}: cannot be read as {kind}, it is truncated or corrupt; export it again") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _checked_header(path, file, slices=1):
    """A reader of `file` whose header was found sound, and the bytes that one voxel takes.

    Messages name `path`. With several slices the last axis is theirs.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    if reader.GetNumberOfComponents() > 1:
        raise UserError(
            f"{path}: holds several components a voxel ({kind}: RGB, complex or vectors); give one real number a voxel"
        )
    if "complex" in kind or ("integer" not in kind and "float" not in kind):
        raise UserError(f"{path}: holds values of type {kind}; give one real number a voxel")
    size = list(reader.GetSize())
    if slices > 1:
        size[2:] = [slices]
        affine = np.eye(4)
    else:
        affine = _affine(reader) if len(size) >= 3 else np.eye(4)
    checked_lattice(path, size, affine)
    bits = int(re.search(r"\d+", kind).group())
    return reader, bits // 8


def _is_raw(path):
    """True if a .mha or .nrrd file says that its voxels are neither compressed nor text."""
    with open(path, "rb") as file:
        head = file.read(1 << 14)
    if path.suffix.lower() == ".nrrd":
        return re.search(rb"(?im)^encoding: *raw", head) is not None
    return re.search(rb"(?i)CompressedData *= *True|BinaryData *= *False", head) is None


def _affine(image):
    """`(4, 4)`, voxel to world RAS+ mm, of a SimpleITK image or reader, without its axes past the third."""
    n = len(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (n, n)) * image.GetSpacing())[:3, :3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return LPS_TO_RAS @ affine


def _array(image, labels):
    """`(i, j, k)` values of a SimpleITK image, float32 unless they are labels."""
    import SimpleITK as sitk

    array = sitk.GetArrayViewFromImage(image).T  # (k, j, i) -> (i, j, k)
    return np.array(array, dtype=array.dtype if labels else np.float32, order="C")


def _series_in(folder):
    """The DICOM series of a folder: file names in the order of their slices, by the series' name."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader
    return {name: reader.GetGDCMSeriesFileNames(str(folder), name) for name in reader.GetGDCMSeriesIDs(str(folder))}


def _files_of_one(path, series):
    """The file names of the only series, or of the one that the file `path` belongs to."""
    if path.is_file():
        series = {n: files for n, files in series.items() if path.resolve() in (Path(f).resolve() for f in files)}
    if not series:
        raise UserError(
            f"{path}: holds no DICOM series; give the folder of the slices, or a .nii.gz, .mha or .nrrd file"
        )
    if len(series) > 1:
        names = ", ".join(
            f"{name} ({len(files)} files, such as {Path(files[0]).name})" for name, files in series.items()
        )
        raise UserError(f"{path}: holds {len(series)} DICOM series: {names}; give one file of the series you mean")
    return next(iter(series.values()))


def _left_out(folder, series):
    """A note if a folder has DICOM files that GDCM cannot read: it skips them without a word."""
    readable = {Path(f).name for files in series.values() for f in files}
    count = sum(_is_dicom(f) for f in folder.iterdir() if f.name not in readable and f.name != "DICOMDIR")
    return (f"{count} DICOM files of the folder are damaged or hold no image, and were left out.",) if count else ()


def _is_dicom(path):
    """True if a file has DICOM's mark after its preamble."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _slice_step(path, reader, count):
    """`(3,)`, world LPS mm from one slice to the next, of a series reader that has read `count` slices."""
    if not all(reader.HasMetaDataKey(k, POSITION) for k in range(count)):
        raise UserError(f"{path}: the slices have no positions (DICOM tag 0020,0032); convert them to NIfTI yourself")
    texts = [reader.GetMetaData(k, POSITION) for k in range(count)]
    positions = np.array([[float(x) for x in text.split("\\")] for text in texts])
    step = (positions[-1] - positions[0]) / (count - 1)
    deviation = np.linalg.norm(positions - positions[0] - np.arange(count)[:, None] * step, axis=1).max()
    spacing = np.linalg.norm(step)
    if not deviation < MAX_UNEVENNESS * spacing:
        raise UserError(
            f"{path}: the slices are not evenly spaced (off by up to {deviation:.2f} mm from steps of "
            f"{spacing:.2f} mm): slices are missing, or several time points are mixed; give one complete stack"
        )
    return step
