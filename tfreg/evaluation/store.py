"""The folder of an evaluation: what was measured so far, safe against a kill."""

import json
from pathlib import Path

from tfreg.errors import UserError
from tfreg.evaluation.methods import Definition
from tfreg.evaluation.row import Row
from tfreg.io.folders.result_folder import Kind
from tfreg.io.folders.workspace import ANOTHER, Workspace
from tfreg.io.json_files import Record

SETTINGS, ROWS = "evaluation.json", "rows.jsonl"
EVALUATION = Kind(
    "an evaluation",
    SETTINGS,
    (r"rows\.jsonl|tables\.md|summary\.json|measurements\.csv|report\.html", r"pictures/[^/]+\.png"),
)


class EvaluationSettings(Record):
    """What all rows of a folder share: evaluation.json.

    Args:
        measures: What metrics mean; see `tfreg.evaluation.evaluate.MEASURES`.
        init: From where every method starts.
        labels: The manifest's column with the segmentations.
        methods: Dictionary of name to `Definition`, of this and of all earlier runs in the folder.
    """

    CURE = "start anew with --force"
    measures: str
    init: str
    labels: str
    methods: dict[str, Definition]

    @classmethod
    def upgraded(cls, content: dict) -> dict:
        """Settings without a format number hold the options of a method beside what else defines it."""
        methods = {name: _upgraded_definition(dict(entry)) for name, entry in content["methods"].items()}
        return content | {"methods": methods}


def _upgraded_definition(entry):
    kind = {"readers": "observers"}.get(entry["kind"], entry["kind"])
    options = None
    if kind == "tfreg":
        options = {name: entry[name] for name in ("refine", "similarity", "smoothness")}
        options |= {"preset": entry["preset"] or "quality", "parts": entry["transform"]}
    same = {name: entry[name] for name in ("model_sha256", "version")}
    return same | {"kind": kind, "options": options, "config_sha256": entry["model_config"]}


class Store:
    """Rows in a folder, appended one by one.

    Args:
        folder: Made if it is not there.
        settings: An `EvaluationSettings`.
        force: Deletes what an earlier evaluation left there.
        inputs: Paths that are read, and None; with `force` none of them may lie in the folder.
        check: Called before anything is written; see `tfreg.io.folders.folder_lock.locked_folder`.

    Attributes:
        folder: Its `Path`.
        settings: The `EvaluationSettings` of this and of all earlier runs in the folder.
        rows: Dictionary of a row's key to the `Row`.

    Raises:
        UserError: If the folder holds something else, or an evaluation with other settings.
    """

    def __init__(self, folder, settings, force=False, inputs=(), check=lambda: None):
        self._workspace = Workspace(folder, EVALUATION, force, inputs, check)
        self.folder, self.write = self._workspace.folder, self._workspace.write
        self.settings = self._workspace.settled(settings, _joined)
        self.rows = {row.key: row for row in read_rows(self.folder)}
        with self._workspace.writing():
            # What a kill left of a last line is no row.
            self.write(ROWS, "".join(f"{row.line()}\n" for row in self.rows.values()))

    def add(self, row: Row) -> None:
        """Keeps a row, on disk before it returns."""
        self.rows[row.key] = row
        self._workspace.append(ROWS, row.line())

    def done(self, task) -> bool:
        """Whether a task has been measured on the files as they are; what failed is tried again."""
        row = self.rows.get(task.key)
        return row is not None and row.error is None and row.digest == task.digest


def _joined(folder, earlier, settings):
    """The settings of this and of all earlier runs in a folder; `UserError` where they do not go together."""
    for name, definition in settings.methods.items():
        names = definition.differences(earlier.methods.get(name, definition))
        if names:
            raise UserError(f"{folder}: {name} was evaluated with another {', '.join(names)}; {ANOTHER}")
    for name in ("measures", "init", "labels"):
        before, now = getattr(earlier, name), getattr(settings, name)
        if before != now:
            raise UserError(f"{folder}: was begun with {name} {before!r}, not {now!r}; {ANOTHER}")
    return settings.changed(methods=earlier.methods | settings.methods)


def read_rows(folder: Path) -> list[Row]:
    """The rows of an evaluation's folder, of those with one key the last.

    Args:
        folder: Its `Path`.

    Returns:
        A list of `Row`. What a kill left of a last line is left out.

    Raises:
        UserError: If another line is damaged, or a line is of a later version.
    """
    file = folder / ROWS
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    rows = {}
    for number, line in enumerate(lines, 1):
        try:
            content = json.loads(line)
        except ValueError as error:
            if number < len(lines):
                raise UserError(f"{file}: line {number} is damaged; {Row.CURE}") from error
            continue
        row = Row.parse(content, f"{file}: line {number}")
        rows[row.key] = row
    return list(rows.values())
