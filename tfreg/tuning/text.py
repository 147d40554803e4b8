"""A search in words and a table."""

import json

from tfreg.report.table import Table

NOTHING = "–"
# A row's name: what the table calls it, and how many digits to show.
FIGURES = {
    "dice": ("Dice", "{:.4f}"),
    "tre_mm": ("TRE mm", "{:.2f}"),
    "similarity_loss": ("similarity loss", "{:.4g}"),
    "folding_fraction": ("folds", "{:.3%}"),
    "best_epoch": ("best epoch", "{}"),
    "epochs": ("epochs", "{}"),
    "seconds": ("seconds", "{:.0f}"),
    "peak_memory_gib": ("GiB", "{:.2f}"),
}


def search_text(rows, best, objective, command):
    """The Markdown text of a search.

    Args:
        rows: Dictionaries, one a trial: `trial`, `status`, `values` (dotted key to value), the figures of `FIGURES`,
            `resumed_after_epoch`, `continues` and `error`.
        best: The best of them, or None.
        objective: What the search made as good as possible.
        command: The command line.

    Returns:
        A string.
    """
    lines = [f"# Search for the best {objective}", "", f"Command: `{command}`", ""]
    if best is not None:
        values = ", ".join(f"`{key}` {json.dumps(value)}" for key, value in best["values"].items())
        lines += [f"Best: trial {best['trial']} with {values}: {objective} {best['objective']:.4g}.", ""]
    lines += trial_table(rows).markdown()
    lines += [
        "",
        "Dice, similarity loss: of the best epoch on the validation pairs, on the network grid. TRE, folds: of that "
        "epoch's model; folds are the voxels of the network grid where a determinant of the displacement is not "
        "positive, before any damping. Seconds, GiB: of the trial's process; of a resumed trial, since the resume.",
    ]
    failures = [f"- Trial {row['trial']} failed: {row['error']}." for row in rows if row["error"]]
    return "\n".join([*lines, *([""] if failures else []), *failures]) + "\n"


def trial_table(rows):
    """Every trial with its values and figures, as a `Table`; columns that say nothing are left out."""
    keys = list(rows[0]["values"]) if rows else []
    shown = {name: told for name, told in FIGURES.items() if any(row[name] is not None for row in rows)}
    cells = [
        (
            row["trial"],
            (
                *(_value(row["values"][key]) for key in keys),
                *(NOTHING if row[name] is None else form.format(row[name]) for name, (_, form) in shown.items()),
                _status(row),
            ),
        )
        for row in rows
    ]
    return Table((*keys, *(title for title, _ in shown.values()), "status"), tuple(cells), "trial")


def _value(value):
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _status(row):
    text = row["status"]
    if row["continues"] is not None:
        text += f", continues {row['continues']}"
    if row["resumed_after_epoch"] and row["continues"] is None:
        text += f", resumed after epoch {row['resumed_after_epoch']}"
    return text
