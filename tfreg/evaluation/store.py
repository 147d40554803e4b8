"""The folder of an evaluation: what was measured so far, safe against a kill."""

import json
import os
from pathlib import Path

from tfreg.errors import UserError
from tfreg.io.folders.result_folder import Kind, claim_folder
from tfreg.io.folders.whole_file import whole_file

SETTINGS, ROWS = "evaluation.json", "rows.jsonl"
EVALUATION = Kind(
    "an evaluation",
    SETTINGS,
    (r"rows\.jsonl|tables\.md|summary\.json|measurements\.csv|report\.html", r"pictures/[^/]+\.png"),
)


class Store:
    """Rows in a folder, appended one by one.

    Args:
        folder: Made if it is not there.
        settings: A dictionary with `methods` (name to definition) and more that all rows of a folder share.
        force: Deletes what an earlier evaluation left there.
        inputs: Paths that are read, and None; with `force` none of them may lie in the folder.
        check: Called before anything is written; see `tfreg.io.folders.folder_lock.locked_folder`.

    Raises:
        UserError: If the folder holds something else, or an evaluation with other settings.
    """

    def __init__(self, folder, settings, force=False, inputs=(), check=lambda: None):
        self.folder, self.check = Path(folder), check
        claim_folder(self.folder, EVALUATION, force, inputs)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.settings = self._joined(settings)
            self.write(SETTINGS, json.dumps(self.settings, indent=2) + "\n")
            self.rows = {row_key(row): row for row in read_rows(self.folder)}
            # What a kill left of a last line is no row.
            self.write(ROWS, "".join(json.dumps(row) + "\n" for row in self.rows.values()))
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another place") from error

    def add(self, row):
        """Keeps a row, on disk before it returns."""
        self.check()
        self.rows[row_key(row)] = row
        with open(self.folder / ROWS, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def done(self, task):
        """Whether a task has been measured on the files as they are; what failed is tried again."""
        row = self.rows.get(task.key)
        return row is not None and "error" not in row and row["digest"] == task.digest

    def write(self, name, text):
        """Writes a text file of the folder whole or not at all."""
        self.check()
        with whole_file(self.folder / name, durable=True) as partial:
            partial.write_text(text, encoding="utf-8")

    def _joined(self, settings):
        """The settings of this and of all earlier runs in the folder."""
        file = self.folder / SETTINGS
        if not file.is_file():
            return settings
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            earlier = dict(known["methods"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: is damaged; start anew with --force") from error
        for name, definition in settings["methods"].items():
            if earlier.setdefault(name, definition) != definition:
                differing = [key for key, value in definition.items() if earlier[name].get(key) != value]
                raise UserError(
                    f"{self.folder}: {name} was evaluated with another {', '.join(differing)}; "
                    "name another folder, or start anew with --force"
                )
        for name, value in settings.items():
            if name != "methods" and known.get(name) != value:
                raise UserError(
                    f"{self.folder}: was begun with {name} {known.get(name)!r}, not {value!r}; "
                    "name another folder, or start anew with --force"
                )
        return settings | {"methods": earlier}


def read_rows(folder):
    """The rows of an evaluation's folder, of those with one key the last.

    Args:
        folder: Its `Path`.

    Returns:
        A list of dictionaries. What a kill left of a last line is left out.

    Raises:
        UserError: If another line is damaged.
    """
    file = folder / ROWS
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    rows = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            row["digest"], rows[row_key(row)] = row["digest"], row
        except (ValueError, KeyError, TypeError) as error:
            if number < len(lines):
                raise UserError(f"{file}: line {number} is damaged; delete it, and it is measured again") from error
    return list(rows.values())


def row_key(row):
    """What tells a row from all others: experiment, pair and method."""
    return row["experiment"], row["pair"], row["method"]
