"""Atomic writes: files that appear whole or not at all."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

# Bytes of a name that are kept in the hidden one, which must not be too long either: its end, which tells the format.
NAME_BYTES = 150
# With fewer bytes left, a file system is full.
SPACE = 2**16


@contextlib.contextmanager
def whole_file(path: str | Path, replace: bool = True, durable: bool = False) -> Iterator[Path]:
    """Gives another name to write to, and renames the file when the block ends without an error.

    Args:
        path: The file.
        replace: True replaces an existing file; False keeps it, whenever it appears.
        durable: Has it on disk before it counts, so that not even a power loss leaves a part of it.

    Yields:
        A `Path` beside it that ends alike, since writers choose a format by how a name ends. What an error leaves
        there is removed.

    Raises:
        OSError: If the file cannot be renamed; `FileExistsError` if it is there and not to be replaced.
    """
    path = Path(path)
    end = os.fsdecode(os.fsencode(path.name)[-NAME_BYTES:])
    partial = path.with_name(f".partial-{secrets.token_hex(4)}-{end}")
    try:
        yield partial
        if durable:
            on_disk(partial)
        if replace:
            partial.replace(path)
        else:
            _rename_to_new(partial, path)
        if durable:
            on_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def on_disk(path: str | Path) -> None:
    """Has the content of a file, or the names in a folder, on disk before it returns.

    Args:
        path: A file or a folder.

    Raises:
        OSError: If it cannot be written.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot do it for folders
            raise
    finally:
        os.close(handle)


def is_full(error: BaseException, folder: str | Path) -> bool:
    """Whether what went wrong is that a file system is full; libraries have many words for it, and none.

    Args:
        error: An exception.
        folder: Where something was written.
    """
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    try:
        return shutil.disk_usage(folder).free < SPACE
    except OSError:
        return False


def _rename_to_new(partial, path):
    """Renames a file to a name that nothing has; a plain renaming would replace what has appeared there."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError as error:
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        partial.replace(path)  # a file system without hard links
