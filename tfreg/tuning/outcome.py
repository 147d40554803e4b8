"""What a trial of a search ended with, and what all trials of a search share."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tfreg.config import Config, SearchSpace
from tfreg.io.json_files import Measured, Record

# In the order of tables.
METRICS = (
    "dice",
    "tre_mm",
    "similarity_loss",
    "folding_fraction",
    "best_epoch",
    "epochs",
    "seconds",
    "peak_memory_gib",
    "resumed_after_epoch",
)


class SearchSettings(Record):
    """What all trials of a search share: search.json.

    Attributes:
        config: From which trials are drawn.
        search: Dotted key to what it may be.
        tuner, objective: See `tfreg.config.TuningOptions`.
        seed: Of the draws.
        data: Digests of the training and of the validation pairs.
    """

    KIND: ClassVar[str] = "a search"
    CURE: ClassVar[str] = "start anew with --force"
    config: Config
    search: SearchSpace
    tuner: str
    objective: str
    seed: int
    data: tuple[str, ...]


class TrialOutcome(Record):
    """What is known of a trial that has ended: a file in outcomes/.

    Attributes:
        error: Why it failed, one line, or None.
        dice, similarity_loss: Of the best epoch, on the validation pairs.
        tre_mm, folding_fraction: Of its model, means over the validation pairs; see `validation_metrics`.
        best_epoch: Counted from 1.
        epochs, seconds, peak_memory_gib, resumed_after_epoch: See the run's report.
    """

    KIND: ClassVar[str] = "a trial"
    CURE: ClassVar[str] = "delete it, and the trial is measured again"
    error: str | None = None
    dice: Measured = None
    tre_mm: Measured = None
    similarity_loss: Measured = None
    folding_fraction: Measured = None
    best_epoch: int | None = None
    epochs: int | None = None
    seconds: Measured = None
    peak_memory_gib: Measured = None
    resumed_after_epoch: int | None = None

    def metric(self, name: str) -> float | None:
        """One of `METRICS`, or None where it is not known."""
        return getattr(self, name)


@dataclass(frozen=True)
class TrialRow:
    """A trial in the tables of a search.

    Args:
        trial: Its name.
        values: Dotted key of the config to the value that was drawn.
        outcome: What it ended with; nothing is known while it runs.
        objective: The metric that the search makes as good as possible, or None.
        continues: The trial that it continues, or None.
    """

    trial: str
    values: dict[str, Any]
    outcome: TrialOutcome
    objective: float | None = None
    continues: str | None = None

    @property
    def status(self) -> str:
        """ "completed", "failed" or "running"."""
        if self.outcome.error is not None:
            return "failed"
        return "running" if self.objective is None else "completed"
