"""The files that an evaluation ends with: writing and reading."""

import json

from tfreg.errors import UserError
from tfreg.evaluation.store import read_rows
from tfreg.evaluation.summary import COMPARED, FIGURES, LABEL_FIGURES, figure, labels_of, lost_labels_of
from tfreg.evaluation.text import evaluation_text
from tfreg.io.tables.csv_tables import table_text
from tfreg.registration.result import without_nan

TABLES, SUMMARY, MEASUREMENTS, PICTURES = "tables.md", "summary.json", "measurements.csv", "pictures"


def write_evaluation(store, found):
    """Writes tables, summary and measurements.

    Args:
        store: A `Store`.
        found: What summary.json shall say (see `tfreg.evaluation.text.evaluation_text`).
    """
    store.write(MEASUREMENTS, measurements(store.rows.values()))
    store.write(TABLES, evaluation_text(found))
    store.write(SUMMARY, json.dumps(without_nan(found), indent=2) + "\n")


def read_evaluation(folder):
    """Reads an evaluation for its page.

    Args:
        folder: Its `Path`.

    Returns:
        What summary.json says, and a dictionary of experiment to a list of `tfreg.evaluation.page.Measured`.

    Raises:
        UserError: If a file is missing or damaged.
    """
    from tfreg.evaluation.page import Measured

    file = folder / SUMMARY
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        measured = {name: [] for name in found["experiments"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: cannot be read, or is damaged; run `tfreg evaluate` again") from error
    for row in read_rows(folder):
        if row["experiment"] in measured and row["method"] in found["experiments"][row["experiment"]]["methods"]:
            measured[row["experiment"]].append(
                Measured(
                    row["pair"],
                    row["method"],
                    {name: figure(row, FIGURES[name]) for name in COMPARED},
                    row.get("verdict"),
                    tuple(row.get("reasons", ())),
                    row.get("error"),
                )
            )
    return found, measured


def measurements(rows):
    """The text of the CSV file with one line a pair and method.

    Args:
        rows: The store's rows.

    Returns:
        A string.
    """
    rows = sorted(rows, key=lambda row: (row["experiment"], row["method"], row["pair"]))
    labels = sorted({label for row in rows for label in labels_of(row)}, key=int)
    texts = ("experiment", "method", "pair", "fixed_subject", "moving_subject")
    told = ("seen_in_training", "labels", "lost_labels", "certified", "verdict", "reasons", "warnings", "error")
    columns = {name: (path, None) for name, path in FIGURES.items()}
    columns |= {f"{name}_{label}": (path, label) for label in labels for name, path in LABEL_FIGURES.items()}
    lines = []
    for row in rows:
        values = [figure(row, path, label) for path, label in columns.values()]
        numbers = ["" if value is None else f"{value:.6g}" for value in values]
        row = row | {name: "; ".join(row.get(name, ())) for name in ("reasons", "warnings")}
        row["seen_in_training"] = _seen(row)
        if lost_labels_of(row) is not None:
            row |= {"labels": len(labels_of(row)), "lost_labels": "; ".join(lost_labels_of(row))}
        lines.append([*(row[name] for name in texts), *numbers, *(row.get(name, "") for name in told)])
    return table_text([*texts, *columns, *told], lines)


def _seen(row):
    """ "train", "validation" or "no" for a pair of which the network has seen somebody or nobody; "" if not known."""
    seen = row.get("seen")
    if seen is None:
        return ""
    return next((split for split in ("train", "validation") if split in seen.values()), "no")
