"""Digests (SHA-256) of files, pairs and voxels: inputs are recognised by content, whatever they are called."""

import contextlib
import functools
import hashlib
import re
import struct
from collections.abc import Iterable
from pathlib import Path

from isal import igzip, isal_zlib

from tfreg.errors import UserError
from tfreg.io.dicom.series import content_files, split_choice
from tfreg.io.tables.manifest import PairFiles

# Formats of which one file is the header, and another of the same name holds the voxels.
HEADERS = (".hdr", ".mhd", ".nhdr")
# Where such a header names the file with its values.
DATA_FILE = {".mhd": r"ElementDataFile\s*=\s*(.+)", ".nhdr": r"data ?file:\s*(.+)"}

NIFTI, GZIP = b"n+1\0", b"\x1f\x8b"
MIN_OFFSET = 352  # bytes before the voxels of a NIfTI file
BLOCK = 2**20


def bytes_digest(*parts: bytes | memoryview) -> str:
    """The SHA-256 of bytes, or of arrays' memory, one after another; 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file's bytes.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.

    Raises:
        UserError: If it cannot be read.
    """
    path = Path(path)
    try:
        return _of_bytes(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def pair_digest(pair: PairFiles) -> str:
    """A text that changes when the content of one of a pair's files does.

    Args:
        pair: The pair's files.

    Returns:
        16 hexadecimal digits, of the files' bytes; a copy elsewhere has the same.
    """
    contents = [(name, _content(path)) for name, path in vars(pair).items() if isinstance(path, Path)]
    return bytes_digest(repr(sorted(contents)).encode())[:16]


def pairs_digest(pairs: Iterable[PairFiles]) -> str:
    """A text that changes when a file of one of the pairs does, or their order.

    Args:
        pairs: The pairs' files.

    Returns:
        16 hexadecimal digits.
    """
    return bytes_digest("".join(pair_digest(pair) for pair in pairs).encode())[:16]


def voxels_digest(path: str | Path) -> str | None:
    """A text that two files share if they hold the same voxels, stored alike, under whichever names.

    Compression does not count, nor does the header of a NIfTI file, which programs rewrite.

    Args:
        path: A file, a folder with a DICOM series, or FOLDER#uid for one of several.

    Returns:
        64 hexadecimal digits, or None where there is nothing that can be read.
    """
    path, uid = split_choice(path)
    try:
        files = sorted(path.iterdir()) if path.is_dir() else _files_with_voxels(path)
        digests = [_of_voxels(file) for file in files if file.is_file()]
    # Whoever reads the voxels says what is wrong with the file.
    except (OSError, EOFError, ValueError, OverflowError, isal_zlib.error):  # type: ignore[misc]
        return None
    if not path.is_dir() and len(digests) == 1:
        return digests[0]
    return bytes_digest("".join([*sorted(digests), uid or ""]).encode()) if digests else None


def _content(path):
    """The digests of all files that decide what a path stands for; None where there is nothing to read."""
    try:
        files = [*content_files(path), *_files_beside(path)]
        digests = [_of_bytes(file) for file in files]
    except OSError:
        return None
    return digests[0] if files == [path] else (split_choice(path)[1], digests)


def _files_beside(path):
    """The other files of a volume that does not lie in one."""
    kind = path.suffix.lower()
    if kind in (".hdr", ".img"):
        others = (path.with_suffix(end) for end in (".hdr", ".img", ".img.gz"))
        return [file for file in others if file.is_file() and file != path]
    if kind in DATA_FILE:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if match := re.fullmatch(DATA_FILE[kind], line.strip(), re.IGNORECASE):
                file = path.parent / match[1]
                return [file] if file.is_file() else sorted(path.parent.glob(f"{path.stem}*.*raw"))
    return []


def _files_with_voxels(path):
    """The files that hold a volume's voxels."""
    if path.suffix.lower() not in HEADERS:
        return [path]
    others = [file for file in path.parent.iterdir() if file.name.split(".")[0] == path.name.split(".")[0]]
    return sorted(file for file in others if file.suffix.lower() not in HEADERS) or [path]


def _once_a_version(digest):
    """A function of a file that is computed anew when the file's size or time of change is another."""
    cached = functools.lru_cache(maxsize=10_000)(lambda path, size, changed: digest(path))

    @functools.wraps(digest)
    def of_file(path):
        status = path.stat()
        return cached(path, status.st_size, status.st_mtime_ns)

    return of_file


@_once_a_version
def _of_bytes(path):
    """The digest of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@_once_a_version
def _of_voxels(path):
    """The digest of a file's voxels, uncompressed, or of all that is in it where it is no single NIfTI file."""
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        compressed = file.read(2) == GZIP
        file.seek(0)
        stream = stack.enter_context(igzip.open(file, "rb")) if compressed else file
        begin = stream.read(MIN_OFFSET)
        if begin[344:348] == NIFTI:
            order = "<" if begin[:4] == struct.pack("<i", 348) else ">"
            stream.read(max(0, int(struct.unpack_from(f"{order}f", begin, 108)[0]) - MIN_OFFSET))
        else:
            digest.update(begin)
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
