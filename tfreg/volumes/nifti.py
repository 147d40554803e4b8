"""NIfTI files, by nibabel."""

import contextlib
import gzip
import math
import struct
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from tfreg.errors import UserError
from tfreg.volumes.header_checks import MAX_DEFLATE_RATIO, check_bytes, checked_lattice
from tfreg.volumes.volume import Volume

# sform and qform that agree this well at every corner are the same place.
AGREEMENT_MM = 1e-2

# NIfTI's spatial unit codes: name, and millimetres in one.
UNITS = {1: ("metre", 1e3), 2: ("millimetre", 1.0), 3: ("micron", 1e-3)}


def read_nifti(path, labels=False):
    """Reads a .nii, .nii.gz or .hdr/.img file.

    Args:
        path: The file.
        labels: Keep the stored dtype instead of converting to float32.

    Returns:
        A `Volume`, with scl_slope and scl_inter applied.

    Raises:
        UserError: If the file is damaged or does not hold one real 3D volume.
    """
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(nib.imageglobals.LoggingOutputSuppressor())
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            if not str(path).lower().endswith(".gz"):
                return _volume(path, nib.load(path, mmap=False), labels)
            stream = stack.enter_context(gzip.open(path))
            volume = _volume(path, _nifti_class(stream).from_stream(stream), labels)
            # The checksum is compared only when the end of the stream is reached.
            while stream.read(1 << 20):
                pass
            return volume
    except UserError:
        raise
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: the gzip stream is truncated or damaged; copy or export the file again") from error
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: its partner {Path(error.filename).name} is missing; keep .hdr and .img together"
        ) from error
    except PermissionError as error:
        raise UserError(f"{path}: may not be read; change the file's permissions") from error
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory; crop or down-sample it") from error
    # Whatever a garbage header makes nibabel raise, the file is what is wrong.
    except Exception as error:
        raise UserError(f"{path}: the file is corrupt or is not NIfTI; export it again") from error


def write_nifti(path, array, affine, frame=1, intent=None):
    """Writes a .nii or .nii.gz file with equal sform and qform.

    Args:
        path: The file.
        array: `(i, j, k)` or `(i, j, k, 1, components)`, in the dtype to store.
        affine: `(4, 4)`, voxel to world RAS+ mm.
        frame: NIfTI code of the world frame; an unknown one becomes 1, scanner.
        intent: NIfTI intent, such as "vector", or None.
    """
    code = frame if frame in range(1, 6) else 1
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    if intent is not None:
        image.header.set_intent(intent)
    image.set_sform(affine, code)
    # A qform is a rotation and three spacings. It cannot hold shear, and a reader that prefers it, or falls back on
    # it as ITK does, would misplace the voxels: then it is declared absent, and ITK refuses the file.
    image.set_qform(affine, code)
    if _disagreement_mm(array.shape, image.get_qform(), affine) > AGREEMENT_MM / 10:
        image.set_qform(affine, 0)
    if str(path).lower().endswith(".gz"):
        with igzip.open(path, "wb", compresslevel=1) as stream:
            image.to_stream(stream)
    else:
        image.to_filename(path)


def _nifti_class(stream):
    """The nibabel class for the header that a stream begins with; the stream is left at its beginning."""
    head = stream.read(4)
    stream.seek(0)
    sizes = {struct.unpack(order + "i", head)[0] for order in "<>"} if len(head) == 4 else set()
    return nib.Nifti2Image if 540 in sizes else nib.Nifti1Image


def _volume(path, image, labels):
    """A `Volume` from a nibabel image whose voxels are not yet read."""
    if not isinstance(image, nib.Nifti1Pair):
        raise UserError(
            f"{path}: is {type(image).__name__.removesuffix('Image')}, a format that does not say where left and "
            "right are; convert it to NIfTI"
        )
    header = image.header
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        name = "RGB" if dtype.names else "complex" if dtype.kind == "c" else str(dtype)
        raise UserError(f"{path}: holds {name} values; give one real number a voxel")
    affine, frame, notes = _placement(header, image.affine)
    lattice = checked_lattice(path, image.shape, affine)
    data_path = Path(image.file_map["image"].filename or path)
    size = data_path.stat().st_size * (MAX_DEFLATE_RATIO if data_path.suffix.lower() == ".gz" else 1)
    check_bytes(path, math.prod(image.shape) * dtype.itemsize, size - image.dataobj.offset)
    array = np.asanyarray(image.dataobj) if labels else image.get_fdata(dtype=np.float32, caching="unchanged")
    array = array.astype(array.dtype.newbyteorder("="), copy=False).reshape(lattice.shape)
    return Volume(array, lattice.affine, frame=frame, notes=tuple(notes))


def _placement(header, affine):
    """The affine in millimetres, the frame code, and what was decided, from a NIfTI header."""
    notes = []
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    frame = sform_code if sform_code > 0 else max(0, qform_code)
    name, scale = UNITS.get(int(header["xyzt_units"]) & 7, UNITS[2])
    if scale != 1:
        notes.append(f"The header's lengths are in {name}s; they were converted to millimetres.")
    if frame == 0:
        notes.append(
            "The world frame is unknown (sform_code and qform_code are 0): the axes were taken as "
            f"{''.join(nib.aff2axcodes(affine))} about the volume's centre, and other tools may choose differently."
        )
    if sform_code > 0 and qform_code > 0:
        try:
            distance_mm = _disagreement_mm(header.get_data_shape(), header.get_qform(), affine) * scale
        except nib.spatialimages.HeaderDataError:
            distance_mm = np.inf
        if not distance_mm <= AGREEMENT_MM:
            notes.append(
                f"sform and qform disagree by up to {distance_mm:.3g} mm: the sform was used, and other tools, ITK "
                "among them, may use the qform."
            )
    # The unit holds for spacing and origin alike.
    return np.diag([scale, scale, scale, 1.0]) @ affine, frame, notes


def _disagreement_mm(shape, affine, other):
    """The largest distance between two affines' places for a corner of a volume."""
    ends = ([0, n - 1] for n in (*shape, 1, 1)[:3])
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    difference = np.asarray(affine) - other
    return np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1).max()
