"""MetaImage and NRRD, by SimpleITK. Only here and in DICOM are a volume's coordinates LPS."""

import contextlib
import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.errors import UserError
from tfreg.io.header_checks import MAX_DEFLATE_RATIO, check_bytes, checked_lattice
from tfreg.io.input_files import itk_name
from tfreg.io.itk_headers import check_itk_header
from tfreg.volumes.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

# Hold it around whatever SimpleITK does with files: it shows every file to HDF5, which two threads must not enter at
# once. What they write is damaged, or the process dies.
ITK_FILES = threading.RLock()


def read_itk(path: str | Path, labels: bool = False) -> Volume:
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
    with reading(path, "a MetaImage or NRRD file"):
        reader, itemsize = _checked_header(path)
        if path.suffix.lower() in (".mha", ".nrrd"):
            size = path.stat().st_size * (1 if _is_raw(path) else MAX_DEFLATE_RATIO)
            check_bytes(path, math.prod(reader.GetSize()) * itemsize, size)
        # Size 0 removes an axis; those past the third have one voxel.
        reader.SetExtractSize([*reader.GetSize()[:3], *(0 for _ in reader.GetSize()[3:])])
        image = reader.Execute()
        return Volume(_array(image, labels), _affine(image), notes=notes)


def to_itk(array: np.ndarray, affine: np.ndarray) -> Any:
    """An ITK image of an array.

    Args:
        array: `(i, j, k)`, or `(i, j, k, components)` for a vector image.
        affine: `(4, 4)`, voxel to world RAS+ mm, without shear.

    Returns:
        A `SimpleITK.Image`, in LPS+ mm.
    """
    import SimpleITK as sitk

    origin, spacing, direction = itk_place(affine)
    axes = (2, 1, 0, 3)[: array.ndim]
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(axes)), isVector=array.ndim == 4)
    image.SetSpacing(spacing)
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(origin)
    return image


def itk_place(affine: np.ndarray) -> tuple[list[float], list[float], np.ndarray]:
    """Where an image lies, as ITK says it.

    Args:
        affine: `(4, 4)`, voxel to world RAS+ mm, without shear.

    Returns:
        Origin and spacing, three numbers each, and direction `(3, 3)`, in LPS+ mm.
    """
    affine = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return affine[:3, 3].tolist(), spacing.tolist(), affine[:3, :3] / spacing


def write_itk(path: str | Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Writes a .mha or .nrrd file.

    Args:
        path: The file.
        array: `(i, j, k)`, in the dtype to store.
        affine: `(4, 4)`, voxel to world RAS+ mm.
    """
    import SimpleITK as sitk

    image = to_itk(array, affine)
    with ITK_FILES:
        sitk.WriteImage(image, itk_name(path), useCompression=True)


@contextlib.contextmanager
def reading(path: str | Path, kind: str) -> Iterator[None]:
    """Holds `ITK_FILES`, turns whatever a reader raises into one line, and keeps warnings off the terminal.

    Args:
        path: The file, for the messages.
        kind: What it was read as.

    Raises:
        UserError: In place of any other exception.
    """
    import SimpleITK as sitk

    with ITK_FILES:
        displays = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            yield
        except UserError:
            raise
        except MemoryError as error:
            raise UserError(f"{path}: does not fit into memory; crop or down-sample it") from error
        # Whatever a garbage header makes a reader raise, the file is what is wrong.
        except Exception as error:
            raise UserError(f"{path}: cannot be read as {kind}, it is truncated or corrupt; export it again") from error
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(displays)


def _checked_header(path):
    """A reader of a file whose header was found sound, and the bytes that one voxel takes."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())
    if reader.GetNumberOfComponents() > 1:
        raise UserError(
            f"{path}: holds several components a voxel ({kind}: RGB, complex or vectors); give one real number a voxel"
        )
    if "complex" in kind or ("integer" not in kind and "float" not in kind):
        raise UserError(f"{path}: holds values of type {kind}; give one real number a voxel")
    size = reader.GetSize()
    checked_lattice(path, size, _affine(reader) if len(size) >= 3 else np.eye(4))
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
