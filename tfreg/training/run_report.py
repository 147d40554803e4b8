"""A run's history, epoch by epoch, and the report that is made of it."""

import csv
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfreg.config import Config
from tfreg.errors import UserError
from tfreg.io.digests import file_digest
from tfreg.io.tables.manifest import PairFiles
from tfreg.io.training_report import TrainingReport
from tfreg.runtime.memory import peak_mb
from tfreg.runtime.resources import versions

if TYPE_CHECKING:
    import keras

HISTORY, MODEL, LAST, WEIGHTS = "history.csv", "model.keras", "last.keras", "weights.npz"
METRICS = {"val_loss": "val_loss", "val_dice": "val_displacement_dice"}
FIRST_IS_BEST = "No epoch was better than the first; see history.csv, and lower training.learning_rate."


def read_history(run: Path, config: Config) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Reads how a training went.

    Args:
        run: Folder of the run.
        config: Its config.

    Returns:
        The epochs, dictionaries of metric to number, and the best of them by `training.monitor`.

    Raises:
        UserError: If the file is missing or damaged, or no epoch has a finite metric.
    """
    file, metric = run / HISTORY, METRICS[config.training.monitor]
    try:
        rows = _rows_of(file)
        choose = min if config.training.monitor == "val_loss" else max
        return rows, choose((row for row in rows if math.isfinite(row[metric])), key=lambda row: row[metric])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: is missing, damaged, or without a finite {metric}; train into another folder"
        ) from error


def read_rows(run: Path) -> list[dict[str, float]]:
    """Reads the epochs of a training on simulated pairs, at least one.

    Args:
        run: Folder of the run.

    Raises:
        UserError: If the file is missing or damaged.
    """
    try:
        rows = _rows_of(run / HISTORY)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{run / HISTORY}: is missing or damaged; train into another folder") from error
    if not rows:
        raise UserError(f"{run / HISTORY}: lists no epoch; train into another folder")
    return rows


def _rows_of(file):
    lines = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return [{name: float(value) for name, value in line.items()} for line in lines]


def report_of(
    run: Path,
    config: Config,
    model: "keras.Model",
    pairs: tuple[Sequence[PairFiles], Sequence[PairFiles]],
    seconds: float,
    resumed_after_epoch: int | None,
) -> TrainingReport:
    """The report of a training that has just ended in this process.

    Args:
        run: Folder of the run.
        config: Its config.
        model: The network.
        pairs: Those to learn from, and those to be measured on.
        seconds: That it took.
        resumed_after_epoch: How many epochs were done before it, or None.

    Raises:
        UserError: If the history or the best model is missing or damaged.
    """
    rows, best = read_history(run, config)
    if not (run / MODEL).is_file():
        raise UserError(f"{run / MODEL}: is missing; train into another folder")
    warnings = (FIRST_IS_BEST,) if len(rows) > 1 and best["epoch"] == 0 else ()
    counts = (len(pairs[0]), len(pairs[1]))
    report = measured_report(run, config, model, counts, best, seconds, resumed_after_epoch)
    return report.changed(epochs=len(rows), warnings=warnings)


def measured_report(
    run: Path,
    config: Config,
    model: "keras.Model",
    pairs: tuple[int, int],
    best: dict[str, float],
    seconds: float,
    resumed_after_epoch: int | None,
    finished: bool = True,
) -> TrainingReport:
    """The report of a training whose metrics are known.

    Args:
        run, config, model, seconds, resumed_after_epoch: As of `report_of`.
        pairs: How many to learn from, and to be measured on.
        best: The metrics of the epoch that counts, of which `epoch` is the last.
        finished: False where there is no model yet.
    """
    return TrainingReport(
        versions=versions(),
        seed=config.seed,
        parameters=model.count_params(),
        epochs=int(best["epoch"]) + 1,
        best=best,
        model_sha256=file_digest(run / MODEL) if finished else "",
        training_pairs=pairs[0],
        validation_pairs=pairs[1],
        seconds=round(seconds, 1),
        cpu_seconds=round(time.process_time(), 1),
        peak_memory_gib=round(peak_mb() / 2**10, 2),
        resumed_after_epoch=resumed_after_epoch,
        warnings=(),
        finished=finished,
    )
