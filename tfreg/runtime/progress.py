"""`Progress`: how far long work has come, as the library tells it, and the bar that the command line shows."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Protocol


class Advance(Protocol):
    """Tells that steps are done."""

    def __call__(self, steps: int = 1, status: str = "") -> None:
        """Tells that so many steps are done, and what is at hand."""


class Progress(Protocol):
    """Whom long work tells how far it is; an object with this method will do."""

    def stage(self, name: str, total: int | None) -> contextlib.AbstractContextManager[Advance]:
        """A part of the work; it is done where its context ends.

        Args:
            name: What is done, such as "refining".
            total: How many steps it takes at most; None where that is not known.

        Returns:
            A context that gives an `Advance`.
        """


class NoProgress:
    """A `Progress` that shows nothing."""

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        """A stage of which nothing is shown."""
        yield _nothing


def _nothing(steps: int = 1, status: str = "") -> None:
    pass


NO_PROGRESS = NoProgress()


class ProgressBar:
    """A `Progress` with a bar for each stage on standard error; on anything but a terminal it stays silent."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._open = 0

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        """A bar, below those of the stages within which it lies."""
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
        self._open += 1
        bars, task = self._bars, self._bars.add_task(name, total=total, status="")

        def advance(steps: int = 1, status: str | None = None) -> None:
            bars.update(task, advance=steps, **({} if status is None else {"status": status}))

        try:
            yield advance
            bars.update(task, completed=total)  # what converges early takes fewer steps
        finally:
            self._open -= 1
            if not self._open:
                self._bars = None
                bars.stop()


class ProgressLines:
    """A `Progress` for logs: every status is a line on standard error, and steps are not shown."""

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Advance]:
        """A stage of which each status is a line."""
        yield _line


def _line(steps: int = 1, status: str = "") -> None:
    if status:
        print(status, file=sys.stderr, flush=True)


def _bars():
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
        console=Console(stderr=True),
        disable=sys.stderr is None or not sys.stderr.isatty(),
    )
