"""The folder of a search: its settings and the outcome of every trial, safe against a kill."""

import json
from hashlib import sha256
from pathlib import Path

from tfreg.errors import UserError
from tfreg.volumes.whole_file import whole_file
from tfreg.workflows.evaluation_store import digest_of
from tfreg.workflows.result_folder import claim_folder

SETTINGS, TRIALS, OUTCOMES = "search.json", "trials", "outcomes"


def digest_of_pairs(pairs):
    """A text that changes when a file of one of the pairs does.

    Args:
        pairs: List of `tfreg.volumes.manifest.Pair`.

    Returns:
        16 hexadecimal digits.
    """
    return sha256("".join(digest_of(pair) for pair in pairs).encode()).hexdigest()[:16]


class SearchFolder:
    """A folder with everything that a search leaves.

    Args:
        folder: Made if it is not there.
        settings: A dictionary of what all trials of a search share.
        force: Deletes what an earlier search left there.

    Raises:
        UserError: If the folder holds something else, or a search with other settings.
    """

    def __init__(self, folder, settings, force=False):
        self.folder = Path(folder)
        if claim_folder(self.folder, SETTINGS, "a search", force):
            self._compare(settings)
        try:
            for part in (TRIALS, OUTCOMES):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            if not (self.folder / SETTINGS).is_file():
                self.write(SETTINGS, json.dumps(settings, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another place") from error

    def run(self, trial):
        """The folder of a trial's run."""
        return self.folder / TRIALS / trial

    def outcome(self, trial):
        """What is known of a finished or failed trial, a dictionary, or None."""
        file = self.folder / OUTCOMES / f"{trial}.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def keep(self, trial, outcome):
        """Keeps the outcome of a trial."""
        self.write(f"{OUTCOMES}/{trial}.json", json.dumps(outcome, indent=2) + "\n")

    def write(self, name, text):
        """Writes a text file of the folder whole or not at all."""
        with whole_file(self.folder / name) as partial:
            partial.write_text(text, encoding="utf-8")

    def _compare(self, settings):
        file = self.folder / SETTINGS
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            differing = [name for name, value in settings.items() if known[name] != value]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: is damaged; start anew with --force") from error
        if differing:
            raise UserError(
                f"{self.folder}: was begun with another {', '.join(differing)}; name another folder, or start anew "
                "with --force"
            )
