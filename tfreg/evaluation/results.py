"""The files that an evaluation ends with: writing and reading."""

from collections.abc import Iterable
from pathlib import Path

from tfreg.evaluation.row import LABEL_METRICS, METRICS, SEGMENTATION_METRICS, Row
from tfreg.evaluation.store import Store, read_rows
from tfreg.evaluation.summary import EvaluationSummary
from tfreg.evaluation.text import evaluation_text
from tfreg.io.tables.csv_tables import table_text

TABLES, SUMMARY, MEASUREMENTS, PICTURES = "tables.md", "summary.json", "measurements.csv", "pictures"


def write_evaluation(store: Store, summary: EvaluationSummary) -> None:
    """Writes tables, summary and measurements."""
    store.write(MEASUREMENTS, measurements(store.rows.values()))
    store.write(TABLES, evaluation_text(summary))
    store.write(SUMMARY, summary.text())


def read_evaluation(folder: Path) -> tuple[EvaluationSummary, dict[str, list[Row]]]:
    """Reads an evaluation for its page.

    Args:
        folder: Its `Path`.

    Returns:
        The summary, and a dictionary of experiment to the rows of its methods.

    Raises:
        UserError: If a file is missing or damaged.
    """
    summary = EvaluationSummary.read(folder / SUMMARY)
    rows = {name: [] for name in summary.experiments}
    for row in read_rows(folder):
        if row.experiment in rows and row.method in summary.experiments[row.experiment].methods:
            rows[row.experiment].append(row)
    return summary, rows


def measurements(rows: Iterable[Row]) -> str:
    """The text of the CSV file with one line a pair and method."""
    rows = sorted(rows, key=lambda row: (row.experiment, row.method, row.pair))
    labels = sorted({label for row in rows for label in row.labels}, key=int)
    texts = ("experiment", "method", "pair", "fixed_subject", "moving_subject")
    label_columns = [(name, label) for label in labels for name in LABEL_METRICS]
    segmentations = dict.fromkeys(column for row in rows for column in row.segmentations)
    segmentation_columns = [(name, column) for column in segmentations for name in SEGMENTATION_METRICS]
    lines = []
    for row in rows:
        values = [row.metric(name) for name in METRICS]
        values += [row.label_metric(name, label) for name, label in label_columns]
        values += [row.segmentation_metric(name, column) for name, column in segmentation_columns]
        numbers = ["" if value is None else f"{value:.6g}" for value in values]
        lines.append([*(getattr(row, name) for name in texts), *numbers, *_remarks(row).values()])
    columns = [*texts, *METRICS, *(f"{name}_{label}" for name, label in label_columns)]
    columns += [f"{name}_of_{column}" for name, column in segmentation_columns]
    return table_text([*columns, *REMARKS], lines)


REMARKS = ("seen_in_training", "labels", "lost_labels", "certified", "verdict", "reasons", "warnings", "error")


def _remarks(row):
    """What a row says besides numbers, by `REMARKS`."""
    warped = row.quality.labels is not None
    values = (
        _seen(row),
        len(row.labels) if warped else "",
        "; ".join(row.quality.lost_labels),
        "" if row.certified is None else row.certified,
        row.verdict or "",
        "; ".join(row.reasons),
        "; ".join(row.warnings),
        row.error or "",
    )
    return dict(zip(REMARKS, values, strict=True))


def _seen(row):
    """ "train", "validation" or "no" for a pair of which the network has seen somebody or nobody; "" if not known."""
    if row.seen is None:
        return ""
    return next((split for split in ("train", "validation") if split in row.seen.values()), "no")
