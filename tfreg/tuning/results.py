"""What a search leaves: a table, a picture, and the best config."""

import json
import warnings

from tfreg.config import SearchRange, config_with, dump_config
from tfreg.errors import InputWarning
from tfreg.io.folders.whole_file import whole_file
from tfreg.io.tables.csv_tables import table_text
from tfreg.report.drawing import optional_picture
from tfreg.tuning.space import drawn_values, searched
from tfreg.tuning.text import search_text

TABLE, TEXT, PICTURE, BEST = "trials.csv", "tables.md", "search.png", "best.yaml"
FIGURES = (
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


def row_of(trial, config, figure, outcome, earlier):
    """A trial in one flat dictionary.

    Args:
        trial: A `keras_tuner.engine.trial.Trial`.
        config: The `tfreg.config.Config` from which trials are drawn.
        figure: Name of the figure that is the objective.
        outcome: See `tfreg.tuning.trial.run_trial`, or None while it runs.
        earlier: The trial that it continues, or None.

    Returns:
        A dictionary: `trial`, `status` ("completed", "failed" or "running"), `values` (dotted key to value),
        `objective`, all of `FIGURES`, `continues` and `error`; None where something is not known.
    """
    outcome = outcome or {}
    status = "failed" if "error" in outcome else "completed" if figure in outcome else "running"
    return {
        "trial": trial.trial_id,
        "status": status,
        "values": drawn_values(config, trial.hyperparameters.values),
        "objective": outcome.get(figure),
        **{name: outcome.get(name) for name in FIGURES},
        "continues": earlier,
        "error": outcome.get("error"),
    }


def best_of(rows, objective):
    """The best completed row, or None.

    Args:
        rows: List of rows from `row_of`.
        objective: A `tfreg.tuning.objectives.Objective`.
    """
    completed = [row for row in rows if row["status"] == "completed"]
    return objective.choose(completed, key=lambda row: row["objective"]) if completed else None


def write_search(folder, rows, config, objective, command):
    """Writes table, picture and best config, each whole or not at all.

    Args:
        folder: A `SearchFolder`.
        rows: List of rows from `row_of`.
        config: The `tfreg.config.Config` from which trials are drawn.
        objective: A `tfreg.tuning.objectives.Objective`.
        command: The command line, without the places of files.
    """
    best = best_of(rows, objective)
    folder.write(TABLE, _csv(rows, config))
    folder.write(TEXT, search_text(rows, best, objective.title, command))
    picture = folder.folder / PICTURE
    with optional_picture(picture, lambda text: warnings.warn(InputWarning(text), stacklevel=2)):
        figure = _chart(rows, best, config, objective)
        with whole_file(picture) as partial:
            figure.savefig(partial, dpi=120)
    if best is not None:
        lines = "".join(f"# {line}".rstrip() + "\n" for line in _note(rows, best, objective, command))
        folder.write(BEST, f"{lines}\n{dump_config(config_with(config, best['values'], TABLE))}")


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
    told = ("objective", *FIGURES, "continues", "status", "error")
    lines = []
    for row in rows:
        values = [row["values"][key] for key in keys]
        values = [value if isinstance(value, int | float | str) else json.dumps(value) for value in values]
        lines.append([row["trial"], *values, *(row[name] for name in told)])
    return table_text(["trial", *keys, *told], lines)


def _note(rows, best, objective, command):
    """What best.yaml says of itself."""
    completed = [row for row in rows if row["status"] == "completed"]
    figures = [f"{objective.title} {best['objective']:.4g}"]
    if best["dice"] is not None and objective.figure != "dice":
        figures.append(f"Dice {best['dice']:.4f}")
    if best["tre_mm"] is not None and objective.figure != "tre_mm":
        figures.append(f"TRE {best['tre_mm']:.2f} mm")
    figures.append(f"folds at {best['folding_fraction']:.3%} of the voxels")
    return [
        f"The best of {len(completed)} trials over {', '.join(best['values'])}:",
        *(f"  {key}: {json.dumps(value)}" for key, value in best["values"].items()),
        "",
        f"  {command}",
        "",
        f"Measured, trial {best['trial']}, {best['epochs']} epochs: {', '.join(figures)}.",
    ]
