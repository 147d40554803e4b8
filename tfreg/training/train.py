"""`tfreg train`: from a config and a subjects manifest to a run."""

import contextlib
import json
import math
import resource
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfreg.config import PhasePair
from tfreg.errors import InputWarning, UserError, WorkError
from tfreg.io.folders.folder_lock import locked_folder
from tfreg.io.folders.whole_file import whole_file
from tfreg.io.formats import read_volume
from tfreg.io.tables.manifest import pairs_from_subjects, read_subjects
from tfreg.io.tables.same_files import check_subjects
from tfreg.io.tables.training_people import TrainingPeople
from tfreg.preprocessing.aligned_pair import normalised
from tfreg.preprocessing.network_grid import network_grid
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.runtime.progress import progress_bar
from tfreg.runtime.resources import set_up
from tfreg.spelling import some_of
from tfreg.training.run_folder import check_inputs, check_run, start_run
from tfreg.training.run_report import METRICS, MODEL, read_history, run_report
from tfreg.volumes.lattice import difference

FIRST_IS_BEST = "No epoch was better than the first; see history.csv, and lower training.learning_rate."
HELD_OUT = 0.2  # share of subjects kept for validation where the manifest names no splits


def train(config, data, run, *, threads=None, device=None, several_gpus=False, devices=None, progress=True):
    """Trains the registration network without ground truth; goes on where an interrupted run stopped.

    Args:
        config: A `tfreg.config.Config`.
        data: Subjects manifest (CSV). Its `split` column says "train" and "validation"; without one, a
            fifth of the subjects is held out.
        run: Folder of the run, created; an unfinished run with the same config is resumed.
        threads, device: See `tfreg.runtime.resources.set_up`.
        several_gpus: Splits every batch over all GPUs (TensorFlow's MirroredStrategy).
        devices: Names of the TensorFlow devices to split every batch over instead, such as "GPU:1".
        progress: Shows a progress bar.

    Returns:
        The content of report.json, a dictionary.

    Raises:
        UserError: If config, manifest, volumes and run do not fit together.
        WorkError: If the training diverges; the best model until then stays in the run, which is not finished.
    """
    run = Path(run)
    check_run(run, config)
    with locked_folder(run) as check:
        check_run(run, config)  # what another process had begun until it was locked
        return _train(config, data, run, check, threads, device, several_gpus, devices, progress)


def _train(config, data, run, check, threads, device, several_gpus, devices, progress):
    """Trains in a folder that is locked."""
    train_pairs, validation_pairs = pairs_by_split(config, data)
    digests = check_inputs(run, train_pairs, validation_pairs)
    set_up(config.seed, threads, device)

    from tfreg.training.pair_dataset import PairDataset, PairSource

    images, labels = _volumes(train_pairs + validation_pairs, config)
    _check_shapes(train_pairs + validation_pairs, images, config)
    label_values = _label_values(validation_pairs, labels)
    if config.training.monitor == "val_dice" and not label_values:
        raise UserError(f"{data}: training.monitor is val_dice, but no validation pair has labels; use val_loss")

    source = PairSource(images, labels, config.preprocessing)
    strategy = _strategy(config, several_gpus, devices)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = build_model(config, label_values)
    outputs = list(model.output)
    settings = config.training
    training_set = PairDataset(
        source,
        train_pairs,
        settings.batch_size,
        settings.steps_per_epoch,
        outputs,
        config.augmentation,
        config.seed,
        settings.workers if _reads_once(strategy) else 1,
    )
    # No device may stay without a pair: where they do not divide evenly, all are repeated equally often.
    replicas = strategy.num_replicas_in_sync if strategy else 1
    repeats = replicas // math.gcd(len(validation_pairs), replicas)
    validation_set = PairDataset(source, validation_pairs * repeats, replicas, None, outputs)

    start_run(run, config, digests)
    TrainingPeople.of_pairs(train_pairs, validation_pairs).save(run)
    started = time.perf_counter()
    with progress_bar(progress) as bar, own_keras_settings():
        callbacks, state = _callbacks(run, config, training_set, bar, check)
        with strategy.scope() if strategy else contextlib.nullcontext():
            finished_epochs = state.restore(model)
        if finished_epochs < settings.epochs and not state.stopped:
            _fit(
                run,
                config,
                model,
                training_set,
                validation_data=validation_set,
                epochs=settings.epochs,
                initial_epoch=finished_epochs,
                callbacks=callbacks,
                shuffle=False,  # the pairs are random already; Keras would shuffle the batches anew after a resume
                verbose=0,
            )
    check()
    model.save(run / "last.keras")
    report = run_report(run, config, model)
    report |= {
        "training_pairs": len(train_pairs),
        "validation_pairs": len(validation_pairs),
        "seconds": round(time.perf_counter() - started, 1),  # since the last resume, as the CPU's
        "cpu_seconds": round(time.process_time(), 1),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "resumed_after_epoch": finished_epochs or None,
        "warnings": [FIRST_IS_BEST] if report["epochs"] > 1 and report["best"]["epoch"] == 0 else [],
    }
    # Its presence says that the run is finished.
    with whole_file(run / "report.json", durable=True) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n")
    return report


@own_keras_settings()
def build_model(config, labels=()):
    """Builds and compiles the network that a config describes.

    Args:
        config: A `tfreg.config.Config`.
        labels: Label values whose overlap is measured, or none.

    Returns:
        A compiled `keras.Model`.
    """
    import keras

    from tfreg.losses.regularisers import GradientPenalty, LinearPenalty
    from tfreg.losses.similarities import build_similarity
    from tfreg.losses.warped_dice import WarpedDice
    from tfreg.models.registration_network import build_registration_network
    from tfreg.ops.acceleration import compiles_models

    model = build_registration_network(**config.model.model_dump())
    losses = {"warped": build_similarity(config.loss.similarity, config.loss.window)}
    if "linear" in model.output:
        losses["linear"] = LinearPenalty(config.loss.alpha)
    if "gradients" in model.output:
        losses["gradients"] = GradientPenalty(config.loss.beta, config.loss.smoothness)
    model.compile(
        optimizer=keras.optimizers.Adam(config.training.learning_rate),
        loss=losses,
        metrics={"displacement": [WarpedDice(labels)]} if labels else None,
        jit_compile=compiles_models(),
    )
    return model


def make_pairs(config, subjects, source="subjects"):
    """The pairs that a config makes of subjects.

    Args:
        config: A `tfreg.config.Config`; its `pairs` and `phase` count.
        subjects: List of `tfreg.io.tables.manifest.Subject`.
        source: What error messages call the subjects.

    Returns:
        List of `tfreg.io.tables.manifest.PairFiles`.
    """
    if isinstance(config.pairs, PhasePair):
        return pairs_from_subjects(subjects, config.pairs.moving, config.pairs.fixed, source=source)
    return pairs_from_subjects(subjects, phase=config.phase, same_subject=config.pairs == "images", source=source)


def pairs_by_split(config, data):
    """The pairs that a training learns from, and those that it is measured on.

    Args:
        config: A `tfreg.config.Config`.
        data: Subjects manifest (CSV).

    Returns:
        Two lists of `tfreg.io.tables.manifest.PairFiles`.

    Raises:
        UserError: If the manifest cannot be read, makes no pairs of either kind, or has one image in two splits.
    """
    subjects = read_subjects(data)
    if any(subject.split for subject in subjects):
        training = [subject for subject in subjects if subject.split == "train"]
        validation = [subject for subject in subjects if subject.split == "validation"]
        if not training or not validation:
            raise UserError(f"{data}: column `split` needs subjects in both `train` and `validation`")
        nowhere = [subject.id for subject in subjects if subject.split is None]
        if nowhere:
            warnings.warn(f"{data}: in no split, and left out: {some_of(nowhere)}.", InputWarning, stacklevel=2)
    else:
        names = sorted({subject.subject for subject in subjects})
        if len(names) < 4:
            raise UserError(f"{data}: lists fewer than 4 subjects; fill its column `split` (train, validation)")
        held_out = set(np.random.default_rng(config.seed).permutation(names)[: max(2, int(len(names) * HELD_OUT))])
        training = [subject for subject in subjects if subject.subject not in held_out]
        validation = [subject for subject in subjects if subject.subject in held_out]
        subjects = [replace(s, split="validation" if s.subject in held_out else "train") for s in subjects]
    check_subjects(data, subjects)
    train_pairs = make_pairs(config, training, f"{data}: train")
    validation_pairs = make_pairs(config, validation, f"{data}: validation")
    if len(validation_pairs) > config.training.validation_pairs:
        rng = np.random.default_rng(config.seed)
        chosen = rng.choice(len(validation_pairs), config.training.validation_pairs, replace=False)
        validation_pairs = [validation_pairs[number] for number in sorted(chosen)]
    return train_pairs, validation_pairs


def _volumes(pairs, config):
    """Normalised images and labels of the pairs, by the image's file."""
    files = {}
    for pair in pairs:
        files[pair.fixed] = pair.fixed_labels
        files[pair.moving] = pair.moving_labels
    images = {path: normalised(read_volume(path), config.preprocessing.intensity, path) for path in files}
    labels = {path: read_volume(file, labels=True) for path, file in files.items() if file is not None}
    for path, volume in labels.items():
        if not volume.lattice.same_as(images[path].lattice):
            raise UserError(
                f"{files[path]}: lies on another grid than its image {path.name} "
                f"({difference(volume.lattice, images[path].lattice)}); resample it onto that image"
            )
        if volume.array.dtype.itemsize > 4:
            raise UserError(f"{files[path]}: has labels beyond 32 bits; renumber them")
        # Its own affine may differ by rounding.
        labels[path] = images[path].with_array(volume.array)
    return images, labels


def _label_values(pairs, labels):
    """The values of the labels whose overlap can be measured: those of pairs with labels on both sides."""
    files = {file for pair in pairs if {pair.fixed, pair.moving} <= set(labels) for file in (pair.fixed, pair.moving)}
    return sorted({int(value) for file in files for value in np.unique(labels[file].array)} - {0})


def _check_shapes(pairs, images, config):
    """Refuses pairs that cannot be stacked into batches."""
    grid = config.preprocessing.network_grid
    shapes = {
        pair.fixed: network_grid(images[pair.fixed].lattice, grid.orientation, grid.spacing, grid.shape).shape
        for pair in pairs
    }
    first, *others = shapes
    for other in others:
        if shapes[other] != shapes[first]:
            raise UserError(
                f"{other}: has a network grid of {shapes[other]} voxels, and {first.name} one of {shapes[first]}; "
                "set preprocessing.network_grid.shape"
            )


def _strategy(config, several_gpus, devices):
    """How batches are split over devices, or None for one device."""
    if not (several_gpus or devices):
        return None
    import keras

    if keras.backend.backend() != "tensorflow":
        raise UserError("--several-gpus: needs the TensorFlow backend; unset KERAS_BACKEND")
    import tensorflow as tf

    devices = devices or [device.name for device in tf.config.list_logical_devices("GPU")]
    if len(devices) < 2:
        raise UserError(f"--several-gpus: TensorFlow sees {len(devices)} GPUs here; leave the option out")
    if config.training.batch_size % len(devices):
        raise UserError(
            f"--several-gpus: training.batch_size {config.training.batch_size} cannot be split over "
            f"{len(devices)} devices; set it to a multiple"
        )
    return tf.distribute.MirroredStrategy(devices)


def _reads_once(strategy):
    """False where Keras reads a first batch ahead of `fit`, to build the model.

    Its queue of several workers then hands the batches that it had prepared out again, in later epochs.
    """
    import keras

    return strategy is None and keras.backend.backend() == "tensorflow"


def _callbacks(run, config, training_set, bar, check):
    """The callbacks in the order in which they must act, and the training state among them."""
    import keras

    from tfreg.training.epoch_callbacks import EpochOfData, EpochProgress, FiniteFigures
    from tfreg.training.training_state import TrainingState

    settings = config.training
    monitored = {"monitor": METRICS[settings.monitor], "mode": "min" if settings.monitor == "val_loss" else "max"}
    reduce = keras.callbacks.ReduceLROnPlateau(
        **monitored,
        factor=settings.learning_rate_factor,
        patience=settings.learning_rate_patience,
        min_delta=0,
    )
    stop = keras.callbacks.EarlyStopping(**monitored, patience=settings.stop_patience)
    best = keras.callbacks.ModelCheckpoint(str(run / "model.keras"), **monitored, save_best_only=True)
    state = TrainingState(
        run / "state",
        {
            reduce: ("best", "wait", "cooldown_counter"),
            stop: ("best", "wait", "best_epoch", "stopped_epoch"),
            best: ("best",),
        },
        files=[run / "model.keras", run / "history.csv"],
        check=check,
    )
    callbacks = [EpochOfData(training_set), FiniteFigures(), reduce, stop, best]
    if keras.backend.backend() == "tensorflow":
        callbacks.append(keras.callbacks.TensorBoard(str(run / "tensorboard"), write_graph=False))
    callbacks.append(keras.callbacks.CSVLogger(str(run / "history.csv"), append=True))
    callbacks.append(state)  # last: an epoch counts as done once everything above has been written
    callbacks.append(EpochProgress(bar, settings.epochs, settings.steps_per_epoch))
    return callbacks, state


def _fit(run, config, model, *arguments, **options):
    """`model.fit`, of which a figure that is not finite is told in one line."""
    from tfreg.training.epoch_callbacks import Diverged

    try:
        model.fit(*arguments, **options)
    except Diverged as error:
        for callback in options["callbacks"]:
            callback.on_train_end()  # which closes what they write
        kept = "no epoch before it ended, and the run holds no model"
        if (run / MODEL).is_file():
            _, best = read_history(run, config)
            kept = f"{run / MODEL} is the best model until then, of epoch {int(best['epoch']) + 1}"
        raise WorkError(
            f"{run}: the training {error}; {kept}; train into another folder with a lower training.learning_rate, or "
            "look for volumes with odd values"
        ) from error
