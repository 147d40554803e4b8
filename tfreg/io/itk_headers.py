"""The texts of MetaImage and NRRD headers, checked for what SimpleITK passes over or does not explain."""

import math
import re
import zlib
from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.io.header_checks import check_bytes
from tfreg.io.input_files import content_kind, first_bytes

PART_BYTES = 1 << 20

META_IMAGE, NRRD = "a MetaImage file", "a NRRD file"
KINDS = {".mha": META_IMAGE, ".mhd": META_IMAGE, ".nrrd": NRRD, ".nhdr": NRRD}

# No header is longer; what follows are voxels.
LONGEST_HEADER = 1 << 18

# MetaImage's names for one thing, the one that is written today first.
SPACING = ("ElementSpacing", "ElementSize")
ORIGIN = ("Offset", "Position", "Origin")
MATRIX = ("TransformMatrix", "Rotation", "Orientation")

BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}

# NRRD has many names for a type; the first that fits.
NRRD_BYTES = ((r"64|long long|longlong|double", 8), (r"16|short", 2), (r"8|char", 1), (r"32|int|float", 4))

# The spaces whose axes NRRD names, which ITK turns into its own.
SPACES = {"lps", "ras", "las"} | {f"{x}-{y}-superior" for x in ("left", "right") for y in ("posterior", "anterior")}
MILLIMETRES = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres"}


def check_itk_header(path: str | Path) -> tuple[str, ...]:
    """Refuses a MetaImage or NRRD header that SimpleITK would read as something else, or could not explain.

    Args:
        path: A .mha, .mhd, .nrrd or .nhdr file.

    Returns:
        Tuple of what a person should know of it, one sentence each.

    Raises:
        UserError: If the file is of another kind, its data file is missing, or a field of its place is no number.
    """
    path = Path(path)
    expected, kind = KINDS[path.suffix.lower()], content_kind(first_bytes(path))
    if kind not in (None, expected):
        raise UserError(f"{path}: is {kind}, not {expected}; give it the name of what it is, or export it again")
    with open(path, "rb") as file:
        text = file.read(LONGEST_HEADER).decode("latin-1")
    return tuple(_meta_image(path, text) if expected == META_IMAGE else _nrrd(path, text))


def _meta_image(path, text):
    """The notes on a MetaImage header."""
    header = text[: end.end()] if (end := re.search(r"(?m)^ElementDataFile *=.*\n?", text)) else text
    fields = dict(re.findall(r"(?m)^(\w+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", header))
    axes = fields.get("NDims", "")
    if not axes.isdigit() or "ElementDataFile" not in fields:
        raise UserError(
            f"{path}: cannot be read as a MetaImage or NRRD file, it is truncated or corrupt; export it again"
        )
    axes, given = int(axes), {}
    for names, count in ((SPACING, axes), (ORIGIN, axes), (MATRIX, axes**2), (("DimSize",), axes)):
        for name in names:
            if name in fields:
                given[names[0]] = _numbers(path, name, fields[name], count)
    if SPACING[0] not in given:
        yield "The header names no spacing: voxels of 1 mm were taken."
    elif 0 in given[SPACING[0]]:
        raise UserError(f"{path}: the header's spacing is 0, so that no voxel has a place in the world; correct it")
    if MATRIX[0] in given and np.linalg.det(np.reshape(given[MATRIX[0]], (axes, axes))) == 0:
        raise UserError(
            f"{path}: the header's {MATRIX[0]} is singular, so that no voxel has a place in the world; correct it"
        )
    for name, neutral in (("Slope", 1.0), ("Offset", 0.0)):
        name = f"ElementToIntensityFunction{name}"
        if name in fields and _numbers(path, name, fields[name], 1) != [neutral]:
            yield f"The header's {name} is {fields[name]}: it was not applied, as in ITK."
    yield from _meta_image_voxels(path, fields, given, len(header))


def _meta_image_voxels(path, fields, given, header_size):
    """Refuses voxels that are missing or damaged, which SimpleITK replaces without a word, and tells of more."""
    data = fields["ElementDataFile"]
    if data.upper() == "LIST" or "%" in data:
        return
    local = data.upper() == "LOCAL"
    data_path = path if local else _data_file(path, data)
    itemsize = BYTES.get(re.sub(r"^MET_U?|_ARRAY$", "", fields.get("ElementType", "").upper()))
    skipped = fields.get("HeaderSize", "0")
    if not itemsize or "DimSize" not in given or not re.fullmatch(r"-?\d+", skipped):
        return  # SimpleITK says what is wrong
    start = header_size if local else int(skipped)
    needed = int(math.prod(given["DimSize"])) * itemsize * int(fields.get("ElementNumberOfChannels") or 1)
    if fields.get("CompressedData", "").lower() == "true":
        _check_compressed(path, data_path, max(0, start), needed)
    elif fields.get("BinaryData", "").lower() == "true":
        yield from _check_raw(path, data_path, start, needed)


def _check_raw(path, data_path, start, needed):
    """Refuses a file that is too short for its voxels, and notes what follows them; -1 starts at the end."""
    rest = data_path.stat().st_size - max(0, start)
    check_bytes(path, needed, rest)
    if start >= 0 and rest > needed:
        yield f"{rest - needed} bytes follow the voxels that the header claims; they were not read."


def _check_compressed(path, data_path, start, needed):
    """Refuses a zlib stream that is damaged or holds another number of bytes."""
    stream, size = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS), 0  # zlib or gzip
    with open(data_path, "rb") as file:
        file.seek(start)
        try:
            while not stream.eof and size <= needed and (part := file.read(PART_BYTES)):
                while part and size <= needed:
                    size += len(stream.decompress(part, PART_BYTES))
                    part = stream.unconsumed_tail
        except zlib.error as error:
            raise UserError(f"{path}: its compressed voxels are damaged ({error}); copy the file again") from error
    if size != needed or not stream.eof:
        raise UserError(
            f"{path}: is truncated or its header is corrupt: it claims {needed} bytes of voxels and holds "
            f"{'more' if size > needed else size}, compressed; copy or export the file again"
        )


def _nrrd(path, text):
    """The notes on a NRRD header."""
    end = re.search(r"\r?\n\r?\n", text)
    header, size = (text[: end.start()], end.end()) if end else (text, len(text))
    fields = {
        key.strip().lower(): value.strip() for key, value in re.findall(r"(?m)^([^#:\r\n]+):(?!=)(.*?)\r?$", header)
    }
    yield from _nrrd_voxels(path, fields, size)
    for name in ("space units", "units"):
        units = re.findall(r'"([^"]*)"', fields.get(name, ""))
        strange = [unit for unit in units[:3] if unit.lower() not in MILLIMETRES]
        if strange and (name == "space units" or "space" not in fields):
            raise UserError(f'{path}: the header\'s {name} are "{strange[0]}"; give millimetres')
    if fields.get("dimension") != "3":
        return
    directions, spacings = fields.get("space directions"), fields.get("spacings")
    if directions is not None:
        vectors = re.findall(r"none|\(.*?\)", directions)
        if len(vectors) != 3 or "none" in vectors:
            raise UserError(f"{path}: the header's space directions are {directions}, not three vectors; correct it")
        for vector in vectors:
            _numbers(path, "space directions", vector[1:-1].replace(",", " "), 3)
    elif spacings is not None:
        _numbers(path, "spacings", spacings, 3)
    else:
        yield "The header names no spacing: voxels of 1 mm were taken."
    if "space origin" in fields:
        _numbers(path, "space origin", fields["space origin"].strip("()").replace(",", " "), 3)
    space = fields.get("space", "")
    if space.lower() not in SPACES or directions is None:
        yield (
            f"The world frame is unknown (the header's space is {space or 'missing'}"
            f"{'' if directions else ', without space directions'}): the axes were taken as LPS, as ITK does, and "
            "other tools may choose differently."
        )


def _nrrd_voxels(path, fields, header_size):
    """Refuses voxels that are missing or damaged: SimpleITK compares no checksum. Tells of more."""
    data = fields.get("data file", fields.get("datafile"))
    if data and (data.upper().startswith("LIST") or "%" in data):
        return
    data_path, start = (_data_file(path, data), 0) if data else (path, header_size)
    kind, sizes = fields.get("type", "").lower(), fields.get("sizes", "").split()
    itemsize = next((size for pattern, size in NRRD_BYTES if re.search(pattern, kind)), None)
    skips = [name for name in ("line skip", "lineskip", "byte skip", "byteskip") if name in fields]
    if itemsize is None or skips or not sizes or not all(size.isdigit() for size in sizes):
        return  # SimpleITK says what is wrong
    needed = math.prod(map(int, sizes)) * itemsize
    encoding = fields.get("encoding", "").lower()
    if encoding in ("gzip", "gz"):
        _check_compressed(path, data_path, start, needed)
    elif encoding == "raw":
        yield from _check_raw(path, data_path, start, needed)


def _numbers(path, name, text, count):
    """So many finite numbers of a header's field."""
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        values = []
    if len(values) != count or not np.isfinite(values).all():
        numbers = "a finite number" if count == 1 else f"{count} finite numbers"
        raise UserError(f"{path}: the header's {name} is {text!r}, not {numbers}; correct it")
    return values


def _data_file(path, name):
    """The file beside a header that holds its voxels."""
    data_path = path.parent / name
    if not data_path.is_file():
        raise UserError(f"{path}: its data file {name} is missing; keep the two together")
    return data_path
