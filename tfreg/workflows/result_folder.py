"""A folder of results that appears whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from tfreg.errors import UserError


def check_free(out, force, marker):
    """Refuses a folder that must not be replaced, before the work begins.

    Args:
        out: The folder to be written.
        force: True allows replacing a folder that holds `marker`.
        marker: Name of a file that tells an earlier result of the same kind.

    Raises:
        UserError: If the folder exists and may not be replaced, or lies inside a file.
    """
    out = Path(out)
    empty = out.is_dir() and not any(out.iterdir())
    if not empty and (out.exists() or out.is_symlink()):
        if not force:
            raise UserError(f"{out}: already exists; name another folder, or replace it with --force")
        if not (out / marker).is_file():
            raise UserError(
                f"{out}: is not a result of this command, so --force does not replace it; name another folder"
            )
    for parent in out.absolute().parents:
        if parent.is_dir():
            if not os.access(parent, os.W_OK | os.X_OK):
                raise UserError(f"{out}: {parent} may not be written to; choose another place")
            return
        if parent.exists():
            raise UserError(f"{out}: {parent} is a file; choose another place")


def claim_folder(folder, marker, kind, force):
    """Refuses a folder in which work cannot go on, and with `force` deletes what earlier work left there.

    Args:
        folder: Its `Path`; it need not be there.
        marker: Name of a file that tells earlier work of the same kind.
        kind: What error messages call such work, such as "an evaluation".
        force: True begins anew.

    Returns:
        True if there is earlier work, which goes on.

    Raises:
        UserError: If the folder is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; name a folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    if not (folder / marker).is_file():
        raise UserError(f"{folder}: holds something else than {kind}; name another folder")
    if force:
        shutil.rmtree(folder)
    return not force


@contextlib.contextmanager
def result_folder(out):
    """Yields a temporary folder beside `out` and renames it to `out` if the block succeeds.

    What `out` held is deleted only once the new folder is in its place; if the block fails it stays, and
    folders that were made to hold `out` are removed.

    Args:
        out: The folder to be written; call `check_free` before the work begins.

    Raises:
        UserError: If the place cannot be written.
    """
    out = Path(out)
    temporary, done = None, False
    made = [parent for parent in out.absolute().parents if not parent.exists()]
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
        yield temporary
        temporary.chmod(0o777 & ~_umask())  # mkdtemp lets only the owner in
        _put_in_place(temporary, out)
        done = True
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error}); choose another place") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for parent in made if not done else ():
            with contextlib.suppress(OSError):  # not there, or no longer empty
                parent.rmdir()


def _put_in_place(temporary, out):
    """Renames a folder to `out`; what was there is kept until that has succeeded."""
    if not out.exists():
        os.replace(temporary, out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.absolute().parent))
    os.replace(out, old / out.name)
    try:
        os.replace(temporary, out)
    except OSError:
        os.replace(old / out.name, out)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask
