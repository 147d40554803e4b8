"""What a NIfTI header says of its voxels and their place, by the standard, before any of them is read."""

import struct
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from tfreg.errors import UserError
from tfreg.io.header_checks import checked_lattice
from tfreg.io.input_files import content_kind
from tfreg.volumes.lattice import SAME_PLACE_VOXELS, Lattice

# Spatial unit codes: name, and millimetres in one.
UNITS = {0: ("millimetre", 1.0), 1: ("metre", 1e3), 2: ("millimetre", 1.0), 3: ("micron", 1e-3)}

# sizeof_hdr to nibabel's class, the first byte after header and extension flag, and the two magic words.
VERSIONS = {
    348: (nib.Nifti1Header, 352, b"n+1", b"ni1"),
    540: (nib.Nifti2Header, 544, b"n+2", b"ni2"),
}
HEADER_BYTES = 540

# What NIfTI-2 puts behind its magic, so that a file that was copied as text shows.
LINE_ENDS = b"\r\n\x1a\n"

# The codes of a world frame that NIfTI names: none, scanner, aligned, Talairach, MNI, another template.
FRAMES = range(6)

# A quaternion's vector part may be longer than one by this, which is rounding.
LONGEST_QUATERNION = 1 + 1e-5


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What is needed to read a NIfTI file's voxels.

    Args:
        lattice: Where the voxels lie, a `Lattice`.
        dtype: Of the stored values.
        offset: Byte at which they begin.
        slope, inter: A value is slope x stored value + inter.
        frame: NIfTI code of the world frame, 0 if it is unknown.
        notes: What had to be decided, one sentence each.
    """

    lattice: Lattice
    dtype: np.dtype
    offset: int
    slope: float
    inter: float
    frame: int
    notes: tuple[str, ...]


def parse_header(path: str | Path, head: bytes, pair: bool) -> NiftiHeader:
    """Reads a header.

    Args:
        path: The file, for the messages.
        head: Its first `HEADER_BYTES` bytes, uncompressed.
        pair: True if the voxels are in a file of their own (.img).

    Returns:
        A `NiftiHeader`.

    Raises:
        UserError: If it is not the header of one real 3D volume; names the field that is wrong.
    """
    header, first_byte = _raw_header(path, head, pair)
    if not 1 <= header["dim"][0] <= 7:
        raise UserError(f"{path}: the header is corrupt, its dim[0] is {header['dim'][0]}; export the file again")
    shape = [int(n) for n in header["dim"][1 : 1 + int(header["dim"][0])]]
    dtype = _dtype(path, header)
    notes: list[str] = []
    offset = _offset(path, header, first_byte, notes)
    slope, inter = _scaling(path, header, notes)
    affine, frame = _placement(path, header, shape, notes)
    lattice = checked_lattice(path, shape, affine)
    return NiftiHeader(lattice, dtype, offset, slope, inter, frame, tuple(notes))


def _raw_header(path, head, pair):
    """nibabel's header, its bytes as they are, and the first byte that voxels may take."""
    for order in "<>":
        version = VERSIONS.get(struct.unpack(f"{order}i", head[:4])[0]) if len(head) >= 4 else None
        if version is not None:
            break
    else:
        kind = content_kind(head)
        if kind is None or "NIfTI" in kind:
            raise UserError(
                f"{path}: is corrupt or is not NIfTI, its first number, the header's size, is neither 348 nor 540; "
                "export it again"
            )
        raise UserError(f"{path}: is {kind}, not NIfTI; give it the name of what it is, or export it as NIfTI")
    kind, first_byte, single_magic, pair_magic = version
    size = kind.template_dtype.itemsize
    if len(head) < size:
        raise UserError(f"{path}: is truncated inside the header; copy or export the file again")
    header = kind(head[:size], order, check=False)
    magic = bytes(header["magic"].item())
    if magic == (single_magic if pair else pair_magic):
        raise UserError(
            f"{path}: its header is of a single .nii file, not of an .hdr and .img pair; rename it to .nii"
            if pair
            else f"{path}: its header says that the voxels are in an .img file; give the .hdr file of the pair"
        )
    if not magic.strip():
        raise UserError(f"{path}: is Analyze, a format that does not say where left and right are; convert it to NIfTI")
    if magic != (pair_magic if pair else single_magic):
        raise UserError(f"{path}: is corrupt or is not NIfTI, its magic is {magic!r}; export it again")
    if size == HEADER_BYTES and header["eol_check"].tobytes() not in (LINE_ENDS, bytes(4)):
        raise UserError(f"{path}: is damaged, as by a copy in text mode that changed line ends; copy it as binary")
    return header, 0 if pair else first_byte


def _dtype(path, header):
    """The dtype of the stored values."""
    code = int(header["datatype"])
    if code in (0, 255) or code not in nib.nifti1.data_type_codes.value_set("code"):
        raise UserError(f"{path}: the header is corrupt, NIfTI has no voxels of datatype {code}; export it again")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        name = "complex" if dtype.kind == "c" else "RGB" if dtype.names else nib.nifti1.data_type_codes.label[code]
        raise UserError(f"{path}: holds {name} values; give one real number a voxel")
    return dtype


def _offset(path, header, first_byte, notes):
    """The byte at which the voxels begin."""
    offset = float(header["vox_offset"])
    if offset == 0 and first_byte:
        notes.append(f"The header's vox_offset is 0: the voxels were read from byte {first_byte}, right behind it.")
        return first_byte
    if not offset.is_integer() or offset < first_byte:
        raise UserError(
            f"{path}: the header is corrupt, its vox_offset is {offset:g} and voxels begin at byte {first_byte} "
            "or later; correct it or export the file again"
        )
    return int(offset)


def _scaling(path, header, notes):
    """Slope and intercept; by the standard a slope of 0 means none."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0:
        return 1.0, 0.0
    if not np.isfinite(slope):
        notes.append(f"The header's scl_slope is {slope:g}: the values were read as stored, as other tools do.")
        return 1.0, 0.0
    if not np.isfinite(inter):
        raise UserError(
            f"{path}: the header's scl_inter is {inter:g}, so that no value is known; set it to 0 if the stored "
            "values are right"
        )
    return slope, inter


def _placement(path, header, shape, notes):
    """The affine in millimetres and the frame code."""
    codes = sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    for name, code in zip(("sform_code", "qform_code"), codes, strict=True):
        if code not in FRAMES:
            raise UserError(f"{path}: the header's {name} is {code}, and NIfTI has 0 to 5; correct it")
    frame = sform_code if sform_code > 0 else qform_code
    unit = int(header["xyzt_units"]) & 7
    name, scale = UNITS.get(unit, UNITS[2])
    if unit not in UNITS:
        notes.append(f"The header's unit of length has the unknown code {unit}: it was taken for millimetres.")
    if scale != 1:
        notes.append(f"The header's lengths are in {name}s; they were converted to millimetres.")
    if sform_code > 0:
        affine = _sform(header, shape, qform_code > 0, notes)
    else:
        affine, fault = _qform(header) if qform_code > 0 else _unplaced(header, shape)
        if fault:
            raise UserError(f"{path}: {fault}, so that no voxel has a place in the world; correct the header")
    if frame == 0:
        notes.append(
            "The world frame is unknown (sform_code and qform_code are 0): the axes were taken as "
            f"{''.join(nib.aff2axcodes(affine))} about the volume's centre, and other tools may choose differently."
        )
    affine = np.array(affine, np.float64)
    affine[:3] *= scale  # the unit holds for spacing and origin alike
    return affine, frame


def _sform(header, shape, has_qform, notes):
    """The sform's affine in the header's units; notes tell where what else the header says of the place differs."""
    affine = header.get_sform()
    try:
        lattice = Lattice([*shape, 1, 1][:3], affine)
    except ValueError:  # whoever makes the volume's lattice says so
        return affine
    if has_qform:
        other, fault = _qform(header)
        if fault:
            notes.append(f"{fault[0].upper()}{fault[1:]}: the sform was used.")
            return affine
        distance = lattice.distance_voxels(Lattice(lattice.shape, other))
        if distance > SAME_PLACE_VOXELS:
            notes.append(
                f"sform and qform disagree by up to {distance:.3g} voxels: the sform was used, and other tools, ITK "
                "among them, may use the qform."
            )
            return affine
        # The same place: where rounding has sheared the sform ITK takes the qform, which cannot be sheared.
        return other if lattice.is_sheared else affine
    zooms = np.abs(header["pixdim"][1:4].astype(np.float64))
    # How far the outermost voxels would lie apart if ITK, which takes the spacing from pixdim, were right.
    if not (np.abs(zooms / lattice.spacing - 1) * (np.array(lattice.shape) - 1) <= SAME_PLACE_VOXELS).all():
        sizes = [" x ".join(f"{mm:.4g}" for mm in each) for each in (zooms, lattice.spacing)]
        notes.append(
            f"pixdim says voxels of {sizes[0]} and the sform {sizes[1]}: the sform was used, and other tools, ITK "
            "among them, take pixdim."
        )
    return affine


def _qform(header):
    """The qform's affine in the header's units, or what is wrong with it."""
    zooms, fault = _zooms(header)
    vector = np.array([header[f"quatern_{letter}"] for letter in "bcd"], np.float64)
    origin = np.array([header[f"qoffset_{letter}"] for letter in "xyz"], np.float64)
    length = np.linalg.norm(vector)
    if not (np.isfinite(vector).all() and np.isfinite(origin).all()):
        fault = "the header's quaternion or offset is not finite"
    elif length > LONGEST_QUATERNION:
        fault = f"the header's quaternion (b, c, d) has length {length:.4g}, and may have one at most"
    if fault:
        return None, fault
    quaternion = np.array([np.sqrt(max(0.0, 1 - length**2)), *vector])
    affine = np.eye(4)
    affine[:3, :3] = nib.quaternions.quat2mat(quaternion / np.linalg.norm(quaternion)) * zooms
    # A qfac of 0 is one of 1.
    affine[:3, 2] *= float(header["pixdim"][0]) or 1.0
    affine[:3, 3] = origin
    return affine, None


def _unplaced(header, shape):
    """The affine in the header's units of a volume without sform and qform, as nibabel chooses it, or a fault."""
    zooms, fault = _zooms(header, qfac=False)
    if fault:
        return None, fault
    return nib.volumeutils.shape_zoom_affine([*shape, 1, 1][:3], zooms), None


def _zooms(header, qfac=True):
    """`(3,)` spacings in the header's units, and what is wrong with them or, if wanted, with the qfac."""
    pixdim = header["pixdim"].astype(np.float64)
    for number in (1, 2, 3):
        if not (np.isfinite(pixdim[number]) and pixdim[number] > 0):
            return None, f"the header's pixdim[{number}] is {pixdim[number]:g}, not a positive spacing"
    if qfac and pixdim[0] not in (-1, 0, 1):
        return None, f"the header's pixdim[0] (qfac) is {pixdim[0]:g}, not 1 or -1"
    return pixdim[1:4], None
