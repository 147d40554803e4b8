"""The folder of a search: its settings and the outcome of every trial, safe against a kill."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from tfreg.io.folders.result_folder import Kind
from tfreg.io.folders.workspace import Workspace
from tfreg.tuning.outcome import SearchSettings, TrialOutcome

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


def worker_name() -> str | None:
    """What this process is called if it only runs trials for a chief, in letters that a file's name may have; or None.

    Keras Tuner's environment variables tell.
    """
    name = os.environ.get("KERASTUNER_TUNER_ID", "")
    if "KERASTUNER_ORACLE_IP" not in os.environ or "chief" in name:
        return None
    return re.sub(r"\W", "_", name)


class SearchFolder(Workspace):
    """A folder with everything that a search leaves.

    Args:
        folder: Made if it is not there.
        settings: What all trials of the search share.
        force: Deletes what an earlier search left there.
        inputs: Paths that are read; with `force` none of them may lie in the folder.
        check: Called before anything is written; see `tfreg.io.folders.folder_lock.locked_folder`.

    Raises:
        UserError: If the folder holds something else, or a search with other settings.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: SearchSettings,
        force: bool = False,
        inputs: Iterable[str | Path | None] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(folder, SEARCH, force, inputs, check)
        self.settled(settings)
        for name in (TRIALS, OUTCOMES):
            with self.writing():
                (self.folder / name).mkdir(exist_ok=True)

    def run(self, trial: str) -> Path:
        """The folder of a trial's run."""
        return self.folder / TRIALS / trial

    def outcome(self, trial: str) -> TrialOutcome | None:
        """What is known of a finished or failed trial, or None."""
        file = self.folder / OUTCOMES / f"{trial}.json"
        return TrialOutcome.read(file) if file.is_file() else None

    def keep(self, trial: str, outcome: TrialOutcome) -> None:
        """Keeps the outcome of a trial."""
        self.write(f"{OUTCOMES}/{trial}.json", outcome.text())
