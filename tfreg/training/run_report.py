"""What a run says of its training: its history, epoch by epoch, and its report."""

import csv
import hashlib
import math

from tfreg.errors import UserError
from tfreg.runtime.resources import versions

HISTORY, MODEL = "history.csv", "model.keras"
METRICS = {"val_loss": "val_loss", "val_dice": "val_displacement_dice"}


def read_history(run, config):
    """Reads how a training went.

    Args:
        run: The run's `Path`.
        config: Its `tfreg.config.Config`.

    Returns:
        The epochs, a list of dictionaries of figure to number, and the best of them by `training.monitor`.

    Raises:
        UserError: If the file is missing or damaged, or no epoch has a finite figure.
    """
    file, metric = run / HISTORY, METRICS[config.training.monitor]
    try:
        lines = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
        rows = [{name: float(value) for name, value in line.items()} for line in lines]
        choose = min if config.training.monitor == "val_loss" else max
        return rows, choose((row for row in rows if math.isfinite(row[metric])), key=lambda row: row[metric])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: is missing, damaged, or without a finite {metric}; train into another folder"
        ) from error


def run_report(run, config, model):
    """What report.json says of the model and its history.

    Args:
        run: The run's `Path`.
        config: Its `tfreg.config.Config`.
        model: The `keras.Model`.

    Returns:
        A dictionary.

    Raises:
        UserError: If the history or the best model is missing or damaged.
    """
    rows, best = read_history(run, config)
    if not (run / MODEL).is_file():
        raise UserError(f"{run / MODEL}: is missing; train into another folder")
    return {
        "versions": versions(),
        "seed": config.seed,
        "parameters": model.count_params(),
        "epochs": len(rows),
        "best": best,
        "model_sha256": hashlib.sha256((run / MODEL).read_bytes()).hexdigest(),
    }
