"""The folder of a search: its settings and the outcome of every trial, safe against a kill."""

import json
import os
import re
from pathlib import Path

from tfreg.errors import UserError
from tfreg.io.folders.result_folder import Kind, claim_folder
from tfreg.io.folders.whole_file import whole_file

SETTINGS, TRIALS, OUTCOMES = "search.json", "trials", "outcomes"
SEARCH = Kind(
    "a search",
    SETTINGS,
    (
        r"trials\.csv|tables\.md|search\.png|best\.yaml",
        r"outcomes/[^/]+\.json",
        r"search/(oracle\.json|tuner\d+\.json|trial_[^/]+/.+)",
        r"trials/[^/]+/(config\.yaml|inputs\.json|history\.csv|report\.json|(model|last)\.keras)",
        r"trials/[^/]+/(state|tensorboard)/.+",
    ),
)


def worker_name():
    """What this process is called if it only runs trials for a chief, in letters that a file's name may have; or None.

    Keras Tuner's environment variables tell.
    """
    name = os.environ.get("KERASTUNER_TUNER_ID", "")
    if "KERASTUNER_ORACLE_IP" not in os.environ or "chief" in name:
        return None
    return re.sub(r"\W", "_", name)


class SearchFolder:
    """A folder with everything that a search leaves.

    Args:
        folder: Made if it is not there.
        settings: A dictionary of what all trials of a search share.
        force: Deletes what an earlier search left there.
        inputs: Paths that are read; with `force` none of them may lie in the folder.
        check: Called before anything is written; see `tfreg.io.folders.folder_lock.locked_folder`.

    Raises:
        UserError: If the folder holds something else, or a search with other settings.
    """

    def __init__(self, folder, settings, force=False, inputs=(), check=lambda: None):
        self.folder, self.check = Path(folder), check
        if claim_folder(self.folder, SEARCH, force, inputs):
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
        if not file.is_file():
            return None
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"{file}: is damaged; delete it, and the trial is measured again") from error

    def keep(self, trial, outcome):
        """Keeps the outcome of a trial."""
        self.write(f"{OUTCOMES}/{trial}.json", json.dumps(outcome, indent=2) + "\n")

    def write(self, name, text):
        """Writes a text file of the folder whole or not at all."""
        self.check()
        with whole_file(self.folder / name, durable=True) as partial:
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
