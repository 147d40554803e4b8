"""Locks that keep two processes from writing to one folder.

A lock is a small file, made by one exclusive creation, which works on network file systems too. Its holder touches it
every `SIGN_SECONDS`. It is stale where its process is gone on this machine or, since nothing can be known of processes
of other machines and containers, where nothing has touched it for `LEASE_SECONDS`.
"""

import contextlib
import errno
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import SoftFileLease, Timeout

from tfreg.errors import UserError
from tfreg.io.folders.whole_file import is_full

# Inside a folder that work goes on in.
LOCK = ".tfreg.lock"
LEASE_SECONDS, SIGN_SECONDS = 60.0, 10.0


class FolderInUse(UserError):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked_folder(folder: str | Path, name: str = LOCK) -> Iterator[Callable[[], None]]:
    """Holds the lock of a folder in which work goes on; nobody else may work there meanwhile.

    Args:
        folder: Made if it is not there, and taken away again if nothing is written to it.
        name: Of the lock's file in the folder.

    Yields:
        A function without arguments to be called before something is written: it raises a `UserError` if another
        process has taken the lock over, because this one gave no sign of life for `LEASE_SECONDS`.

    Raises:
        FolderInUse: If another process holds the lock.
        UserError: If the folder cannot be made or written to, or the disk is full when the block writes to it.
    """
    folder = Path(folder)
    with made_folders(folder), lock_file(folder / name, folder) as check:
        try:
            yield check
        except UserError:
            raise
        except Exception as error:
            if is_full(error, folder):
                raise UserError(
                    f"{folder}: cannot be written ({os.strerror(errno.ENOSPC)}); what was finished is kept: make room, "
                    "and give the same command again"
                ) from error
            file = getattr(error, "filename", None)
            if not isinstance(file, str | Path) or not Path(file).absolute().is_relative_to(folder.absolute()):
                raise
            reason = getattr(error, "strerror", error)
            raise UserError(f"{file}: cannot be written or read ({reason}); look after the folder") from error


@contextlib.contextmanager
def lock_file(file: Path, what: Path) -> Iterator[Callable[[], None]]:
    """Holds a lock; its file is there as long as it is held.

    Args:
        file: The lock's `Path`, in a folder that is there.
        what: The `Path` that is locked, for messages.

    Yields:
        See `locked_folder`.

    Raises:
        FolderInUse: If another process holds the lock.
        UserError: If the file cannot be made.
    """
    lock = SoftFileLease(
        str(file),
        lease_duration=LEASE_SECONDS,
        heartbeat_interval=SIGN_SECONDS,
        thread_local=False,
        is_singleton=False,
    )
    try:
        _acquire(lock, file, what)
        with open(file, "a", encoding="utf-8") as record:  # the library reads over lines that it does not know
            record.write(f"since={time.strftime('%Y-%m-%d %H:%M:%S %z')}\n")
    except OSError as error:
        lock.release()
        raise UserError(f"{what}: cannot be written ({error.strerror or error}); choose another place") from error
    token = lock.token

    def check():
        owner = lock.owner
        if owner is not None and owner.token != token:
            raise FolderInUse(
                f"{what}: was taken over by {_holder(lock, file)}, because this process gave no sign of life for "
                f"{LEASE_SECONDS:.0f} s; nothing more is written"
            )

    try:
        yield check
    finally:
        # The folder may be gone, or the disk: what was done under the lock is done.
        with contextlib.suppress(OSError):
            lock.release()


@contextlib.contextmanager
def made_folders(folder: Path) -> Iterator[None]:
    """Makes a folder and those above it; those that are empty when the block ends are taken away again.

    Args:
        folder: Its `Path`.

    Raises:
        UserError: If it cannot be made.
    """
    refuse_home_sign(folder)
    made = [place for place in (folder, *folder.absolute().parents) if not os.path.exists(place)]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            what = "a link to nothing" if folder.is_symlink() else "a file"
            raise UserError(f"{folder}: is {what}; name a folder") from error
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another place") from error
        yield
    finally:
        for place in made:
            with contextlib.suppress(OSError):  # not there, or no longer empty
                place.rmdir()


def refuse_home_sign(path: Path) -> None:
    """Refuses a path that begins with a ~ which the shell has left, as in --out=~/result, for a folder of that name.

    Args:
        path: A `Path`.

    Raises:
        UserError: If it does, and there is nothing of that name.
    """
    if path.parts and path.parts[0].startswith("~") and not os.path.lexists(path.parts[0]):
        raise UserError(f"{path}: ~ was not replaced by the shell; write the place out in full")


def _acquire(lock, file, what):
    """Takes the lock, if need be after waiting for a sign of life of a holder that cannot be looked at from here."""
    try:
        lock.acquire(timeout=0)
        return
    except Timeout:
        owner = lock.owner
    if owner is not None and owner.hostname == _this_host() and not _is_zombie(owner.pid):
        raise FolderInUse(_in_use(lock, file, what))
    print(
        f"tfreg: {what} is locked by {_holder(lock, file)}, which cannot be seen from here: waiting for a sign of its "
        f"life, {LEASE_SECONDS:.0f} s at most",
        file=sys.stderr,
        flush=True,
    )
    touched = _touched(file)
    try:
        lock.acquire(
            timeout=LEASE_SECONDS + SIGN_SECONDS,
            poll_interval=min(1.0, LEASE_SECONDS / 10),
            cancel_check=lambda: _touched(file) not in (None, touched),
        )
    except Timeout as error:
        if _touched(file) != touched or file.stat().st_size:
            raise FolderInUse(_in_use(lock, file, what)) from error
        # What a power loss left of a lock: the library cannot tell it from one that is about to be written.
        file.unlink(missing_ok=True)
        lock.acquire(timeout=0)


def _in_use(lock, file, what):
    return (
        f"{what}: is in use by {_holder(lock, file)}; wait until it ends, or end it "
        f"(if there is no such process, delete {file})"
    )


def _holder(lock, file):
    """Words for who holds a lock."""
    owner, since = lock.owner, None
    with contextlib.suppress(OSError):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        since = next((line.partition("=")[2] for line in lines if line.startswith("since=")), None)
    who = "another process" if owner is None else f"process {owner.pid} on {owner.hostname.partition('?')[0]}"
    return who + (f" since {since}" if since else "")


def _touched(file):
    """When a lock's file was last touched, or None where it is gone."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


@functools.cache
def _this_host():
    """What the library calls this machine, or this container."""
    with tempfile.TemporaryDirectory() as folder, SoftFileLease(os.path.join(folder, LOCK)) as lock:
        return lock.owner.hostname


def _is_zombie(pid):
    """Whether a process of this machine has ended, though its parent has not noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False
