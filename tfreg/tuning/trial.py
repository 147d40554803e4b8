"""What a process of `tfreg tune` does: one trial, an ordinary training, and its measures."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.config import Config, dump_config
from tfreg.errors import UserError
from tfreg.io.folders.folder_lock import LOCK
from tfreg.io.folders.whole_file import on_disk
from tfreg.io.formats import read_points, read_volume
from tfreg.io.tables.manifest import PairFiles
from tfreg.io.training_report import TrainingReport
from tfreg.metrics.landmarks import landmark_errors_mm
from tfreg.preprocessing.aligned_pair import prepare_pair
from tfreg.registration.predictor import Predictor
from tfreg.registration.trained_run import load_run
from tfreg.runtime.native_output import STDERR, STDOUT, silenced
from tfreg.runtime.processes import error_text
from tfreg.runtime.resources import Resources
from tfreg.training.splits import pairs_by_split
from tfreg.training.train import train
from tfreg.transforms.certificate import folding_fraction
from tfreg.tuning.outcome import TrialOutcome

# Of a run, what says that it is finished.
FINISHED = ("report.json", "last.keras")


@dataclass(frozen=True)
class TrialTask:
    """One trial to be run.

    Args:
        config: The `tfreg.config.Config` drawn for it.
        data: Subjects manifest.
        run: Folder of the run; an unfinished one goes on.
        metric: Name of the metric that is the objective.
        earlier: The finished run with the same values and fewer epochs that it continues, or None.
    """

    config: Config
    data: Path
    run: Path
    metric: str
    earlier: Path | None = None


def run_trial(task: TrialTask, resources: Resources) -> TrialOutcome:
    """Trains and measures; whatever goes wrong is in the outcome.

    Args:
        task: What is run.
        resources: Of the training; its seed is the config's.

    Returns:
        The outcome: an error, or the metrics of `trained_metrics` and `validation_metrics`.
    """
    try:
        with silenced(STDOUT, STDERR):
            return _measured(task, resources)
    # One trial that fails, whatever the reason, must not cost the others.
    except Exception as error:
        return TrialOutcome(error=error_text(error, task, (task.run.parent, task.data.parent)))


def trained_metrics(report: TrainingReport) -> dict[str, Any]:
    """What a run's report says of a trial.

    Args:
        report: Its `TrainingReport`.

    Returns:
        A dictionary of `dice` (None without labels) and `similarity_loss`, of the best epoch on the validation
        pairs; `best_epoch`, counted from 1, and `epochs`, `seconds`, `peak_memory_gib` and `resumed_after_epoch`.
    """
    best = report.best
    return {
        "dice": best.get("val_displacement_dice"),
        "similarity_loss": best["val_warped_loss"],
        "best_epoch": int(best["epoch"]) + 1,
        **{name: getattr(report, name) for name in ("epochs", "seconds", "peak_memory_gib", "resumed_after_epoch")},
    }


def validation_metrics(run: Predictor, pairs: Sequence[PairFiles]) -> dict[str, float | None]:
    """What a run's best model does to the validation pairs, beyond what training logs.

    Args:
        run: What predicts.
        pairs: The validation pairs.

    Returns:
        A dictionary of means over the pairs: `tre_mm` (None where no pair has points), over each pair's landmarks, and
        `folding_fraction`, of the displacement sampled on the network grid.
    """
    errors, folds = [], []
    for pair in pairs:
        prepared = prepare_pair(read_volume(pair.fixed), read_volume(pair.moving), run.config.preprocessing)
        transform = run.predict(prepared)
        folds.append(folding_fraction(transform.displacement_mm(prepared.lattice), prepared.lattice.affine))
        if pair.fixed_points and pair.moving_points:
            points = read_points(pair.fixed_points), read_points(pair.moving_points)
            errors.append(np.linalg.norm(landmark_errors_mm(transform, *points), axis=1).mean())
    return {"tre_mm": float(np.mean(errors)) if errors else None, "folding_fraction": float(np.mean(folds))}


def continue_run(earlier: Path, run: Path, config: Config) -> None:
    """Makes an unfinished run of a finished one, with another number of epochs.

    Args:
        earlier: Folder of the finished run.
        run: The new folder.
        config: The new run's `Config`: the earlier one's but for `training.epochs`.
    """
    partial = run.with_name(f".partial-{run.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(earlier, partial, ignore=shutil.ignore_patterns(*FINISHED, f"{LOCK}*"))
    (partial / "config.yaml").write_text(dump_config(config))
    for path in (*partial.rglob("*"), partial):
        on_disk(path)
    partial.rename(run)


def _measured(task, resources):
    if task.earlier is not None and not task.run.exists():
        continue_run(task.earlier, task.run, task.config)
    report = _finished(task.run / "report.json")
    if report is None:
        report = train(task.config, task.data, task.run, resources=resources)
    metrics = trained_metrics(report)
    metrics |= validation_metrics(load_run(task.run), pairs_by_split(task.config, task.data)[1])
    if not math.isfinite(metrics[task.metric]):
        raise FloatingPointError(f"{task.metric} is not finite")
    return TrialOutcome(**metrics)


def _finished(file):
    """A run's `TrainingReport`, or None where it is not there, or damaged: its end is trained again."""
    try:
        return TrainingReport.read(file)
    except UserError:
        file.unlink(missing_ok=True)
        return None
