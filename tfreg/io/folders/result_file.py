"""Result files: refused before the work where they cannot be written, and written together or not at all."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tfreg.errors import UserError
from tfreg.io.dicom.series import split_choice
from tfreg.io.folders.folder_lock import made_folders, refuse_home_sign
from tfreg.io.folders.whole_file import whole_file


def check_file(
    path: Path,
    extensions: tuple[str, ...],
    force: bool,
    inputs: Iterable[str | Path | None] = (),
    make_folder: bool = False,
) -> None:
    """Refuses a file that must not or cannot be written, before the work begins.

    Args:
        path: The `Path` to write.
        extensions: How its name may end, in lower case; "" is any end.
        force: True allows replacing a file.
        inputs: Files and folders that are read, and None; none of them is replaced, whatever they are called.
        make_folder: True if missing folders are made.

    Raises:
        UserError: If the file is a folder, exists and may not be replaced, is an input, or cannot be written.
    """
    refuse_home_sign(path)
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; name a file")
        if not path.name.lower().endswith(extensions):
            raise UserError(f"{path}: unknown extension; give {', '.join(extensions)}")
        if os.path.lexists(path) and not force:
            raise UserError(f"{path}: already exists; name another file, or replace it with --force")
        places = (split_choice(given)[0] for given in inputs if given is not None)
        for given in (place for place in places if place.exists()):
            if path.exists() and path.samefile(given):
                raise UserError(f"{path}: is the input itself; name another file")
            if given.is_dir() and Path(os.path.realpath(given)) in Path(os.path.realpath(path)).parents:
                raise UserError(f"{path}: lies in the input {given}; name another file")
        _check_folder(path, make_folder)
    except OSError as error:  # a name that is too long, links in a circle
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error


@contextlib.contextmanager
def written_files(paths: Sequence[Path], force: bool) -> Iterator[list[Path]]:
    """Gives another name to write to for each file, and renames them once all are whole.

    Args:
        paths: The `Path`s; missing folders are made, and taken away again if the block ends with an error.
        force: False keeps a file that has appeared since it was checked.

    Yields:
        A `Path` for each, which ends alike.

    Raises:
        UserError: If a file cannot be written or is there by then; an existing file is as it was.
    """
    partials = []
    try:
        with contextlib.ExitStack() as stack:
            for folder in dict.fromkeys(path.absolute().parent for path in paths):
                stack.enter_context(made_folders(folder))
            for path in paths:
                partials.append(stack.enter_context(whole_file(path, replace=force)))
            yield partials
    except FileExistsError as error:
        raise UserError(
            f"{error.filename2 or error.filename}: appeared while the command ran; name another file"
        ) from error
    except UserError as error:
        text = str(error)
        for path, partial in zip(paths, partials, strict=False):
            text = text.replace(str(partial), str(path))
        raise UserError(text) from error
    except OSError as error:
        by_partial = {str(partial): path for path, partial in zip(paths, partials, strict=False)}
        path = error.filename2 or by_partial.get(str(error.filename), paths[-1])  # the former of a renaming that failed
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error


def _check_folder(path, make_folder):
    for folder in path.absolute().parents:
        if folder.is_dir():
            if not os.access(folder, os.W_OK | os.X_OK):
                raise UserError(f"{path}: {folder} may not be written to; choose another place")
            if len(os.fsencode(path.name)) > os.pathconf(folder, "PC_NAME_MAX"):
                raise UserError(f"{path}: the name is too long; choose a shorter one")
            return
        if folder.exists():
            raise UserError(f"{path}: {folder} is a file; choose another place")
        if not make_folder:
            raise UserError(f"{path}: its folder does not exist; create {path.parent}")
