"""What is the same volume, whatever its file is called."""

import contextlib
import functools
import hashlib
import struct

from isal import igzip, isal_zlib

from tfreg.io.dicom.series import split_choice

# Formats of which one file is the header, and another of the same name holds the voxels.
HEADERS = (".hdr", ".mhd", ".nhdr")
NIFTI, GZIP = b"n+1\0", b"\x1f\x8b"
LEAST_OFFSET = 352  # bytes before the voxels of a NIfTI file
BLOCK = 2**20


def content_digest(path):
    """A text that two files share if they hold the same voxels, stored alike, under whichever names.

    Compression does not count, nor does the header of a NIfTI file, which programs rewrite.

    Args:
        path: A file, a folder with a DICOM series, or FOLDER#uid for one of several.

    Returns:
        64 hexadecimal digits, or None where there is nothing that can be read.
    """
    path, uid = split_choice(path)
    try:
        files = sorted(path.iterdir()) if path.is_dir() else _with_voxels(path)
        digests = [_digest(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    # Whoever reads the voxels says what is wrong with the file.
    except (OSError, EOFError, ValueError, OverflowError, isal_zlib.error):
        return None
    if not path.is_dir() and len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join([*sorted(digests), uid or ""]).encode()).hexdigest() if digests else None


def _with_voxels(path):
    """The files that hold a volume's voxels."""
    if path.suffix.lower() not in HEADERS:
        return [path]
    others = [file for file in path.parent.iterdir() if file.name.split(".")[0] == path.name.split(".")[0]]
    return sorted(file for file in others if file.suffix.lower() not in HEADERS) or [path]


@functools.lru_cache(maxsize=10_000)
def _digest(path, size, changed):
    """The digest of a file's voxels, computed anew when its size or its time of change is another."""
    found = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        compressed = file.read(2) == GZIP
        file.seek(0)
        stream = stack.enter_context(igzip.open(file, "rb")) if compressed else file
        begin = stream.read(LEAST_OFFSET)
        if begin[344:348] == NIFTI:
            order = "<" if begin[:4] == struct.pack("<i", 348) else ">"
            stream.read(max(0, int(struct.unpack_from(f"{order}f", begin, 108)[0]) - LEAST_OFFSET))
        else:
            found.update(begin)
        while block := stream.read(BLOCK):
            found.update(block)
    return found.hexdigest()
