"""Training learns, follows the paper's schedule, survives SIGKILL, and leaves a run that other commands use."""

import csv
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest

from tfreg import cli
from tfreg.config import Config, dump_config, parse_config
from tfreg.errors import InputWarning, UserError, WorkError
from tfreg.io.folders.content import content_digest
from tfreg.io.folders.folder_lock import locked_folder
from tfreg.io.formats import read_volume, write_volume
from tfreg.io.tables.manifest import read_subjects, write_subjects
from tfreg.metrics.overlap import dice_by_label
from tfreg.preprocessing.aligned_pair import labels_onto_network_grid, prepare_pair
from tfreg.registration.trained_run import load_run
from tfreg.training import train as workflow
from tfreg.training.pair_dataset import PairDataset
from tfreg.training.run_folder import check_inputs
from tfreg.training.run_report import read_history
from tfreg.volumes.volume import Volume

TINY = {
    "preprocessing": {
        "network_grid": {"orientation": "RAS", "spacing": 20, "shape": (20, 16, 18)},
        "intensity": {"window": (0, 1300)},
        "init": "centre",
    },
    "pairs": {"moving": "inhale", "fixed": "exhale"},
    "model": {"encoder_filters": (4, 6), "encoder_dilations": (1, 2), "squeeze_ratio": 4, "decoder_filters": (5,)},
    "loss": {"alpha": 1e-4, "beta": 1e-7, "smoothness": 0.01},
    "augmentation": {"flip_axes": (0,), "rotation_degrees": 5, "moving_translation": 1},
}
TRAINING = {"learning_rate": 0.02, "steps_per_epoch": 6, "epochs": 40}
# Nothing but the image is sampled: the quickest to compile.
QUICK = {**TINY["model"], "transform": "deformable", "integration": "axiswise"}
needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is about TensorFlow")


def tiny(**changes):
    """A config that trains in seconds; `training` is changed key by key, other blocks as a whole."""
    training = {**TRAINING, **changes.pop("training", {})}
    return parse_config({**TINY, "training": training, **changes})


def history_of(run):
    """The columns of history.csv by name."""
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@pytest.fixture
def manifest(data, tmp_path):
    """A function that writes the data's manifest with some subjects changed, beside nothing else."""

    def manifest(change):
        subjects = [change(subject) for subject in read_subjects(data)]
        write_subjects(tmp_path / "subjects.csv", [subject for subject in subjects if subject is not None])
        return tmp_path / "subjects.csv"

    return manifest


def changed(subject, **values):
    return type(subject)(**{**vars(subject), **values})


class Interruption(BaseException):
    """Ends a training where a test wants it."""


SCHEDULE = {"learning_rate_factor": 1e-9, "learning_rate_patience": 2, "stop_patience": 5}


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A finished run: interrupted between the last epoch and the report, its files damaged, and resumed.

    The second learning rate changes nothing any more, so that patience must run out.
    """
    run = tmp_path_factory.mktemp("trained") / "run"
    config = tiny(training=SCHEDULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "run_report", lambda *given: (_ for _ in ()).throw(Interruption))
        with pytest.raises(Interruption):
            workflow.train(config, data, run, progress=False)
    assert not (run / "report.json").exists()
    before = (run / "history.csv").read_text()
    (run / "history.csv").write_text(before + "99,0.1,")
    (run / "model.keras").write_bytes((run / "model.keras").read_bytes()[:300])
    report = workflow.train(config, data, run, progress=False)
    assert (run / "history.csv").read_text() == before  # it had stopped: not one epoch more
    return run, config, report


def validation_of(network, config, data):
    """Loss, and Dice of the labels, that a network reaches on the validation pairs, by NumPy.

    The pairs are prepared as `tfreg register` prepares them.
    """
    losses, overlaps = [], []
    for pair in workflow.pairs_by_split(config, data)[1]:
        prepared = prepare_pair(read_volume(pair.fixed), read_volume(pair.moving), config.preprocessing)
        inputs = {"fixed": prepared.fixed[None, ..., None], "moving": prepared.moving[None, ..., None]}
        predicted = {name: np.asarray(value)[0] for name, value in network.predict_on_batch(inputs).items()}
        penalty = config.loss.alpha * np.abs(predicted["linear"] - np.eye(3, 4)).sum()
        penalty += config.loss.beta * np.abs(predicted["gradients"] - 1).sum()
        roughness = sum((np.diff(predicted["gradients"], axis=axis) ** 2).mean() for axis in range(3))
        similarity = np.mean((prepared.fixed - predicted["warped"][..., 0]) ** 2)
        losses.append(similarity + penalty + config.loss.smoothness * roughness)

        labels = [
            labels_onto_network_grid(read_volume(file, labels=True), prepared.lattice, world_map)
            for file, world_map in ((pair.fixed_labels, None), (pair.moving_labels, prepared.init))
        ]
        places = np.stack(np.indices(prepared.lattice.shape), axis=-1) + predicted["displacement"]
        nearest = np.clip(np.floor(places + 0.5).astype(int), 0, np.array(prepared.lattice.shape) - 1)
        warped = labels[1][tuple(np.moveaxis(nearest, -1, 0))]
        overlaps.append(np.mean(list(dice_by_label(labels[0], warped).values())))
    return np.mean(losses), np.mean(overlaps)


def test_the_schedule_is_the_papers_by_default():
    training = Config().training
    assert (training.learning_rate, training.learning_rate_factor) == (1e-3, 0.1)
    assert (training.learning_rate_patience, training.stop_patience) == (50, 100)
    assert (training.batch_size, training.steps_per_epoch) == (2, 100)
    assert (training.monitor, Config().loss.similarity) == ("val_loss", "mse")
    optimizer = workflow.build_model(parse_config({"model": TINY["model"]})).optimizer
    assert type(optimizer) is keras.optimizers.Adam
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)


def test_the_schedule_acts(trained):
    """Replays: learning rate times the factor after `learning_rate_patience` epochs without improvement, stop
    after `stop_patience`.
    """
    run, config, _ = trained
    history, settings = history_of(run), config.training
    rate, waited, reduced_at, best = settings.learning_rate, 0, 0, np.inf
    for epoch, value in enumerate(history["val_loss"]):
        assert history["learning_rate"][epoch] == pytest.approx(rate)
        assert waited < settings.stop_patience
        waited = 0 if value < best else waited + 1
        reduced_at = 0 if value < best else reduced_at + 1
        best = min(best, value)
        if reduced_at == settings.learning_rate_patience:
            rate, reduced_at = rate * settings.learning_rate_factor, 0
    assert waited == settings.stop_patience
    assert len(history["epoch"]) < settings.epochs
    assert history["learning_rate"][-1] < history["learning_rate"][0]


def test_training_learns(trained, data):
    run, config, _ = trained
    loss, dice = validation_of(workflow.build_model(config), config, data)  # untrained: the identity
    history = history_of(run)
    assert history["val_loss"].min() < loss / 2
    assert history["val_displacement_dice"].max() > dice + 0.03


def test_best_and_last_checkpoint_are_those_of_their_epochs(trained, data):
    run, config, report = trained
    history = history_of(run)
    best = int(np.argmin(history["val_loss"]))
    assert 0 < best < len(history["val_loss"]) - 1
    assert report["best"] == {name: values[best] for name, values in history.items()}
    for file, epoch in ((run, best), (run / "last.keras", -1)):
        loss, dice = validation_of(load_run(file).network, config, data)
        assert loss == pytest.approx(history["val_loss"][epoch], rel=1e-3)
        assert dice == pytest.approx(history["val_displacement_dice"][epoch], abs=2e-3)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_training_that_diverges_ends_with_its_last_good_model(data, tmp_path, monkeypatch, wrong):
    """In its second epoch the images hold what is not a number: that epoch leaves nothing, and no report says done."""
    config = tiny(model=QUICK, training={"epochs": 3, "steps_per_epoch": 2})
    whole = PairDataset.__getitem__

    def spoiled(dataset, index):
        inputs, targets = whole(dataset, index)
        if dataset.steps and dataset.epoch == 1:
            inputs["moving"] = np.where(inputs["moving"] > 0, inputs["moving"], np.float32(wrong))
        return inputs, targets

    monkeypatch.setattr(PairDataset, "__getitem__", spoiled)
    run = tmp_path / "run"
    with pytest.raises(WorkError, match=r"run: the training diverged in epoch 2: .*loss is .*best .* of epoch 1"):
        workflow.train(config, data, run, progress=False)
    assert not (run / "report.json").exists()
    assert len(history_of(run)["epoch"]) == 1
    assert all(np.isfinite(weight).all() for weight in load_run(run).network.get_weights())
    with pytest.raises(WorkError, match="diverged in epoch 2"):  # not finished, and not silently done
        workflow.train(config, data, run, progress=False)
    monkeypatch.undo()
    assert workflow.train(config, data, run, progress=False)["resumed_after_epoch"] == 1


def test_a_history_that_cannot_be_believed_is_one_line(tmp_path):
    config = tiny()
    for content in ("", "epoch,val_loss\n", "epoch,val_loss\n0,nan\n", "epoch,val_loss\n0,", "epoch,loss\n0,1\n"):
        (tmp_path / "history.csv").write_text(content)
        with pytest.raises(UserError, match=r"history\.csv: is missing, damaged, or without a finite val_loss"):
            read_history(tmp_path, config)
    (tmp_path / "history.csv").write_text("epoch,val_loss\n0,3\n1,nan\n2,2\n")
    assert read_history(tmp_path, config)[1]["epoch"] == 2


def test_report(trained, data):
    run, config, report = trained
    assert json.loads((run / "report.json").read_text()) == report
    history = history_of(run)
    assert report["epochs"] == report["resumed_after_epoch"] == len(history["epoch"])
    assert report["model_sha256"] == hashlib.sha256((run / "model.keras").read_bytes()).hexdigest()
    assert report["model_sha256"] == load_run(run).sha256
    assert report["parameters"] == load_run(run).network.count_params()
    assert (report["training_pairs"], report["validation_pairs"], report["seed"]) == (3, 3, 0)
    assert report["versions"]["keras"] == keras.__version__
    assert report["seconds"] > 0
    assert load_run(run).config == config
    assert str(data.parent) not in (run / "report.json").read_text() + (run / "config.yaml").read_text()


def test_a_run_records_its_people(trained, data):
    """Under their names, with their images' content, and no place of a file."""
    run, _, _ = trained
    found = json.loads((run / "subjects.json").read_text())
    assert set(found) == {"train", "validation"}
    for split, people in found.items():
        subjects = [subject for subject in read_subjects(data) if subject.split == split]
        assert people == {
            name: sorted(content_digest(s.image) for s in subjects if s.subject == name)
            for name in sorted({subject.subject for subject in subjects})
        }
    assert str(data.parent) not in (run / "subjects.json").read_text()


def test_who_is_left_out_and_who_is_twice_there(data, manifest):
    first = read_subjects(data)[0]
    path = manifest(lambda subject: changed(subject, split=None) if subject.subject == first.subject else subject)
    with pytest.warns(InputWarning, match=f"in no split, and left out: {first.id}"):
        assert first.subject not in people(workflow.pairs_by_split(tiny(), path)[0], path)

    other = next(s for s in read_subjects(data) if s.split != first.split and s.phase == first.phase)
    path = manifest(lambda subject: changed(subject, image=first.image) if subject.id == other.id else subject)
    with pytest.raises(UserError, match="are the same image, of"):
        workflow.pairs_by_split(tiny(), path)
    # Without splits, one of both may be held out.
    path = manifest(lambda s: changed(s, split=None, image=first.image if s.id == other.id else s.image))
    refused = 0
    for seed in range(6):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                workflow.pairs_by_split(tiny(seed=seed), path)
            except UserError:
                refused += 1
            else:
                assert "the same image stands there under several names" in str(told[0].message)
    assert 0 < refused < 6


@needs_tensorflow
def test_tensorboard_has_the_curves(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    run, _, _ = trained
    history = history_of(run)
    for folder, curve, column in (
        ("train", "epoch_loss", "loss"),
        ("validation", "epoch_loss", "val_loss"),
        ("validation", "epoch_displacement_dice", "val_displacement_dice"),
    ):
        events = EventAccumulator(str(run / "tensorboard" / folder))
        events.Reload()
        points = {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(curve)}
        np.testing.assert_allclose([points[epoch] for epoch in history["epoch"]], history[column], rtol=1e-5)


@pytest.fixture(scope="module")
def unlabelled(data, tmp_path_factory):
    """A run in bfloat16 from a manifest without labels and without splits."""
    folder = tmp_path_factory.mktemp("unlabelled")
    write_subjects(folder / "subjects.csv", [changed(s, labels=None, split=None) for s in read_subjects(data)])
    config = tiny(
        model={**TINY["model"], "precision": "mixed_bfloat16"},
        pairs="all",
        phase="inhale",
        training={"epochs": 2, "steps_per_epoch": 2},
    )
    report = workflow.train(config, folder / "subjects.csv", folder / "run", progress=False)
    return folder / "run", report


def test_without_labels_there_is_no_dice(unlabelled):
    run, report = unlabelled
    history = history_of(run)
    assert [name for name in history if "dice" in name] == []
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(history["val_loss"]).all()
    assert (report["training_pairs"], report["validation_pairs"]) == (4 * 3, 2)
    assert report["resumed_after_epoch"] is None


def test_bfloat16_keeps_coordinates_in_float32(unlabelled, rng):
    network = load_run(unlabelled[0]).network
    assert network.get_layer("encoder").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}
    fixed, moving = rng.random((2, 1, 20, 16, 18, 1)).astype(np.float32)
    predicted = network.predict_on_batch({"fixed": fixed, "moving": moving})
    assert {np.asarray(value).dtype for value in predicted.values()} == {np.dtype("float32")}
    assert np.abs(predicted["displacement"]).max() > 0


COMMAND = [sys.executable, "-c", "from tfreg.cli import main; main()", "train"]


def started(config, data, run, log):
    """`tfreg train` in a process of its own, on one thread."""
    command = [*COMMAND, str(config), "--data", str(data), "--run", str(run), "--threads", "1"]
    with log.open("w") as file:
        return subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL)


def kill_when(process, condition):
    """Sends SIGKILL once the condition holds; fails if the process ends before."""
    while not condition():
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def saved_arrays(run):
    """Every array of the last state: weights, moments of Adam, learning rate, steps."""
    import h5py

    (file,) = (run / "state").glob("epoch-*/state.weights.h5")
    arrays = {}
    with h5py.File(file) as content:
        content.visititems(lambda name, item: arrays.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return arrays


@needs_tensorflow
def test_a_training_killed_twice_ends_as_an_uninterrupted_one(data, tmp_path):
    config = tmp_path / "config.yaml"
    patience = {"learning_rate_patience": 1, "stop_patience": 5, "monitor": "val_dice", "epochs": 16}
    config.write_text(dump_config(tiny(model=QUICK, training=patience)))
    whole = started(config, data, tmp_path / "whole", tmp_path / "whole.log")

    run, log = tmp_path / "killed", tmp_path / "killed.log"
    process = started(config, data, run, log)
    kill_when(process, lambda: "epoch 2/" in log.read_text())  # in the third epoch
    assert not (run / "report.json").exists()
    assert whole.wait() == 0

    process = started(config, data, run, log)
    fourth = run / "state" / "epoch-00004"
    kill_when(process, lambda: fourth.exists() and (run / "state" / "unfinished").exists())  # while it saves
    assert "epoch 1/" not in log.read_text()
    assert len(history_of(run)["epoch"]) >= 4

    process = started(config, data, run, log)
    assert process.wait() == 0
    assert (run / "history.csv").read_text() == (tmp_path / "whole" / "history.csv").read_text()
    expected, found = saved_arrays(tmp_path / "whole"), saved_arrays(run)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    reports = [json.loads((folder / "report.json").read_text()) for folder in (tmp_path / "whole", run)]
    assert reports[0]["resumed_after_epoch"] is None
    assert reports[1]["resumed_after_epoch"] >= 4
    for key in ("best", "epochs", "training_pairs", "validation_pairs", "parameters"):
        assert reports[0][key] == reports[1][key]
    for file in ("model.keras", "last.keras"):
        weights = [load_run(folder / file).network.get_weights() for folder in (tmp_path / "whole", run)]
        for array, other in zip(*weights, strict=True):
            np.testing.assert_array_equal(array, other)
    # The patience that was carried over the kills mattered, and the best is the highest Dice.
    history = history_of(run)
    assert len(np.unique(history["learning_rate"])) > 1
    assert 6 <= len(history["epoch"]) < patience["epochs"]
    assert history["epoch"].tolist() == list(range(len(history["epoch"])))
    assert reports[1]["best"]["val_displacement_dice"] == history["val_displacement_dice"].max()


ON_TWO_DEVICES = """
import sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import Path
from tfreg.config import load_config
from tfreg.training.training_state import TrainingState
from tfreg.training.train import train

config, data, folder = load_config(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
train(config, data, folder / "one", progress=False)
save = TrainingState.on_epoch_end

def interrupted(self, epoch, logs=None):
    save(self, epoch, logs)
    raise KeyboardInterrupt

TrainingState.on_epoch_end = interrupted
try:
    train(config, data, folder / "two", devices=["CPU:0", "CPU:1"], progress=False)
except KeyboardInterrupt:
    TrainingState.on_epoch_end = save
report = train(config, data, folder / "two", devices=["CPU:0", "CPU:1"], progress=False)
assert report["resumed_after_epoch"] == 1
"""


@needs_tensorflow
def test_two_devices_train_as_one(data, tmp_path):
    """Batches of two and three validation pairs on two devices, with a resume, give the losses of one device."""
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(tiny(model=QUICK, training={"epochs": 2, "learning_rate": 1e-3})))
    subprocess.run([sys.executable, "-c", ON_TWO_DEVICES, config, data, tmp_path], check=True)
    one, two = history_of(tmp_path / "one"), history_of(tmp_path / "two")
    assert set(one) == set(two)
    for name, values in one.items():
        # Sums over the batch are taken in another order.
        np.testing.assert_allclose(two[name], values, rtol=1e-5, err_msg=name)


def test_batches_that_cannot_be_split_are_refused(data, tmp_path):
    config = tiny(training={"batch_size": 3})
    with pytest.raises(UserError, match=r"batch_size 3 cannot be split over 2 devices"):
        workflow.train(config, data, tmp_path / "run", devices=["CPU:0", "CPU:1"], progress=False)
    with pytest.raises(UserError, match=r"TensorFlow sees 1 GPUs"):
        workflow.train(config, data, tmp_path / "run", devices=["CPU:0"], progress=False)
    assert not (tmp_path / "run").exists()


def people(pairs, data):
    names = {subject.image: subject.subject for subject in read_subjects(data)}
    return {names[image] for pair in pairs for image in (pair.fixed, pair.moving)}


def test_pairs_follow_the_config(data):
    subjects = {s.image: s for s in read_subjects(data)}

    def kinds(**config):
        found = workflow.pairs_by_split(tiny(**config), data)
        for pairs, split in zip(found, ("train", "validation"), strict=True):
            assert {subjects[image].split for pair in pairs for image in (pair.fixed, pair.moving)} == {split}
        sides = [(subjects[pair.moving], subjects[pair.fixed]) for pair in found[0]]
        return len(sides), {(m.phase, f.phase) for m, f in sides}, {m.subject == f.subject for m, f in sides}

    both = {("inhale", "inhale"), ("inhale", "exhale"), ("exhale", "inhale"), ("exhale", "exhale")}
    assert kinds(pairs={"moving": "inhale", "fixed": "exhale"}) == (3, {("inhale", "exhale")}, {True})
    assert kinds(pairs={"moving": "exhale", "fixed": "inhale"}) == (3, {("exhale", "inhale")}, {True})
    assert kinds(pairs="all") == (6 * 4, both, {False})
    assert kinds(pairs="all", phase="exhale") == (3 * 2, {("exhale", "exhale")}, {False})
    assert kinds(pairs="images") == (6 * 5, both, {False, True})


def test_validation_pairs_are_bounded_and_the_same_every_time(data):
    config = tiny(pairs="all", training={"validation_pairs": 5})
    chosen = workflow.pairs_by_split(config, data)[1]
    everything = workflow.pairs_by_split(tiny(pairs="all", training={"validation_pairs": 99}), data)[1]
    assert (len(chosen), len(everything)) == (5, 24)
    assert workflow.pairs_by_split(config, data)[1] == chosen
    places = [everything.index(pair) for pair in chosen]
    assert all(a < b for a, b in pairwise(places))
    assert places != list(range(5))


def test_without_splits_some_people_are_held_out(data, manifest):
    path = manifest(lambda subject: changed(subject, split=None))
    held_out = []
    for seed in range(4):
        training, validation = (
            people(pairs, path) for pairs in workflow.pairs_by_split(tiny(pairs="all", seed=seed), path)
        )
        assert training | validation == people(workflow.pairs_by_split(tiny(pairs="all"), path)[0], path) | people(
            workflow.pairs_by_split(tiny(pairs="all"), path)[1], path
        )
        assert not training & validation
        assert (len(training), len(validation)) == (4, 2)
        held_out.append(tuple(sorted(validation)))
    assert len(set(held_out)) > 1


def test_test_subjects_are_never_used(manifest):
    path = manifest(lambda subject: changed(subject, split="test") if subject.subject == "s002" else subject)
    for pairs in workflow.pairs_by_split(tiny(pairs="all"), path):
        assert "s002" not in people(pairs, path)


def refused(capsys, monkeypatch, *arguments):
    """Runs `tfreg train`, which must end with exit code 2 and one line; returns that line."""
    monkeypatch.setattr(sys, "argv", ["tfreg", "train", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [text for text in captured.err.splitlines() if text.startswith("tfreg: ")]
    assert "Traceback" not in captured.err
    return line.removeprefix("tfreg: error: ")


@pytest.fixture
def refusal(capsys, monkeypatch, tmp_path):
    """A function that gives `tfreg train` a config, data and overrides, and returns the line that it refuses with."""

    def refusal(config, data, run, *overrides):
        path = tmp_path / "config.yaml"
        path.write_text(config if isinstance(config, str) else dump_config(config))
        return refused(capsys, monkeypatch, path, *overrides, "--data", data, "--run", run)

    return refusal


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_folders_that_are_not_this_run_are_refused(trained, data, refusal, tmp_path):
    run, config, _ = trained
    finished = shutil.copytree(run, tmp_path / "finished")
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    (unfinished / "report.json").unlink()
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("precious")
    file = tmp_path / "file"
    file.write_text("precious")
    before = content(tmp_path)
    assert "is a finished run" in refusal(config, data, finished)
    assert "is a run with another config" in refusal(config, data, unfinished, "loss.beta=1e-3")
    assert "holds something else than a run" in refusal(config, data, thesis)
    assert "is a file" in refusal(config, data, file)
    assert "cannot be written" in refusal(config, data, file / "run")
    assert {k: v for k, v in content(tmp_path).items() if k.name != "config.yaml" or len(k.parts) > 1} == before


def test_a_run_in_use_is_refused(data, refusal, tmp_path):
    with locked_folder(tmp_path / "run"):
        line = refusal(tiny(), data, tmp_path / "run")
        assert line.startswith(
            f"{tmp_path / 'run'}: is in use by process {os.getpid()} on {socket.gethostname()} since"
        )
    assert not (tmp_path / "run").exists()


def test_another_table_is_refused(trained, data, manifest, refusal, tmp_path):
    """An interrupted run goes on with the same people only, whatever their files are called."""
    run, config, _ = trained
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    (unfinished / "report.json").unlink()
    before = content(unfinished)
    train = {subject.subject for subject in read_subjects(data) if subject.split == "train"}
    fewer = manifest(lambda subject: None if subject.subject == min(train) else subject)
    assert "was begun with other training pairs, or their files have changed since" in refusal(
        config, fewer, unfinished
    )
    swapped = manifest(lambda s: changed(s, split={"train": "validation", "validation": "train"}[s.split]))
    assert "other training and validation pairs" in refusal(config, swapped, unfinished)
    copy = shutil.copytree(data.parent, tmp_path / "copy")
    points = sorted((copy / "labels").iterdir())[-1]
    points.write_bytes(points.read_bytes() + b"x")
    assert "pairs, or their files have changed" in refusal(config, copy / "subjects.csv", unfinished)
    (unfinished / "inputs.json").write_text("")
    assert "inputs.json: is damaged" in refusal(config, data, unfinished)
    (unfinished / "inputs.json").write_bytes(before[Path("inputs.json")])
    assert content(unfinished) == before
    (unfinished / "inputs.json").unlink()
    pairs = workflow.pairs_by_split(config, data)
    with pytest.warns(InputWarning, match="says nothing of the data that it was begun with"):
        digests = check_inputs(unfinished, *pairs)
    assert digests == json.loads(before[Path("inputs.json")])


@pytest.mark.parametrize(
    ("config", "overrides", "expected"),
    [
        ("training: {epoch: 3}", (), "unknown key `training.epoch`"),
        ("training: {epochs: many}", (), "`training.epochs`"),
        ("pairs: all", ("loss.gamma=1",), "unknown key `loss.gamma`"),
        ("pairs: {moving: inhale, fixed: hold}", (), "no volume has phase 'hold'"),
        ("phase: hold", (), "no volume has phase 'hold'"),
        ("preprocessing: {intensity: {window: [5000, 6000]}}", (), "give another intensity window"),
    ],
)
def test_configs_that_do_not_fit_are_refused(data, refusal, tmp_path, config, overrides, expected):
    assert expected in refusal(config, data, tmp_path / "run", *overrides)
    assert not (tmp_path / "run").exists()


def test_manifests_that_do_not_fit_are_refused(manifest, refusal, tmp_path):
    run = tmp_path / "run"

    def refusal_of(change, **config):
        line = refusal(tiny(**config), manifest(change), run)
        assert line.startswith(str(tmp_path / "subjects.csv"))
        return line

    for split in ("train", "validation"):
        assert "needs subjects in both" in refusal_of(lambda s, split=split: changed(s, split=split))
    few = {"s001", "s002", "s003"}
    assert "fewer than 4 subjects" in refusal_of(lambda s: changed(s, split=None) if s.subject in few else None)
    leak = refusal_of(lambda s: changed(s, split="train" if s.phase == "inhale" else "validation"))
    assert "subject s001 is in `train` and in `validation`" in leak
    unlabelled = {"training": {"monitor": "val_dice"}}
    assert "no validation pair has labels" in refusal_of(lambda s: changed(s, labels=None), **unlabelled)
    only_training = refusal_of(lambda s: s if s.split == "train" else changed(s, labels=None), **unlabelled)
    assert "no validation pair has labels" in only_training

    (tmp_path / "subjects.csv").write_text("id,image\na,a.nii\n")
    assert "subject" in refusal(tiny(), tmp_path / "subjects.csv", run)
    assert "absent.csv" in refusal(tiny(), tmp_path / "absent.csv", run)
    assert not run.exists()


def test_labels_on_another_grid_are_refused(data, manifest, refusal, tmp_path):
    labels = read_volume(read_subjects(data)[0].labels, labels=True)
    shifted = labels.affine.copy()
    shifted[0, 3] += 3  # a fifth of a voxel
    write_volume(tmp_path / "shifted.nii.gz", Volume(labels.array, shifted))
    path = manifest(lambda s: changed(s, labels=tmp_path / "shifted.nii.gz") if s.id == "s001_inhale" else s)
    line = refusal(tiny(), path, tmp_path / "run")
    assert line.startswith(str(tmp_path / "shifted.nii.gz"))
    assert "another grid than its image s001_inhale.nii.gz" in line
    assert not (tmp_path / "run").exists()


def test_network_grids_of_several_shapes_are_refused(data, manifest, refusal, tmp_path):
    image = read_volume(read_subjects(data)[1].image)
    write_volume(tmp_path / "cropped.nii.gz", Volume(image.array[:, :-5], image.affine))
    path = manifest(
        lambda s: changed(s, image=tmp_path / "cropped.nii.gz", labels=None) if s.id == "s001_exhale" else s
    )
    line = refusal(tiny(preprocessing={"network_grid": {"spacing": 20}}), path, tmp_path / "run")
    assert line.startswith(str(tmp_path / "cropped.nii.gz"))
    assert line.endswith("set preprocessing.network_grid.shape")
    assert not (tmp_path / "run").exists()


def test_labels_beyond_32_bits_are_refused(data, manifest, refusal, tmp_path):
    labels = read_volume(read_subjects(data)[0].labels, labels=True)
    large = labels.array.astype(np.int64) * 2**32
    write_volume(tmp_path / "large.nii.gz", labels.with_array(large))
    path = manifest(lambda s: changed(s, labels=tmp_path / "large.nii.gz") if s.id == "s001_inhale" else s)
    line = refusal(tiny(), path, tmp_path / "run")
    assert line.startswith(f"{tmp_path / 'large.nii.gz'}: has labels beyond 32 bits")
