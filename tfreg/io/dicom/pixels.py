"""The stored values of a DICOM file: read by pydicom, decompressed by SimpleITK."""

import tempfile
from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.io.itk_images import ITK_FILES

# What says how a file's pixels are stored.
PIXEL_MODULE = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
SECONDARY_CAPTURE, MULTIFRAME_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.3"


def stored_values(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads the pixels of a file as they are stored, before slope and intercept.

    Args:
        file: A DICOM file with one sample a pixel.

    Returns:
        `(frames, rows, columns)`, integers or floats in the machine's byte order; and bool of the same shape, true
        where a pixel holds the padding value, or None where the file names none.

    Raises:
        UserError: If the file is truncated, or stores its pixels in a way that cannot be read.
    """
    import pydicom

    dataset = pydicom.dcmread(file, force=True)
    try:
        if "TransferSyntaxUID" not in dataset.file_meta:
            # pydicom found out how the header is written; the pixels' bytes are in the same order.
            _, little = dataset.original_encoding
            uid = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = uid
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_encapsulated:
            array = raw = _decompressed(file, dataset, syntax)
        else:
            raw = _native(file, dataset)
            array = _significant_bits(file, dataset, raw)
        return array, _padding(dataset, raw, array)
    except (UserError, MemoryError):
        raise
    # Whatever damaged pixels make pydicom raise, the file is what is wrong.
    except Exception as error:
        raise UserError(
            f"{file}: its pixels cannot be read, it is truncated or damaged ({_line(error)}); copy or export it again"
        ) from error


def _line(error):
    """What an exception says, on one line and short."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _native(file, dataset):
    """`(frames, rows, columns)` of a file that is not compressed, with all allocated bits."""
    import pydicom

    keyword = next((k for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if k in dataset), None)
    if keyword is None:
        raise UserError(f"{file}: holds no pixels, it is truncated or damaged; copy or export it again")
    shape = (int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns))
    bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword) or int(dataset.BitsAllocated)
    if bits not in (8, 16, 32, 64):
        raise UserError(f"{file}: stores {bits} bits a pixel (BitsAllocated); export it with 8, 16 or 32")
    claimed, held = int(np.prod(shape, dtype=np.int64)) * bits // 8, len(dataset[keyword].value)
    # Pixels of odd length are filled up to an even one.
    if not claimed <= held <= claimed + claimed % 2:
        raise UserError(
            f"{file}: is truncated or its header is corrupt: it claims {claimed} bytes of pixels and holds {held}; "
            "copy or export it again"
        )
    array = pydicom.pixels.pixel_array(dataset, raw=True, correct_unused_bits=False)
    return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(shape)


def _significant_bits(file, dataset, raw):
    """The values without the bits above the stored ones, which may hold an overlay."""
    if raw.dtype.kind == "f":
        return raw
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high = stored - 1 if dataset.get("HighBit") is None else int(dataset.HighBit)
    # The standard has the stored bits lowest; where a file says otherwise, readers disagree.
    if not (0 < stored <= allocated and high == stored - 1):
        raise UserError(
            f"{file}: its bits do not fit together (BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}); "
            "export it again"
        )
    # The shift back fills a signed value up with its sign.
    return raw if stored == allocated else (raw << (allocated - stored)) >> (allocated - stored)


def _decompressed(file, dataset, syntax):
    """`(frames, rows, columns)` of a compressed file.

    SimpleITK would apply one slope to all frames, so that it is given the compressed pixels alone.
    """
    import pydicom
    import SimpleITK as sitk

    bare = pydicom.Dataset()
    for keyword in PIXEL_MODULE:
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    if "PixelData" not in dataset:
        raise UserError(f"{file}: holds no pixels, it is truncated or damaged; copy or export it again")
    bare["PixelData"] = dataset["PixelData"]
    shape = (int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns))
    bare.SOPClassUID = SECONDARY_CAPTURE if shape[0] == 1 else MULTIFRAME_SECONDARY_CAPTURE
    bare.SOPInstanceUID = pydicom.uid.generate_uid()
    bare.file_meta = pydicom.dataset.FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = syntax
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pixels.dcm"
        bare.save_as(copy, enforce_file_format=True)
        try:
            with ITK_FILES:
                array = sitk.GetArrayFromImage(sitk.ReadImage(str(copy)))
        except RuntimeError as error:
            raise UserError(
                f"{file}: its pixels are compressed ({syntax.name}) and cannot be decompressed; "
                "decompress it with gdcmconv --raw or dcmdjpeg"
            ) from error
    return array.reshape(shape)


def _padding(dataset, raw, array):
    """True where pixels hold the padding value, or lie in its range; None if the file names none."""
    limits = [dataset.get(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if limits[0] in (None, ""):
        return None
    limits = [_stored_as(limit, array.dtype) for limit in limits if limit not in (None, "")]
    low, high = min(limits), max(limits)
    # Scanners write padding values that need more bits than are stored.
    return ((array >= low) & (array <= high)) | ((raw >= low) & (raw <= high))


def _stored_as(value, dtype):
    """A padding value as pixels of a dtype hold it: files may give it with the other sign's representation."""
    value = int(value)
    if dtype.kind == "i" and value >= 1 << 15 and dtype.itemsize <= 2:
        return value - (1 << 16)
    if dtype.kind == "u" and value < 0:
        return value + (1 << 16)
    return value
