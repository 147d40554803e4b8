"""`tfreg train`: from a config and a subjects manifest to a run."""

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tfreg.config import Config
from tfreg.errors import UserError, WorkError
from tfreg.io.folders.folder_lock import locked_folder
from tfreg.io.folders.whole_file import whole_file
from tfreg.io.tables.training_people import TrainingPeople
from tfreg.io.training_report import REPORT, TrainingReport
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources
from tfreg.training.build_model import build_model, create_state, reads_once, strategy_of
from tfreg.training.callbacks import training_callbacks
from tfreg.training.run_folder import check_inputs, check_run, start_run
from tfreg.training.run_report import LAST, MODEL, read_history, report_of
from tfreg.training.splits import pairs_by_split
from tfreg.training.volumes import label_values, read_volumes


def train(
    config: Config,
    data: str | Path,
    run: str | Path,
    *,
    resources: Resources | None = None,
    several_gpus: bool = False,
    devices: Sequence[str] | None = None,
    progress: Progress = NO_PROGRESS,
) -> TrainingReport:
    """Trains the registration network without ground truth; goes on where an interrupted run stopped.

    Args:
        config: A `tfreg.config.Config`; its seed counts.
        data: Subjects manifest (CSV). Its `split` column says "train" and "validation"; without one, a
            fifth of the subjects is held out.
        run: Folder of the run, created; an unfinished run with the same config is resumed.
        resources: A `Resources`, or None for the defaults; its seed does not count.
        several_gpus: Splits every batch over all GPUs (TensorFlow's MirroredStrategy).
        devices: Names of the TensorFlow devices to split every batch over instead, such as "GPU:1".
        progress: Is told how many batches are done, and after each epoch its losses.

    Returns:
        What report.json says, a `TrainingReport`.

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
    check_run(run, config)
    with locked_folder(run) as check, resources.limited():
        check_run(run, config)  # what another process had begun until it was locked
        return _train(config, data, run, check, resources, several_gpus, devices, progress)


def _train(config, data, run, check, resources, several_gpus, devices, progress):
    """Trains in a folder that is locked."""
    pairs = pairs_by_split(config, data)
    inputs = check_inputs(run, *pairs)
    resources.set_up()

    images, labels = read_volumes([*pairs[0], *pairs[1]], config)
    values = label_values(pairs[1], labels)
    if config.training.monitor == "val_dice" and not values:
        raise UserError(f"{data}: training.monitor is val_dice, but no validation pair has labels; use val_loss")

    strategy = strategy_of(config, several_gpus, devices)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = build_model(config, values)
    training_set, validation_set = _data_sets(config, pairs, images, labels, list(model.output), strategy)

    start_run(run, config, inputs)
    TrainingPeople.of_pairs(*pairs).save(run)
    started = time.perf_counter()
    with own_keras_settings():
        callbacks, state = training_callbacks(run, config, training_set, check)
        with strategy.scope() if strategy else contextlib.nullcontext():
            finished_epochs = state.restore(model)
        if finished_epochs < config.training.epochs and not state.stopped:
            if reads_once(strategy):  # elsewhere Keras does it itself
                create_state(model)
            _fit(run, config, model, training_set, validation_set, callbacks, finished_epochs, progress)
    check()
    model.save(run / LAST)
    report = report_of(run, config, model, pairs, time.perf_counter() - started, finished_epochs or None)
    # Its presence says that the run is finished.
    with whole_file(run / REPORT, durable=True) as partial:
        partial.write_text(report.text(), encoding="utf-8")
    return report


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


def _fit(run, config, model, training_set, validation_set, callbacks, finished_epochs, progress):
    """Goes through the epochs; metrics that are not finite end them with one line."""
    from tfreg.training.epoch_callbacks import Diverged, EpochProgress

    settings = config.training
    with progress.stage("training", settings.epochs * settings.steps_per_epoch) as advance:
        if finished_epochs:
            advance(finished_epochs * settings.steps_per_epoch)
        callbacks = [*callbacks, EpochProgress(advance, settings.epochs)]
        try:
            model.fit(
                training_set,
                validation_data=validation_set,
                epochs=settings.epochs,
                initial_epoch=finished_epochs,
                callbacks=callbacks,
                shuffle=False,  # the pairs are random already; Keras would shuffle the batches anew after a resume
                verbose=0,
            )
        except Diverged as error:
            for callback in callbacks:
                callback.on_train_end()  # which closes what they write
            raise WorkError(
                f"{run}: the training {error}; {_best_until_now(run, config)}; train into another folder with a lower "
                "training.learning_rate, or look for volumes with odd values"
            ) from error


def _best_until_now(run, config):
    """What an unfinished run holds."""
    if not (run / MODEL).is_file():
        return "no epoch before it ended, and the run holds no model"
    _, best = read_history(run, config)
    return f"{run / MODEL} is the best model until then, of epoch {int(best['epoch']) + 1}"
