"""A search in words and a table."""

import json
from collections.abc import Sequence

from tfreg.report.table import Table
from tfreg.tuning.outcome import TrialRow

NOTHING = "–"
# A metric's name: what the table calls it, and how many digits it has there.
COLUMNS = {
    "dice": ("Dice", "{:.4f}"),
    "tre_mm": ("TRE mm", "{:.2f}"),
    "similarity_loss": ("similarity loss", "{:.4g}"),
    "folding_fraction": ("folds", "{:.3%}"),
    "best_epoch": ("best epoch", "{}"),
    "epochs": ("epochs", "{}"),
    "seconds": ("seconds", "{:.0f}"),
    "peak_memory_gib": ("GiB", "{:.2f}"),
}


def search_text(rows: Sequence[TrialRow], best: TrialRow | None, objective: str, command: str) -> str:
    """The Markdown text of a search.

    Args:
        rows: One a trial.
        best: The best of them, or None.
        objective: What the search made as good as possible.
        command: The command line.

    Returns:
        A string.
    """
    lines = [f"# Search for the best {objective}", "", f"Command: `{command}`", ""]
    if best is not None:
        values = ", ".join(f"`{key}` {json.dumps(value)}" for key, value in best.values.items())
        lines += [f"Best: trial {best.trial} with {values}: {objective} {best.objective:.4g}.", ""]
    lines += trial_table(rows).markdown()
    lines += [
        "",
        "Dice, similarity loss: of the best epoch on the validation pairs, on the network grid. TRE, folds: of that "
        "epoch's model; folds are the voxels of the network grid where a determinant of the displacement is not "
        "positive, before any damping. Seconds, GiB: of the trial's process; of a resumed trial, since the resume.",
    ]
    failures = [f"- Trial {row.trial} failed: {row.outcome.error}." for row in rows if row.outcome.error]
    return "\n".join([*lines, *([""] if failures else []), *failures]) + "\n"


def trial_table(rows: Sequence[TrialRow]) -> Table:
    """Every trial with its values and metrics; columns that say nothing are left out."""
    keys = list(rows[0].values) if rows else []
    columns = {
        name: column for name, column in COLUMNS.items() if any(row.outcome.metric(name) is not None for row in rows)
    }
    cells = []
    for row in rows:
        metrics = {name: row.outcome.metric(name) for name in columns}
        texts = (NOTHING if value is None else columns[name][1].format(value) for name, value in metrics.items())
        cells.append((row.trial, (*(_value(row.values[key]) for key in keys), *texts, _status(row))))
    return Table((*keys, *(title for title, _ in columns.values()), "status"), tuple(cells), "trial")


def _value(value):
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _status(row):
    text = row.status
    if row.continues is not None:
        text += f", continues {row.continues}"
    if row.outcome.resumed_after_epoch and row.continues is None:
        text += f", resumed after epoch {row.outcome.resumed_after_epoch}"
    return text
