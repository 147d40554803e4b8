"""NIfTI files, by nibabel."""

import contextlib
import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip

from tfreg.errors import UserError
from tfreg.io.header_checks import MAX_DEFLATE_RATIO, check_bytes
from tfreg.io.input_files import content_kind, first_bytes, read_to_end, unzipped
from tfreg.io.nifti_header import FRAMES, HEADER_BYTES, parse_header
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

# A qform within this of the sform is written beside it: near a half turn float32 holds a quaternion badly.
QFORM_VOXELS = 0.01


def read_nifti(path: str | Path, labels: bool = False) -> Volume:
    """Reads a .nii, .nii.gz or .hdr/.img file.

    Args:
        path: The file.
        labels: Keep the stored dtype instead of converting to float32.

    Returns:
        A `Volume`, with scl_slope and scl_inter applied.

    Raises:
        UserError: If the file is damaged or does not hold one real 3D volume.
    """
    path = Path(path)
    pair = path.suffix.lower() in (".hdr", ".img")
    header_path, data_path = _files(path) if pair else (path, path)
    _check_name(header_path, first_bytes(header_path))
    first_bytes(data_path)
    with _reading(path), contextlib.ExitStack() as stack:
        header_stream = stack.enter_context(_opened(header_path))
        header = parse_header(path, header_stream.read(HEADER_BYTES), pair)
        data_stream = stack.enter_context(_opened(data_path)) if pair else header_stream
        lattice, needed = header.lattice, math.prod(header.lattice.shape) * header.dtype.itemsize
        zipped = isinstance(data_stream, gzip.GzipFile)
        size = data_path.stat().st_size
        check_bytes(path, needed, size * (MAX_DEFLATE_RATIO if zipped else 1) - header.offset)
        spec = (lattice.shape, header.dtype, header.offset, header.slope, header.inter)
        # A value beyond float32 would become infinite.
        with np.errstate(over="raise"):
            array = np.asanyarray(nib.arrayproxy.ArrayProxy(data_stream, spec, mmap=False), None if labels else "f4")
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        rest, others = read_to_end(data_stream) if zipped else (size - header.offset - needed, False)
        notes = list(header.notes)
        if rest:
            notes.append(f"{rest} bytes follow the voxels that the header claims; they were not read.")
        if others:
            notes.append("Bytes that are not gzip's follow the compressed file; they were not read.")
        return Volume(array, lattice.affine, frame=header.frame, notes=tuple(notes))


def read_vectors(path: str | Path) -> np.ndarray:
    """Reads the vectors of a .nii or .nii.gz file, right-angled or not, such as a displacement field.

    Args:
        path: The file.

    Returns:
        `(i, j, k, components)` float32, as stored.

    Raises:
        UserError: If the file is damaged, or holds no vectors.
    """
    path = Path(path)
    _check_name(path, first_bytes(path))
    with _reading(path):
        image: Any = nib.load(path, mmap=False)
        if len(image.shape) != 5 or image.shape[3] != 1:
            raise UserError(f"{path}: is not a displacement field; register again")
        return np.asanyarray(image.dataobj, np.float32)[:, :, :, 0]


def write_nifti(
    path: str | Path, array: np.ndarray, affine: np.ndarray, frame: int = 1, intent: str | None = None
) -> None:
    """Writes a .nii or .nii.gz file with equal sform and qform.

    A header that is off right angles by rounding is straightened, since ITK would refuse it.

    Args:
        path: The file.
        array: `(i, j, k)` or `(i, j, k, 1, components)`, in the dtype to store.
        affine: `(4, 4)`, voxel to world RAS+ mm.
        frame: NIfTI code of the world frame; an unknown one becomes 1, scanner.
        intent: NIfTI intent, such as "vector", or None.
    """
    code = frame if frame in FRAMES[1:] else 1
    lattice = Lattice((array.shape[0], array.shape[1], array.shape[2]), affine).straightened()
    image = nib.Nifti1Image(array, lattice.affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    if intent is not None:
        image.header.set_intent(intent)
    image.set_sform(lattice.affine, code)
    # A qform is a rotation and three spacings. It cannot hold shear, and a reader that prefers it, or falls back on
    # it as ITK does, would misplace the voxels: then it is declared absent, and ITK refuses the file.
    image.set_qform(lattice.affine, code)
    if lattice.distance_voxels(Lattice(lattice.shape, image.get_qform())) > QFORM_VOXELS:
        image.set_qform(lattice.affine, 0)
    if str(path).lower().endswith(".gz"):
        with igzip.open(path, "wb", compresslevel=1) as stream:
            image.to_stream(stream)
    else:
        image.to_filename(path)


@contextlib.contextmanager
def _reading(path):
    """Turns whatever goes wrong while a NIfTI file is read into one line."""
    try:
        with nib.imageglobals.LoggingOutputSuppressor():
            yield
    except UserError:
        raise
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = str(error).rstrip(".")
        raise UserError(
            f"{path}: the gzip stream is truncated or damaged ({reason}); copy or export the file again"
        ) from error
    except FloatingPointError as error:
        raise UserError(f"{path}: holds values beyond those of float32 (3.4e38); rescale them") from error
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory; crop or down-sample it") from error
    except OSError as error:
        reason = (error.strerror or str(error)).splitlines()[0]
        raise UserError(
            f"{path}: is truncated or its header is corrupt ({reason}); copy or export the file again"
        ) from error
    # Whatever a garbage header makes nibabel raise, the file is what is wrong.
    except Exception as error:
        raise UserError(f"{path}: the file is corrupt or is not NIfTI; export it again") from error


def _opened(path):
    """A stream of a file's bytes, uncompressed."""
    return gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb")


def _files(path):
    """The header's and the voxels' file of a pair, of which `path` is one."""
    other = next(
        (
            file
            for extension in ((".img", ".IMG") if path.suffix.lower() == ".hdr" else (".hdr", ".HDR"))
            if (file := path.with_suffix(extension)).is_file()
        ),
        None,
    )
    if other is None:
        missing = path.with_suffix(".img" if path.suffix.lower() == ".hdr" else ".hdr").name
        raise UserError(f"{path}: its partner {missing} is missing; keep .hdr and .img together")
    return (path, other) if path.suffix.lower() == ".hdr" else (other, path)


def _check_name(path, head):
    """Refuses a compressed file that is not named so, and the reverse."""
    zipped = head.startswith(b"\x1f\x8b")
    if zipped and path.suffix.lower() != ".gz":
        name = path.name + ".gz" if path.suffix.lower() == ".nii" else "a name that ends in .gz"
        inside = content_kind(unzipped(head)) or "something"
        raise UserError(f"{path}: is compressed ({inside} in gzip), and its name does not say so; rename it to {name}")
    if not zipped and path.suffix.lower() == ".gz":
        kind = content_kind(head)
        if kind == "a NIfTI file":
            raise UserError(f"{path}: is NIfTI that is not compressed; rename it to {path.stem}")
        raise UserError(f"{path}: is {kind or 'corrupt or something else'}, not a gzip file; export it again")
