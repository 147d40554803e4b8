"""Training learns, follows the paper's schedule, and leaves a run that other commands use."""

import hashlib
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from training_runs import QUICK, TINY, changed, history_of, needs_tensorflow, tiny

from tfreg.config import Config, parse_config
from tfreg.errors import InputWarning, UserError, WorkError
from tfreg.io.digests import voxels_digest
from tfreg.io.formats import read_volume
from tfreg.io.tables.manifest import read_subjects, write_subjects
from tfreg.io.training_report import TrainingReport
from tfreg.metrics.overlap import dice_by_label
from tfreg.preprocessing.aligned_pair import labels_onto_network_grid, prepare_pair
from tfreg.registration.trained_run import load_run
from tfreg.training.build_model import build_model
from tfreg.training.pair_dataset import PairDataset
from tfreg.training.run_folder import check_inputs
from tfreg.training.run_report import read_history
from tfreg.training.splits import pairs_by_split
from tfreg.training.train import train


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
        patch.setattr("tfreg.training.train.report_of", lambda *given: (_ for _ in ()).throw(Interruption))
        with pytest.raises(Interruption):
            train(config, data, run)
    assert not (run / "report.json").exists()
    before = (run / "history.csv").read_text()
    (run / "history.csv").write_text(before + "99,0.1,")
    (run / "model.keras").write_bytes((run / "model.keras").read_bytes()[:300])
    report = train(config, data, run)
    assert (run / "history.csv").read_text() == before  # it had stopped: not one epoch more
    return run, config, report


def validation_of(network, config, data):
    """Loss, and Dice of the labels, that a network reaches on the validation pairs, by NumPy.

    The pairs are prepared as `tfreg register` prepares them.
    """
    losses, overlaps = [], []
    for pair in pairs_by_split(config, data)[1]:
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
    optimizer = build_model(parse_config({"model": TINY["model"]})).optimizer
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
    loss, dice = validation_of(build_model(config), config, data)  # untrained: the identity
    history = history_of(run)
    assert history["val_loss"].min() < loss / 2
    assert history["val_displacement_dice"].max() > dice + 0.03


def test_best_and_last_checkpoint_are_those_of_their_epochs(trained, data):
    run, config, report = trained
    history = history_of(run)
    best = int(np.argmin(history["val_loss"]))
    assert 0 < best < len(history["val_loss"]) - 1
    assert report.best == {name: values[best] for name, values in history.items()}
    for file, epoch in ((run, best), (run / "last.keras", -1)):
        loss, dice = validation_of(load_run(file).network, config, data)
        assert loss == pytest.approx(history["val_loss"][epoch], rel=1e-3)
        assert dice == pytest.approx(history["val_displacement_dice"][epoch], abs=2e-3)


def test_a_training_that_diverges_ends_with_its_last_good_model(data, tmp_path, monkeypatch):
    """In its second epoch the images are not finite: that epoch leaves nothing, and no report says done."""
    config = tiny(model=QUICK, training={"epochs": 3, "steps_per_epoch": 2})
    whole, wrong = PairDataset.__getitem__, np.nan

    def spoiled(dataset, index):
        inputs, targets = whole(dataset, index)
        if dataset.steps and dataset.epoch == 1:
            inputs["moving"] = np.where(inputs["moving"] > 0, inputs["moving"], np.float32(wrong))
        return inputs, targets

    monkeypatch.setattr(PairDataset, "__getitem__", spoiled)
    run = tmp_path / "run"
    with pytest.raises(WorkError, match=r"run: the training diverged in epoch 2: .*loss is .*best .* of epoch 1"):
        train(config, data, run)
    assert not (run / "report.json").exists()
    assert len(history_of(run)["epoch"]) == 1
    assert all(np.isfinite(weight).all() for weight in load_run(run).network.get_weights())
    wrong = np.inf
    with pytest.raises(WorkError, match="diverged in epoch 2"):  # not finished, and not silently done
        train(config, data, run)
    monkeypatch.undo()
    assert train(config, data, run).resumed_after_epoch == 1


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
    assert TrainingReport.read(run / "report.json") == report
    history = history_of(run)
    assert report.epochs == report.resumed_after_epoch == len(history["epoch"])
    assert report.model_sha256 == hashlib.sha256((run / "model.keras").read_bytes()).hexdigest()
    assert report.model_sha256 == load_run(run).sha256
    assert report.parameters == load_run(run).network.count_params()
    assert (report.training_pairs, report.validation_pairs, report.seed) == (3, 3, 0)
    assert report.versions["keras"] == keras.__version__
    assert report.seconds > 0
    assert load_run(run).config == config
    assert str(data.parent) not in (run / "report.json").read_text() + (run / "config.yaml").read_text()


def test_a_run_records_its_people(trained, data):
    """Under their names, with their images' content, and no place of a file."""
    run, _, _ = trained
    recorded = json.loads((run / "subjects.json").read_text())
    assert recorded.pop("format") == 1
    assert set(recorded) == {"train", "validation"}
    for split, people in recorded.items():
        subjects = [subject for subject in read_subjects(data) if subject.split == split]
        assert people == {
            name: sorted(voxels_digest(s.image) for s in subjects if s.subject == name)
            for name in sorted({subject.subject for subject in subjects})
        }
    assert str(data.parent) not in (run / "subjects.json").read_text()


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
    report = train(config, folder / "subjects.csv", folder / "run")
    return folder / "run", report


def test_without_labels_there_is_no_dice(unlabelled):
    run, report = unlabelled
    history = history_of(run)
    assert [name for name in history if "dice" in name] == []
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(history["val_loss"]).all()
    assert (report.training_pairs, report.validation_pairs) == (4 * 3, 2)
    assert report.resumed_after_epoch is None


def test_bfloat16_keeps_coordinates_in_float32(unlabelled, rng):
    network = load_run(unlabelled[0]).network
    assert network.get_layer("encoder").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}
    fixed, moving = rng.random((2, 1, 20, 16, 18, 1)).astype(np.float32)
    predicted = network.predict_on_batch({"fixed": fixed, "moving": moving})
    assert {np.asarray(value).dtype for value in predicted.values()} == {np.dtype("float32")}
    assert np.abs(predicted["displacement"]).max() > 0


def test_predicted_displacements_are_trained_by_the_same_losses(data, tmp_path):
    """What `tfreg train` writes registers; of the expected error no loss says anything, so that it stays one voxel."""
    config = tiny(
        model={**TINY["model"], "head": "displacement", "transform": "deformable"},
        training={"epochs": 6, "stop_patience": 6},
    )
    train(config, data, tmp_path / "run")
    history = history_of(tmp_path / "run")
    assert history["val_loss"].min() < 0.9 * history["val_loss"][0]
    run = load_run(tmp_path / "run")
    assert run.config == config
    pair = pairs_by_split(config, data)[1][0]
    prepared = prepare_pair(read_volume(pair.fixed), read_volume(pair.moving), config.preprocessing)
    deformation = run.predict(prepared).deformation
    assert np.abs(deformation.displacements).max() > 0.5
    np.testing.assert_array_equal(deformation.expected_error, 1)


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
    assert "inputs.json: cannot be read, or is damaged; name another folder, or delete this run" in refusal(
        config, data, unfinished
    )
    (unfinished / "inputs.json").write_bytes(before[Path("inputs.json")])
    assert content(unfinished) == before
    (unfinished / "inputs.json").unlink()
    pairs = pairs_by_split(config, data)
    with pytest.warns(InputWarning, match="says nothing of the data that it was begun with"):
        inputs = check_inputs(unfinished, *pairs)
    assert inputs.text().encode() == before[Path("inputs.json")]
