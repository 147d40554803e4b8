"""Input files as the user names them: whether they can be opened, and what they hold if not what their name says."""

import gzip
import os
import stat
import zlib
from pathlib import Path

from tfreg.errors import UserError

# What files begin with: first byte, mark, and what it tells.
MARKS = (
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"NRRD00", "a NRRD file"),
    (0, b"MATLAB 5.0", "a MATLAB file"),
    (0, b"#Insight Transform File", "an ITK transform"),
    (0, b"version https://git-lfs", "a Git LFS pointer"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"%PDF", "a PDF"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ", "an xz file"),
    (128, b"DICM", "a DICOM file"),
    (257, b"ustar", "a tar archive"),
    (344, b"n+1\0", "a NIfTI file"),
    (344, b"ni1\0", "the header of a NIfTI pair"),
    (4, b"n+2\0\r\n\x1a\n", "a NIfTI file"),
    (4, b"ni2\0\r\n\x1a\n", "the header of a NIfTI pair"),
)

HEAD_BYTES = 512


def content_kind(head: bytes) -> str | None:
    """What a file is by its first bytes.

    Args:
        head: At least `HEAD_BYTES` of them, or the whole file.

    Returns:
        A few words with their article, or None where the bytes do not tell.
    """
    for start, mark, kind in MARKS:
        if head[start : start + len(mark)] == mark:
            return kind
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if text.startswith((b"objecttype", b"ndims")):
        return "a MetaImage file"
    return None


def path_kind(path: str | Path) -> str:
    """What lies at a path.

    Args:
        path: A path as given by the user.

    Returns:
        "file" or "folder".

    Raises:
        UserError: If there is neither, or it cannot be looked at; says why.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path") from error
    except PermissionError as error:
        raise UserError(f"{path}: may not be looked at; change the permissions of its folder") from error
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise UserError(f"{path}: is no path ({getattr(error, 'strerror', error)}); check it") from error
    if stat.S_ISDIR(mode):
        return "folder"
    if stat.S_ISREG(mode):
        return "file"
    raise UserError(f"{path}: is neither a file nor a folder; give a file")


def first_bytes(path: str | Path) -> bytes:
    """The first bytes of a file, `HEAD_BYTES` at most.

    Args:
        path: The file.

    Returns:
        Bytes.

    Raises:
        UserError: If the file cannot be opened or is empty; says why.
    """
    if path_kind(path) == "folder":
        raise UserError(f"{path}: is a folder; give a file")
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except PermissionError as error:
        raise UserError(f"{path}: may not be read; change the file's permissions") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if not head:
        raise UserError(f"{path}: is empty; copy or export the file again")
    return head


def unzipped(head: bytes) -> bytes:
    """What the first bytes of a gzip file unpack to, as far as they reach; nothing if they are damaged."""
    try:
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def read_to_end(stream: gzip.GzipFile) -> tuple[int, bool]:
    """Reads a gzip stream to its end, where its checksum is compared.

    Args:
        stream: A `gzip.GzipFile`.

    Returns:
        How many bytes followed, and whether other bytes than gzip's come after the stream, which gzip ignores.

    Raises:
        EOFError, gzip.BadGzipFile, zlib.error: If the stream is truncated or damaged.
    """
    count = 0
    try:
        while part := stream.read(1 << 20):
            count += len(part)
    except gzip.BadGzipFile as error:
        # The message of a member that does not begin with gzip's mark, when another member came before it.
        if not str(error).startswith("Not a gzipped file"):
            raise
        return count, True
    return count, False


def itk_name(path: str | Path) -> str:
    """A path as text that ITK can take: it ends the whole process at a name that is not UTF-8.

    Args:
        path: A file or folder.

    Returns:
        A string.

    Raises:
        UserError: If the name is not UTF-8.
    """
    name = str(path)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: the name is not UTF-8, and ITK cannot open it; rename the file or folder") from error
    return name
