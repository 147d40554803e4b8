"""What a process of `tfreg tune` does: one trial, an ordinary training, and its measures."""

import json
import math
import multiprocessing
import os
import shutil
import threading
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from tfreg.config import Config, dump_config
from tfreg.errors import UserError
from tfreg.io.folders.folder_lock import LOCK
from tfreg.io.folders.whole_file import on_disk
from tfreg.io.formats import read_points, read_volume
from tfreg.metrics.landmarks import landmark_errors_mm
from tfreg.preprocessing.aligned_pair import prepare_pair
from tfreg.registration.trained_run import load_run
from tfreg.runtime.native_output import STDERR, STDOUT, silenced
from tfreg.training.train import pairs_by_split, train
from tfreg.transforms.certificate import folding_fraction

# Of a run, what says that it is finished.
FINISHED = ("report.json", "last.keras")
LONGEST = 300  # characters of an error that are kept


@dataclass(frozen=True)
class TrialTask:
    """One trial to be run.

    Args:
        config: The `tfreg.config.Config` drawn for it.
        data: Subjects manifest.
        run: Folder of the run; an unfinished one goes on.
        figure: Name of the figure that is the objective.
        earlier: The finished run with the same values and fewer epochs that it continues, or None.
        threads, device: See `tfreg.runtime.resources.set_up`.
    """

    config: Config
    data: Path
    run: Path
    figure: str
    earlier: Path | None = None
    threads: int | None = None
    device: str | None = None


def run_trial(task):
    """Trains and measures; whatever goes wrong is in the result.

    Args:
        task: A `TrialTask`.

    Returns:
        A dictionary that JSON holds: `error`, one line, or the figures of `trained_figures` and `validation_figures`.
    """
    _end_with_parent()
    try:
        with silenced(STDOUT, STDERR):
            return _measured(task)
    # One trial that fails, whatever the reason, must not cost the others.
    except Exception as error:
        return {"error": _reason(error, task)}


def trained_figures(report):
    """What a run's report says of a trial.

    Args:
        report: The content of report.json.

    Returns:
        A dictionary: `dice` (None without labels) and `similarity_loss` of the best epoch, `best_epoch`, `epochs`,
        `seconds`, `peak_memory_gib` and `resumed_after_epoch`.
    """
    best = report["best"]
    return {
        "dice": best.get("val_displacement_dice"),
        "similarity_loss": best["val_warped_loss"],
        "best_epoch": int(best["epoch"]) + 1,
        **{name: report[name] for name in ("epochs", "seconds", "peak_memory_gib", "resumed_after_epoch")},
    }


def validation_figures(run, pairs):
    """What a run's best model does to the validation pairs, beyond what training logs.

    Args:
        run: A `TrainedRun`.
        pairs: List of `PairFiles`.

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


def continue_run(earlier, run, config):
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


def _measured(task):
    if task.earlier is not None and not task.run.exists():
        continue_run(task.earlier, task.run, task.config)
    report = _finished(task.run / "report.json")
    if report is None:
        report = train(task.config, task.data, task.run, threads=task.threads, device=task.device, progress=False)
    figures = trained_figures(report)
    figures |= validation_figures(load_run(task.run), pairs_by_split(task.config, task.data)[1])
    if not math.isfinite(figures[task.figure]):
        raise FloatingPointError(f"{task.figure} is not finite")
    return figures


def _finished(file):
    """The content of a run's report.json, or None where it is not there, or damaged: its end is trained again."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        file.unlink(missing_ok=True)
        return None


def _end_with_parent():
    """Ends this process when its parent is killed: nothing else may write to the run when the search goes on."""
    parent = multiprocessing.parent_process()

    def watch():
        wait([parent.sentinel])
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


def _reason(error, task):
    """One line on what went wrong, with the names of files but not their folders."""
    text = " ".join(str(error).split())
    for folder in (task.run.parent, task.data.parent):
        text = text.replace(f"{folder}/", "")
    return text[:LONGEST] if isinstance(error, UserError) else f"{type(error).__name__}: {text[:LONGEST]}"
