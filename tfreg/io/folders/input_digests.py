"""Inputs known by their content: what is resumed or kept goes on with the same files, whatever they are called."""

import functools
import hashlib
import re
from pathlib import Path

from tfreg.errors import UserError
from tfreg.io.dicom.series import content_files, split_choice

# Where the header of a volume names the file with its values.
DATA_FILE = {".mhd": r"ElementDataFile\s*=\s*(.+)", ".nhdr": r"data ?file:\s*(.+)"}


def file_digest(path):
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
        known = path.stat()
        return _digest(path, known.st_size, known.st_mtime_ns)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def digest_of(pair):
    """A text that changes when the content of one of a pair's files does.

    Args:
        pair: A `tfreg.io.tables.manifest.PairFiles`.

    Returns:
        16 hexadecimal digits, of the files' bytes; a copy elsewhere has the same.
    """
    contents = [(name, _content(path)) for name, path in vars(pair).items() if isinstance(path, Path)]
    return hashlib.sha256(repr(sorted(contents)).encode()).hexdigest()[:16]


def digest_of_pairs(pairs):
    """A text that changes when a file of one of the pairs does, or their order.

    Args:
        pairs: List of `tfreg.io.tables.manifest.PairFiles`.

    Returns:
        16 hexadecimal digits.
    """
    return hashlib.sha256("".join(digest_of(pair) for pair in pairs).encode()).hexdigest()[:16]


def _content(path):
    """The digests of all files that decide what a path stands for; None where there is nothing to read."""
    try:
        files = [*content_files(path), *_parts(path)]
        digests = [_digest(file, known.st_size, known.st_mtime_ns) for file in files for known in (file.stat(),)]
    except OSError:
        return None
    return digests[0] if files == [path] else (split_choice(path)[1], digests)


def _parts(path):
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


@functools.lru_cache(maxsize=10_000)
def _digest(path, size, changed):
    """The digest of a file's bytes, computed anew when its size or its time of change is another."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
