"""A training that begins with other weights, and labels that teach."""

import json
import shutil

import keras
import numpy as np
import pytest
from training_runs import QUICK, changed, history_of, tiny

from tfreg.errors import UserError
from tfreg.io.digests import file_digest
from tfreg.io.network_weights import write_weights
from tfreg.io.tables.manifest import read_subjects, write_subjects
from tfreg.registration.trained_run import load_run
from tfreg.training.build_model import build_model
from tfreg.training.start import read_start
from tfreg.training.train import train

SHORT = {"epochs": 1, "steps_per_epoch": 1, "learning_rate": 1e-9}


def arrays(model):
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.variables}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Weights that no training makes, in an .npz file."""
    model, rng = build_model(tiny(model=QUICK)), np.random.default_rng(4)
    for variable in model.trainable_variables:
        variable.assign(rng.standard_normal(variable.shape) * 0.1)
    file = tmp_path_factory.mktemp("first") / "first.npz"
    write_weights(file, model)
    return file, arrays(model)


@pytest.fixture(scope="module")
def started(first, data, tmp_path_factory):
    """A run of one step that hardly changes the weights, on another grid and with another loss."""
    run = tmp_path_factory.mktemp("started") / "run"
    grid = {"orientation": "RAS", "spacing": 24, "shape": (16, 14, 16)}
    config = tiny(
        model=QUICK, training=SHORT, loss={"similarity": "ncc"}, preprocessing={"network_grid": grid, "init": "centre"}
    )
    train(config, data, run, start=first[0])
    return run, config


def test_the_weights_are_those_of_the_file(first, started):
    run, _ = started
    for name, array in arrays(load_run(run).network).items():
        np.testing.assert_allclose(array, first[1][name], atol=1e-6, err_msg=name)
    recorded = json.loads((run / "inputs.json").read_text())["start"]
    assert recorded == {"name": "first.npz", "sha256": file_digest(first[0])}
    assert not (run / "start.npz").exists()


def test_a_run_is_a_start_too(started, first):
    start = read_start(started[0])
    assert (start.name, start.sha256) == ("run", file_digest(started[0] / "model.keras"))
    assert set(start.weights) == set(first[1])
    for name, array in arrays(load_run(started[0]).network).items():
        np.testing.assert_array_equal(array, start.weights[name])


def test_an_interrupted_run_goes_on_without_its_start(first, data, tmp_path, monkeypatch):
    """Killed before its first epoch was done: the weights are in the run."""
    run, config, copy = tmp_path / "run", tiny(model=QUICK, training=SHORT), tmp_path / "copy.npz"
    shutil.copyfile(first[0], copy)
    with monkeypatch.context() as patch:
        patch.setattr("tfreg.training.train.fit", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(config, data, run, start=copy)
    other = tmp_path / "other.npz"
    write_weights(other, build_model(config))
    with pytest.raises(UserError, match=r"other\.npz: is not what .*run was begun with, which is those of copy\.npz"):
        train(config, data, run, start=other)
    copy.unlink()
    train(config, data, run)
    for name, array in arrays(load_run(run).network).items():
        np.testing.assert_allclose(array, first[1][name], atol=1e-6, err_msg=name)
    assert json.loads((run / "inputs.json").read_text())["start"]["name"] == "copy.npz"


def test_what_does_not_fit_is_refused(first, data, tmp_path):
    run = tmp_path / "run"
    wider = tiny(model=QUICK | {"encoder_filters": (6,)}, training=SHORT)
    with pytest.raises(UserError, match=r"first\.npz: \S+ has shape \S.*, not .*; take the network's own"):
        train(wider, data, run, start=first[0])
    deeper = tiny(model=QUICK | {"decoder_filters": (5, 5)}, training=SHORT)
    with pytest.raises(UserError, match=r"first\.npz: lacks decoder_2/\S+, as weights of another network do"):
        train(deeper, data, run, start=first[0])
    for path in (tmp_path, tmp_path / "no.npz", tmp_path / "no"):
        with pytest.raises(UserError, match=r"holds no weights to start from|does not exist"):
            train(tiny(model=QUICK), data, run, start=path)
    (tmp_path / "model.keras").write_text("nothing")
    with pytest.raises(UserError, match="is not a Keras model"):
        read_start(tmp_path)
    assert not (run / "config.yaml").exists()


def test_labels_teach(data, tmp_path):
    """One pair of the training has no labels; what counts of the others is 1 - Dice, and no label is needed after."""
    subjects = read_subjects(data)
    bare = next(subject for subject in subjects if subject.split == "train")
    table = data.with_name("some_labels.csv")
    write_subjects(table, [changed(s, labels=None) if s.image == bare.image else s for s in subjects])
    loss = {"similarity": "mse", "alpha": 0, "beta": 0, "dice": 1.0}
    config = tiny(model=QUICK, loss=loss, augmentation={}, training={"epochs": 3, "steps_per_epoch": 4})
    train(config, table, tmp_path / "run")
    history = history_of(tmp_path / "run")
    assert "val_displacement_loss" in history
    # The labels overlap by more than a half, and not wholly.
    assert 0.02 < history["val_displacement_loss"][0] < 0.5
    assert history["val_displacement_loss"][-1] < history["val_displacement_loss"][0]
    assert load_run(tmp_path / "run").config.loss.dice == 1.0


def test_labels_that_are_nowhere(data, tmp_path):
    config = tiny(model=QUICK, loss={"dice": 1.0, "dice_labels": (77,)})
    with pytest.raises(UserError, match=r"loss.dice is set, but no training pair has such labels; set loss.dice to 0"):
        train(config, data, tmp_path / "run")


def test_the_weights_that_ship():
    start, run = read_start("weights"), load_run("weights")
    assert (start.name, start.sha256) == ("zero_shot_v0.npz", run.sha256)
    expected = arrays(run.network)
    assert start.weights.keys() == expected.keys()
    for name, array in start.weights.items():
        np.testing.assert_array_equal(array, expected[name])
