"""A folder in which long work goes on: its settings are compared, its files written whole, and a kill costs little."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tfreg.errors import UserError
from tfreg.io.folders.result_folder import Kind, claim_folder
from tfreg.io.folders.whole_file import whole_file
from tfreg.io.json_files import Record

ANOTHER = "name another folder, or start anew with --force"
Settings = TypeVar("Settings", bound=Record)


class Workspace:
    """A folder with everything that a long command leaves; what is finished there is not done again.

    A command names the folder's `Kind`, whose marker is the file with the settings, and a `Record` of what all of the
    work there shares:

        with locked_folder(out) as check:
            workspace = Workspace(out, SEARCH, force, [data], check)
            settings = workspace.settled(SearchSettings(tuner="random", seed=0))
            ...
            workspace.write("tables.md", text)

    Nothing is deleted or written where the folder holds something else, or the settings do not go together. A command
    whose settings may grow, as an evaluation's by more methods, says how by `joined`; one that compares more than one
    file, as a training its config and its data, calls `settled` for each, with the file's name.

    Args:
        folder: Made if it is not there.
        kind: What the folder holds.
        force: Deletes what earlier work left there.
        inputs: Paths that are read, and None; with `force` none of them may lie in the folder.
        check: Called before anything is written; from `tfreg.io.folders.folder_lock.locked_folder`.

    Attributes:
        folder: Its `Path`.
        goes_on: Whether there is earlier work, which goes on.

    Raises:
        UserError: If the folder is a file, or holds something else.
    """

    def __init__(
        self,
        folder: str | Path,
        kind: Kind,
        force: bool = False,
        inputs: Iterable[str | Path | None] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.kind, self._check = Path(folder), kind, check
        self.goes_on = claim_folder(self.folder, kind, force, inputs)

    def settled(
        self,
        settings: Settings,
        joined: Callable[[Path, Settings, Settings], Settings] | None = None,
        name: str | None = None,
    ) -> Settings:
        """Writes the settings of the work, or compares them with those that it was begun with.

        Args:
            settings: Of this command.
            joined: Called with the folder, the earlier settings and these, returns what holds for both, or raises a
                `UserError`; None refuses whatever differs.
            name: Of the file; None takes the kind's marker.

        Returns:
            What the file says now.

        Raises:
            UserError: If the settings do not go together, or the file is damaged or cannot be written.
        """
        name = name or self.kind.marker
        file = self.folder / name
        if file.is_file():
            earlier = type(settings).read(file)
            settings = (joined or same_settings)(self.folder, earlier, settings)
            if not differing(earlier, settings):
                return settings
        with self.writing():
            self.write(name, settings.text())
        return settings

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A context in which the folder is there, and where it cannot be written a `UserError` says so."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror}); choose another place") from error

    def write(self, name: str, text: str) -> None:
        """Writes a text file of the folder whole or not at all, on disk before it returns.

        Args:
            name: Its path in the folder.
            text: Its content.

        Raises:
            UserError: If another process has taken the lock over.
        """
        with self.written(name, durable=True) as partial:
            partial.write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def written(self, name: str, durable: bool = False) -> Iterator[Path]:
        """A context that gives the `Path` to write a file of the folder to; it appears whole or not at all.

        Args:
            name: Its path in the folder.
            durable: Has it on disk before it counts.
        """
        self._check()
        with whole_file(self.folder / name, durable=durable) as partial:
            yield partial

    def append(self, name: str, line: str) -> None:
        """Adds a line to a text file of the folder, on disk before it returns; a kill may leave a part of it.

        Args:
            name: Its path in the folder.
            line: Without the line's end.
        """
        self._check()
        with open(self.folder / name, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())


def differing(earlier: Record, settings: Record) -> list[str]:
    """Names of the fields in which two records of one class say another thing."""
    before, now = (record.model_dump(mode="json") for record in (earlier, settings))
    return [name for name in now if before[name] != now[name]]


def same_settings(folder: Path, earlier: Settings, settings: Settings) -> Settings:
    """The earlier settings, which must be the same.

    Args:
        folder: Which messages name.
        earlier: Settings with which the work was begun.
        settings: Those of a command that goes on with it.

    Raises:
        UserError: If they differ; names the fields.
    """
    names = differing(earlier, settings)
    if names:
        raise UserError(f"{folder}: was begun with another {', '.join(names)}; {ANOTHER}")
    return earlier
