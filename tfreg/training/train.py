"""`tfreg train`: from a config and a subjects manifest to a run."""

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tfreg.config import Config
from tfreg.errors import UserError
from tfreg.io.folders.folder_lock import locked_folder
from tfreg.io.folders.whole_file import whole_file
from tfreg.io.network_weights import assign_weights, read_weights
from tfreg.io.tables.training_people import TrainingPeople
from tfreg.io.training_report import REPORT, TrainingReport
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources
from tfreg.training.build_model import build_model, create_state, reads_once, strategy_of
from tfreg.training.callbacks import training_callbacks
from tfreg.training.fit import fit
from tfreg.training.pretrain import pretrain
from tfreg.training.run_folder import START_WEIGHTS, check_inputs, check_run, start_run
from tfreg.training.run_report import LAST, report_of
from tfreg.training.splits import pairs_by_split
from tfreg.training.start import read_start
from tfreg.training.volumes import label_values, read_volumes, taught_labels


def train(
    config: Config,
    data: str | Path | None,
    run: str | Path,
    *,
    start: str | Path | None = None,
    resources: Resources | None = None,
    several_gpus: bool = False,
    devices: Sequence[str] | None = None,
    progress: Progress = NO_PROGRESS,
) -> TrainingReport:
    """Trains the registration network, without ground truth or on simulated pairs; goes on where a run stopped.

    Args:
        config: A `tfreg.config.Config`; its seed counts.
        data: Subjects manifest (CSV). Its `split` column says "train" and "validation"; without one, a
            fifth of the subjects is held out. None with pairs `simulated`.
        run: Folder of the run, created; an unfinished run with the same config is resumed.
        start: Weights to begin with: another run, or an .npz file; None begins with random ones. A run that is
            resumed goes on from its own.
        resources: A `Resources`, or None for the defaults; its seed does not count.
        several_gpus: Splits every batch over all GPUs (TensorFlow's MirroredStrategy).
        devices: Names of the TensorFlow devices to split every batch over instead, such as "GPU:1".
        progress: Is told how many batches are done, and after each epoch its losses.

    Returns:
        What report.json says, a `TrainingReport`; where `training.seconds` were over before the last epoch, of the
        epochs so far, `finished` is False, and the next call goes on.

    Raises:
        UserError: If config, manifest, volumes and run do not fit together.
        WorkError: If the training diverges; the best model until then stays in the run, which is not finished.

    Example:
        >>> config = tfreg.load_config("run/config.yaml", ["model.transform=linear", "training.epochs=1"])
        >>> report = tfreg.train(config, "chests/subjects.csv", "trained")
        >>> report.epochs
        1
        >>> tfreg.load_run("trained").name
        'trained'
    """
    run, resources = Path(run), replace(resources or Resources(), seed=config.seed)
    _check_data(config, data, several_gpus or devices)
    check_run(run, config)
    with locked_folder(run) as check, resources.limited():
        check_run(run, config)  # what another process had begun until it was locked
        weights = None if start is None else read_start(start)
        if config.pairs == "simulated":
            resources.set_up()
            report = pretrain(config, run, check, weights, progress)
        else:
            report = _train(config, data, run, check, weights, resources, (several_gpus, devices), progress)
        if report.finished:
            # Its presence says that the run is finished.
            with whole_file(run / REPORT, durable=True) as partial:
                partial.write_text(report.text(), encoding="utf-8")
            (run / START_WEIGHTS).unlink(missing_ok=True)
    return report


def _check_data(config, data, several_devices):
    """Refuses what simulated pairs do not need, and others lack."""
    if config.pairs != "simulated":
        if data is None:
            raise UserError("--data: name a subjects manifest (CSV), or set pairs: simulated in the config")
        return
    if data is not None:
        raise UserError("--data: pairs `simulated` in the config need none; leave it out")
    if several_devices:
        raise UserError("--several-gpus: simulated pairs are trained on one device; leave the option out")


def _train(config, data, run, check, start, resources, devices, progress):
    """Trains in a folder that is locked."""
    pairs = pairs_by_split(config, data)
    inputs = check_inputs(run, *pairs, start)
    resources.set_up()

    images, labels = read_volumes([*pairs[0], *pairs[1]], config)
    values = label_values(pairs[1], labels)
    if config.training.monitor == "val_dice" and not values:
        raise UserError(f"{data}: training.monitor is val_dice, but no validation pair has labels; use val_loss")

    strategy = strategy_of(config, *devices)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = build_model(config, values, taught_labels(config, pairs[0], labels, data))
        if start is not None:
            assign_weights(model, start.weights, start.name)
    training_set, validation_set = _data_sets(config, pairs, images, labels, list(model.output), strategy)

    start_run(run, config, inputs, start)
    TrainingPeople.of_pairs(*pairs).save(run)
    started = time.perf_counter()
    over = False
    with own_keras_settings():
        callbacks, state = training_callbacks(run, config, training_set, check)
        with strategy.scope() if strategy else contextlib.nullcontext():
            finished_epochs = state.restore(model)
            if not finished_epochs and (run / START_WEIGHTS).is_file():
                assign_weights(model, read_weights(run / START_WEIGHTS), run / START_WEIGHTS)
        if finished_epochs < config.training.epochs and not state.stopped:
            if reads_once(strategy):  # elsewhere Keras does it itself
                create_state(model)
            over = fit(run, config, model, (training_set, validation_set), callbacks, finished_epochs, progress)
    check()
    model.save(run / LAST)
    report = report_of(run, config, model, pairs, time.perf_counter() - started, finished_epochs or None)
    return report.changed(finished=False) if over else report


def _data_sets(config, pairs, images, labels, outputs, strategy):
    """The batches to learn from, and those to be measured on."""
    from tfreg.training.pair_dataset import PairDataset, PairSource

    source, settings = PairSource(images, labels, config.preprocessing), config.training
    training_set = PairDataset(
        source,
        pairs[0],
        settings.batch_size,
        settings.steps_per_epoch,
        outputs,
        config.augmentation,
        config.seed,
        settings.workers if reads_once(strategy) else 1,
    )
    # No device may stay without a pair: where they do not divide evenly, all are repeated equally often.
    replicas = strategy.num_replicas_in_sync if strategy else 1
    repeats = replicas // math.gcd(len(pairs[1]), replicas)
    return training_set, PairDataset(source, pairs[1] * repeats, replicas, None, outputs)
