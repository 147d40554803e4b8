"""What a search leaves: a table, a picture, and the best config."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from tfreg.config import Config, SearchRange, config_with, dump_config
from tfreg.errors import InputWarning
from tfreg.io.tables.csv_tables import table_text
from tfreg.report.drawing import optional_picture
from tfreg.tuning.objectives import Objective
from tfreg.tuning.outcome import METRICS, TrialRow
from tfreg.tuning.space import searched
from tfreg.tuning.store import SearchFolder
from tfreg.tuning.text import search_text

TABLE, TEXT, PICTURE, BEST = "trials.csv", "tables.md", "search.png", "best.yaml"


@dataclass(frozen=True)
class SearchResult:
    """What a search gave.

    Args:
        trials: In the order in which they began. Empty in a process that only runs trials for a chief.
        best: The best completed one, or None.
    """

    trials: tuple[TrialRow, ...] = ()
    best: TrialRow | None = None


def best_of(rows: Sequence[TrialRow], objective: Objective) -> TrialRow | None:
    """The best completed row, or None."""
    completed = [row for row in rows if row.status == "completed"]
    return objective.choose(completed, key=lambda row: row.objective) if completed else None


def write_search(
    folder: SearchFolder, rows: Sequence[TrialRow], config: Config, objective: Objective, command: str
) -> None:
    """Writes table, picture and best config, each whole or not at all.

    Args:
        folder: To write to.
        rows: One a trial.
        config: From which trials are drawn.
        objective: What the search makes as good as possible.
        command: The command line, without the places of files.
    """
    best = best_of(rows, objective)
    folder.write(TABLE, _csv(rows, config))
    folder.write(TEXT, search_text(rows, best, objective.title, command))
    with optional_picture(folder.folder / PICTURE, lambda text: warnings.warn(InputWarning(text), stacklevel=2)):
        figure = _chart(rows, best, config, objective)
        with folder.written(PICTURE) as partial:
            figure.savefig(partial, dpi=120)
    if best is not None:
        lines = "".join(f"# {line}".rstrip() + "\n" for line in _note(rows, best, objective, command))
        folder.write(BEST, f"{lines}\n{dump_config(config_with(config, best.values, TABLE))}")


def _chart(rows, best, config, objective):
    from tfreg.tuning.chart import Axis, search_chart

    axes = [
        Axis(key, (values.low, values.high), values.scale)
        if isinstance(values, SearchRange)
        else Axis(key, tuple(json.dumps(value) for value in values))
        for key, values in searched(config).items()
    ]
    return search_chart(rows, axes, best, objective.title, objective.direction)


def _csv(rows, config):
    """The text of the table: one line a trial, in the order in which they began."""
    keys = list(searched(config))
    lines = []
    for row in rows:
        values = [row.values[key] for key in keys]
        values = [value if isinstance(value, int | float | str) else json.dumps(value) for value in values]
        metrics = (row.outcome.metric(name) for name in METRICS)
        lines.append([row.trial, *values, row.objective, *metrics, row.continues, row.status, row.outcome.error])
    return table_text(["trial", *keys, "objective", *METRICS, "continues", "status", "error"], lines)


def _note(rows, best, objective, command):
    """What best.yaml says of itself."""
    completed = [row for row in rows if row.status == "completed"]
    outcome = best.outcome
    metrics = [f"{objective.title} {best.objective:.4g}"]
    if outcome.dice is not None and objective.metric != "dice":
        metrics.append(f"Dice {outcome.dice:.4f}")
    if outcome.tre_mm is not None and objective.metric != "tre_mm":
        metrics.append(f"TRE {outcome.tre_mm:.2f} mm")
    metrics.append(f"folds at {outcome.folding_fraction:.3%} of the voxels")
    return [
        f"The best of {len(completed)} trials over {', '.join(best.values)}:",
        *(f"  {key}: {json.dumps(value)}" for key, value in best.values.items()),
        "",
        f"  {command}",
        "",
        f"Measured, trial {best.trial}, {outcome.epochs} epochs: {', '.join(metrics)}.",
    ]
