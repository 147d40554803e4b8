"""Result folders: they appear whole or not at all, and replace nothing but earlier results of their kind."""

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfreg.errors import UserError
from tfreg.io.dicom.series import split_choice
from tfreg.io.digests import bytes_digest
from tfreg.io.folders.folder_lock import LOCK, lock_file, made_folders, refuse_home_sign
from tfreg.io.folders.whole_file import is_full, on_disk

# How names begin of what is hidden in a folder while a command works, the lock among it; and of a result half written.
INSIDE, PARTIAL = ".tfreg", "partial-"
OLD = ".old"  # in that, what the earlier result had
NAME_BYTES = 150
APPEARED = "{}: was written by something else while the command ran, and is kept; give the command again"


@dataclass(frozen=True)
class Kind:
    """A kind of result, and which files of a folder belong to it.

    Args:
        name: What messages call it, such as "an evaluation".
        marker: Name of the file that tells such a result; written last, and removed first.
        files: Regular expressions of the paths in the folder of all that tfreg writes, the marker apart.
    """

    name: str
    marker: str
    files: tuple[str, ...]

    def own(self, folder: str | Path) -> list[str]:
        """Paths of the kind's files in a folder, relative to it; the marker is the last."""
        own = []
        for place, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(INSIDE)]
            paths = (os.path.relpath(os.path.join(place, name), folder) for name in names)
            own += [path for path in paths if path == self.marker or any(re.fullmatch(p, path) for p in self.files)]
        return sorted(own, key=lambda path: (path == self.marker, path))


def check_free(out: str | Path, force: bool, kind: Kind, inputs: Iterable[str | Path | None] = ()) -> None:
    """Refuses a folder that must not be replaced or cannot be written, before the work begins.

    Args:
        out: The folder to be written.
        force: True allows replacing an earlier result.
        kind: A `Kind`.
        inputs: Paths that are read; None among them counts for nothing.

    Raises:
        UserError: If the folder exists and may not be replaced, holds an input, or cannot be written.
    """
    out = Path(out)
    try:
        refuse_home_sign(out)
        if not _is_empty(out) and os.path.lexists(out):
            if not force:
                raise UserError(f"{out}: already exists; name another folder, or replace it with --force")
            if not (out / kind.marker).is_file() and not _is_half_replaced(out):
                raise UserError(
                    f"{out}: is not a result of this command, so --force does not replace it; name another folder"
                )
        check_inputs(out, inputs)
        place = Path(os.path.realpath(out))
        if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
            raise UserError(f"{out}: may not be written to; choose another place")
        for parent in () if place.is_dir() else place.parents:
            if parent.is_dir():
                if not os.access(parent, os.W_OK | os.X_OK):
                    raise UserError(f"{out}: {parent} may not be written to; choose another place")
                longest = os.pathconf(parent, "PC_NAME_MAX")
                if any(len(os.fsencode(name)) > longest for name in place.relative_to(parent).parts):
                    raise UserError(f"{out}: the name is longer than {longest} bytes; choose a shorter one")
                return
            if parent.exists():
                raise UserError(f"{out}: {parent} is a file; choose another place")
    except OSError as error:  # a name that is too long, links in a circle
        raise UserError(f"{out}: cannot be written ({error.strerror or error}); choose another place") from error


def check_inputs(out: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Refuses inputs that lie in the folder to be written.

    Args:
        out: The folder.
        inputs: Paths, and None.

    Raises:
        UserError: If one of them lies in the folder, or is it.
    """
    place = Path(os.path.realpath(out))
    for path in inputs:
        if path is not None:
            real = Path(os.path.realpath(split_choice(path)[0]))
            if place == real or place in real.parents:
                raise UserError(f"{path}: lies in {out}, which is to be written; move it, or name another folder")


def claim_folder(folder: Path, kind: Kind, force: bool, inputs: Iterable[str | Path | None] = ()) -> bool:
    """Refuses a folder in which work cannot go on, and with `force` deletes what earlier work left there.

    Args:
        folder: Its `Path`; it need not be there.
        kind: A `Kind`. Only its files are ever deleted.
        force: True begins anew.
        inputs: Paths that are read, and None.

    Returns:
        True if there is earlier work, which goes on.

    Raises:
        UserError: If the folder is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; name a folder")
    if not folder.is_dir() or _is_empty(folder):
        return False
    if not (folder / kind.marker).is_file():
        raise UserError(f"{folder}: holds something else than {kind.name}; name another folder")
    if not force:
        return True
    check_inputs(folder, inputs)
    try:
        own = kind.own(folder)
        # The marker stays until nothing else does: what an interruption leaves can be begun anew.
        for path in own:
            (folder / path).unlink()
        _remove_empty(folder, own)
    except OSError as error:
        raise UserError(f"{folder}: cannot be begun anew ({error.strerror}); name another folder") from error
    return False


@contextlib.contextmanager
def claimed_result(
    out: str | Path, kind: Kind, force: bool = False, inputs: Iterable[str | Path | None] = ()
) -> Iterator[Callable[[], contextlib.AbstractContextManager[Path]]]:
    """Checks and locks the place of a result while a command works.

    Args:
        out: The folder to be written. It may be an existing empty folder or a link to one: it keeps its owner,
            permissions and mount.
        kind: A `Kind`.
        force: Replaces the files of an earlier result; others in the folder stay.
        inputs: Paths that are read, and None.

    Yields:
        A function without arguments, a context manager: it gives a temporary folder to write to, and puts what it
        holds in place when its block ends without an error.

    Raises:
        UserError: If the place must not or cannot be written, then or when the result is put in place.
    """
    check_free(out, force, kind, inputs)
    place = Path(os.path.realpath(out))
    with made_folders(place.parent):
        lock = place / LOCK if _must_stay(place) else _hidden(place, "lock")
        with lock_file(lock, Path(out)) as check:
            check_free(out, force, kind, inputs)
            replaces = place.is_dir() and not _is_empty(place)
            _remove_rests(place)

            @contextlib.contextmanager
            def written():
                with _temporary(_begun_in(place), Path(out)) as folder:
                    yield folder
                    check()
                    appeared = not replaces and os.path.lexists(place) and not _is_empty(place)
                    if appeared and not (force and (place / kind.marker).is_file()):
                        raise UserError(APPEARED.format(out))
                    _put_in_place(folder, place, Path(out), kind)

            yield written


@contextlib.contextmanager
def result_folder(out: str | Path) -> Iterator[Path]:
    """Yields a temporary folder beside `out` and renames it to `out` if the block succeeds; on disk before it counts.

    Args:
        out: The folder to be written, which is not there yet.

    Raises:
        UserError: If the place cannot be written, or the folder is there by then.
    """
    out = Path(out)
    with made_folders(out.absolute().parent), _temporary(_hidden(out.absolute(), PARTIAL), out) as folder:
        yield folder
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                on_disk(path)
        _put_in_place(folder, out.absolute(), out, None)
        on_disk(out.absolute().parent)


@contextlib.contextmanager
def _temporary(begin, out):
    """A folder whose path begins so, gone in the end; what goes wrong in it becomes one line."""
    folder = begin.with_name(f"{begin.name}{secrets.token_hex(4)}")
    try:
        # Not `mkdtemp`, whose folders lack the permissions that their parent hands down.
        folder.mkdir()
        yield folder
    except UserError as error:
        raise UserError(str(error).replace(str(folder), str(out))) from error
    except Exception as error:
        full = is_full(error, folder)
        if not full and not isinstance(error, OSError):
            raise
        reason = os.strerror(errno.ENOSPC) if full else error.strerror or error
        raise UserError(f"{out}: cannot be written ({reason}); choose another place") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _begun_in(place):
    """How the path of a temporary folder begins, on the file system of the result."""
    return place / f"{INSIDE}-{PARTIAL}" if place.is_dir() else _hidden(place, PARTIAL)


def _remove_rests(place):
    """Removes what commands that were killed had begun to write."""
    for begin in (_hidden(place, PARTIAL), place / f"{INSIDE}-{PARTIAL}"):
        for path in begin.parent.iterdir() if begin.parent.is_dir() else ():
            if path.name.startswith(begin.name):
                shutil.rmtree(path, ignore_errors=True)


def _put_in_place(temporary, place, out, kind):
    """Makes a folder the result: renamed as a whole, or file by file into a folder that is there."""
    if kind is None or not place.is_dir():
        try:
            os.rename(temporary, place)  # replaces no file, and no folder that holds anything
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise UserError(APPEARED.format(out)) from error
        return
    old = temporary / OLD
    old.mkdir()
    earlier = kind.own(place)
    new = sorted(
        (str(path.relative_to(temporary)) for path in temporary.rglob("*") if not path.is_dir()),
        key=lambda path: (path == kind.marker, path),
    )
    moved = []
    try:
        for path in reversed(earlier):  # the marker first
            moved.append(_move(place / path, old / path))
        for path in new:
            if os.path.lexists(place / path):
                raise UserError(f"{out}: {path} in it is not of an earlier result, and is kept; name another folder")
            moved.append(_move(temporary / path, place / path))
    except BaseException:
        for source, target in reversed(moved):
            _move(target, source)
        _remove_empty(place, new)
        raise
    _remove_empty(place, earlier)


def _move(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(source, target)
    return source, target


def _remove_empty(folder, paths):
    """Removes the folders of files that are gone, where nothing else lies in them."""
    parents = {parent for path in paths for parent in Path(path).parents if parent.name}
    for parent in sorted(parents, key=lambda parent: len(parent.parts), reverse=True):
        with contextlib.suppress(OSError):  # not empty
            (folder / parent).rmdir()


def _must_stay(place):
    """Whether a folder cannot be renamed, and nothing can be written beside it."""
    return place.is_dir() and (os.path.ismount(place) or not os.access(place.parent, os.W_OK | os.X_OK))


def _is_empty(folder):
    """Whether a path is a folder without anything but what tfreg hides there while it works."""
    return folder.is_dir() and all(path.name.startswith(INSIDE) for path in folder.iterdir())


def _is_half_replaced(folder):
    """Whether a command was killed in the moment in which it put a result in place, file by file."""
    return folder.is_dir() and any((path / OLD).is_dir() for path in folder.glob(f"{INSIDE}-{PARTIAL}*"))


def _hidden(place, suffix):
    """A name beside a place, made of the place's own."""
    name = os.fsencode(place.name)
    if len(name) > NAME_BYTES:  # so that it is not too long either
        name = name[:NAME_BYTES] + bytes_digest(name)[:8].encode()
    return place.with_name(f".{os.fsdecode(name)}-{suffix}")
