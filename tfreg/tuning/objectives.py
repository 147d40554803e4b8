"""What `tfreg tune` makes as good as possible.

Neither the training loss nor the whole validation loss can tell a good α or β from a bad one: both contain the
penalties that α and β weigh, and are smallest where the penalties are switched off.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfreg.config import Config, config_with
from tfreg.errors import UserError
from tfreg.io.tables.manifest import PairFiles


@dataclass(frozen=True)
class Objective:
    """A metric of a finished trial.

    Args:
        metric: Its name in `tfreg.tuning.outcome.METRICS`.
        title: What pictures and tables call it.
        direction: "max" or "min", as Keras Tuner says it.
        monitor: What the trials' `training.monitor` becomes, or None to leave it.
        spoiled_by: Searched keys under which it means another thing from trial to trial.
    """

    metric: str
    title: str
    direction: str
    monitor: str | None
    spoiled_by: tuple[str, ...] = ()

    @property
    def choose(self) -> Callable:
        """`max` or `min`."""
        return max if self.direction == "max" else min


OBJECTIVES = {
    "dice": Objective("dice", "validation Dice", "max", "val_dice", ("preprocessing.network_grid",)),
    "tre": Objective("tre_mm", "validation TRE (mm)", "min", None),
    # Keras logs the loss of the output `warped` apart from those of `linear` and `gradients`.
    "loss": Objective(
        "similarity_loss",
        "validation similarity loss",
        "min",
        "val_loss",
        ("loss.similarity", "loss.window", "preprocessing"),
    ),
}


def trial_config(config: Config, objective: str) -> Config:
    """The config from which trials are drawn.

    Args:
        config: Of the search.
        objective: A name in `OBJECTIVES`.

    Returns:
        The same with `training.monitor` as the objective needs it.
    """
    monitor = OBJECTIVES[objective].monitor
    return config if monitor is None else config_with(config, {"training.monitor": monitor}, "config")


def check_objective(objective: str, keys: Iterable[str], pairs: Sequence[PairFiles], data: str | Path) -> None:
    """Refuses an objective that cannot be measured, or not compared.

    Args:
        objective: A name in `OBJECTIVES`.
        keys: The searched keys.
        pairs: The validation pairs.
        data: The manifest, for error messages.

    Raises:
        UserError: If no validation pair has what it needs, or a searched key changes its meaning.
    """
    for key in keys:
        for spoiling in OBJECTIVES[objective].spoiled_by:
            if key == spoiling or key.startswith(f"{spoiling}."):
                raise UserError(
                    f"--objective {objective}: means another thing for every `{key}`, which is searched; "
                    f"choose {' or '.join(_comparable(key))}"
                )
    if objective == "dice" and not any(pair.fixed_labels and pair.moving_labels for pair in pairs):
        raise UserError(f"{data}: --objective dice, but no validation pair has labels; choose tre or loss")
    if objective == "tre" and not any(pair.fixed_points and pair.moving_points for pair in pairs):
        raise UserError(f"{data}: --objective tre, but no validation pair has points; choose dice or loss")


def _comparable(key):
    """The objectives that mean the same whatever a key is."""
    for name, objective in OBJECTIVES.items():
        if not any(key == spoiling or key.startswith(f"{spoiling}.") for spoiling in objective.spoiled_by):
            yield name
