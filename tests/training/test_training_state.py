"""A training that stops anywhere goes on from the last finished epoch, with every counter."""

import json
import os
import shutil

import keras
import numpy as np
import pytest

from tfreg.errors import UserError
from tfreg.training import training_state
from tfreg.training.training_state import TrainingState

KEEP = {
    "reduce": ("best", "wait", "cooldown_counter"),
    "stop": ("best", "wait", "best_epoch", "stopped_epoch"),
    "best": ("best",),
}
# No improvement after the second epoch but for one: patience runs out where one wrong counter shows.
VALUES = [1.0, 0.5, 0.8, 0.7, 0.6, 0.4, 0.9, 0.8, 0.7, 0.6, 0.6, 0.6]


class Killed(BaseException):
    """Ends a training where a test wants it."""


class ScriptedLoss(keras.callbacks.Callback):
    """Replaces the validation loss by a list, so that the schedule is known."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = VALUES[epoch]


class Training:
    """A tiny model with the callbacks of `tfreg train`, in a folder."""

    def __init__(self, folder, epochs=12, extra=()):
        self.folder = folder
        self.epochs = epochs
        keras.utils.set_random_seed(5)
        self.model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
        self.model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse", run_eagerly=True)  # nothing to trace
        monitored = {"monitor": "val_loss", "mode": "min"}
        self.callbacks = {
            "reduce": keras.callbacks.ReduceLROnPlateau(**monitored, factor=0.1, patience=2, cooldown=1, min_delta=0),
            "stop": keras.callbacks.EarlyStopping(**monitored, patience=5),
            "best": keras.callbacks.ModelCheckpoint(str(folder / "model.keras"), **monitored, save_best_only=True),
        }
        self.state = TrainingState(
            folder / "state",
            {self.callbacks[name]: attributes for name, attributes in KEEP.items()},
            files=[folder / "model.keras", folder / "history.csv"],
        )
        self.logger = keras.callbacks.CSVLogger(str(folder / "history.csv"), append=True)
        self.list = [ScriptedLoss(), *self.callbacks.values(), self.logger, self.state, *extra]

    def run(self):
        """Restores and goes on; returns the number of epochs that were finished before."""
        finished = self.state.restore(self.model)
        x, y = np.random.default_rng(0).random((2, 8, 3)).astype("float32")
        if finished < self.epochs and not self.state.stopped:
            self.model.fit(
                x, y[:, :1], epochs=self.epochs, initial_epoch=finished, shuffle=False, verbose=0, callbacks=self.list
            )
        return finished

    def run_until_killed(self):
        with pytest.raises(Killed):
            self.run()
        self.logger.csv_file.close()  # as the end of the process would

    def result(self):
        """All that an interruption must not change."""
        best = keras.saving.load_model(self.folder / "model.keras").get_weights()
        return {
            "history": (self.folder / "history.csv").read_text(),
            "weights": [w.tolist() for w in self.model.get_weights()],
            "optimiser": [np.asarray(v).tolist() for v in self.model.optimizer.variables],
            "best weights": [w.tolist() for w in best],
        }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A finished training; `snapshots / N` holds what a kill after epoch N would have left."""
    folder, snapshots = tmp_path_factory.mktemp("uninterrupted"), tmp_path_factory.mktemp("snapshots")

    def snapshot(epoch, logs):
        shutil.copytree(folder, snapshots / str(epoch + 1))

    training = Training(folder, extra=[keras.callbacks.LambdaCallback(on_epoch_end=snapshot)])
    assert training.run() == 0
    training.snapshots = snapshots
    return training


@pytest.fixture
def killed_after(uninterrupted, tmp_path):
    """A function that makes the folder of a training killed after an epoch, counted from 1."""

    def killed_after(epoch):
        return shutil.copytree(uninterrupted.snapshots / str(epoch), tmp_path / f"killed after {epoch}")

    return killed_after


def test_the_scripted_schedule_reduces_and_stops(uninterrupted):
    history = np.genfromtxt(uninterrupted.folder / "history.csv", delimiter=",", names=True)
    assert len(history) == 11  # 5 epochs without improvement on epoch 6
    np.testing.assert_allclose(history["learning_rate"], [0.1] * 4 + [0.01] * 4 + [0.001] * 2 + [0.0001], rtol=1e-5)
    assert uninterrupted.callbacks["stop"].stopped_epoch == 10


@pytest.mark.parametrize("epoch", [1, 4, 6, 8, 10])
def test_a_kill_after_any_epoch_changes_nothing(uninterrupted, killed_after, epoch):
    again = Training(killed_after(epoch))
    assert again.run() == epoch
    assert again.result() == uninterrupted.result()


def test_a_second_kill_changes_nothing(uninterrupted, killed_after):
    folder = killed_after(2)

    def kill(epoch, logs):
        if epoch == 3:
            raise Killed

    Training(folder, extra=[keras.callbacks.LambdaCallback(on_epoch_end=kill)]).run_until_killed()
    again = Training(folder)
    assert again.run() == 4
    assert again.result() == uninterrupted.result()


def steps_of_saving(monkeypatch, stop_before):
    """Numbers everything that TrainingState writes, renames or deletes, and ends training before one of them."""
    done = []

    def counted(function):
        def call(*args, **kwargs):
            if len(done) == stop_before:
                raise Killed
            done.append(function.__name__)
            return function(*args, **kwargs)

        return call

    for module, name in ((shutil, "copyfile"), (shutil, "rmtree"), (os, "replace")):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    monkeypatch.setattr(keras.Model, "save_weights", counted(keras.Model.save_weights))
    monkeypatch.setattr(training_state.Path, "write_text", counted(training_state.Path.write_text))
    return done


@pytest.mark.parametrize("stop_before", range(7))
def test_a_kill_between_any_two_writes_leaves_a_state(uninterrupted, killed_after, stop_before):
    folder = killed_after(4)
    training = Training(folder)
    training.state.restore(training.model)
    training.state.restore = lambda model: 4
    with pytest.MonkeyPatch.context() as patch:
        done = steps_of_saving(patch, stop_before)
        training.run_until_killed()
    assert done == ["rmtree", "save_weights", "write_text", "copyfile", "copyfile", "replace", "rmtree"][:stop_before]
    again = Training(folder)
    assert again.run() == (5 if stop_before == 6 else 4)
    assert again.result() == uninterrupted.result()


@pytest.mark.parametrize("file", ["state.weights.h5", "callbacks.json"])
@pytest.mark.parametrize("size", [0, 20])
def test_a_damaged_state_is_named_and_nothing_is_changed(killed_after, file, size):
    folder = killed_after(6)
    damaged = folder / "state" / "epoch-00006"
    (damaged / file).write_bytes((damaged / file).read_bytes()[:size])
    before = (folder / "history.csv").read_bytes(), (folder / "model.keras").read_bytes()
    again = Training(folder)
    with pytest.raises(UserError) as caught:
        again.run()
    assert str(caught.value).startswith(f"{damaged}: cannot be restored (")
    assert str(caught.value).endswith(f"delete {folder / 'state'}, and the training begins anew")
    assert "\n" not in str(caught.value)
    assert ((folder / "history.csv").read_bytes(), (folder / "model.keras").read_bytes()) == before


def test_a_state_is_on_disk_before_it_counts(killed_after, monkeypatch):
    """Each of its files, and the folder, before the renaming; and the folder above after it."""
    folder, done = killed_after(4), []
    rename = os.replace
    monkeypatch.setattr(training_state, "on_disk", lambda path: done.append(path.name))
    monkeypatch.setattr(os, "replace", lambda source, target: (done.append(target.name), rename(source, target)))
    training = Training(folder, epochs=5)
    training.run()
    place = done.index("epoch-00005")
    saved = {"state.weights.h5", "callbacks.json", "model.keras", "history.csv", "unfinished"}
    assert saved <= set(done[:place])
    assert done[place + 1] == "state"


def test_a_process_that_must_not_write_any_more_saves_nothing(killed_after):
    def check():
        raise Killed

    folder = killed_after(4)
    training = Training(folder)
    training.state.check = check
    training.run_until_killed()
    assert [state.name for state in (folder / "state").iterdir()] == ["epoch-00004"]


@pytest.mark.parametrize("file", ["state.weights.h5", "callbacks.json", "model.keras", "history.csv"])
def test_a_truncated_file_of_an_unfinished_save_is_ignored(uninterrupted, killed_after, file):
    folder = killed_after(6)
    unfinished = folder / "state" / "unfinished"
    shutil.copytree(folder / "state" / "epoch-00006", unfinished)
    (unfinished / file).write_bytes((unfinished / file).read_bytes()[:20])
    again = Training(folder)
    assert again.run() == 6
    assert again.result() == uninterrupted.result()
    assert [state.name for state in (folder / "state").iterdir()] == ["epoch-00011"]


def test_the_newest_of_several_states_wins_and_the_others_go(uninterrupted, killed_after):
    folder, older = killed_after(10), killed_after(9)
    # A kill while the older state was being deleted leaves part of it. Names are compared as numbers.
    shutil.move(older / "state" / "epoch-00009", folder / "state" / "epoch-9")
    (folder / "state" / "epoch-9" / "callbacks.json").unlink()
    (folder / "state" / "epoch-next").mkdir()
    again = Training(folder)
    assert again.run() == 10
    assert again.result() == uninterrupted.result()
    assert {state.name for state in (folder / "state").iterdir()} == {"epoch-00011", "epoch-next"}


def test_what_an_unfinished_epoch_wrote_is_gone(uninterrupted, killed_after):
    folder = killed_after(7)
    (folder / "model.keras").write_bytes(b"PK cut short")
    with open(folder / "history.csv", "a") as file:
        file.write("7,0.9,0.0")
    again = Training(folder)
    assert again.state.restore(again.model) == 7
    assert len((folder / "history.csv").read_text().splitlines()) == 8
    assert again.run() == 7
    assert again.result() == uninterrupted.result()
    assert not list(folder.glob("*.part"))


def test_a_kill_in_the_first_epoch_starts_afresh(uninterrupted, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK cut short")
    (tmp_path / "history.csv").write_text("epoch,loss\n0,1.")
    (tmp_path / "state" / "unfinished").mkdir(parents=True)
    training = Training(tmp_path)
    assert training.run() == 0
    assert training.result() == uninterrupted.result()


def test_a_training_that_had_stopped_trains_no_further(uninterrupted, killed_after):
    again = Training(killed_after(11))
    assert again.run() == 11
    assert again.state.stopped
    assert again.result() == uninterrupted.result()


def test_counters_and_bests_are_those_of_the_last_finished_epoch(killed_after):
    folder = killed_after(8)
    saved = json.loads((folder / "state" / "epoch-00008" / "callbacks.json").read_text())
    assert saved["stopped"] is False
    reduce, stop, best = saved["callbacks"]
    assert (reduce["best"], reduce["wait"], reduce["cooldown_counter"]) == (0.4, 0, 1)
    assert (stop["best"], stop["wait"], stop["best_epoch"]) == (0.4, 2, 5)
    assert best == {"best": 0.4}
    again = Training(folder, epochs=8)
    assert again.run() == 8  # nothing left to train
    again.state.on_epoch_begin(8)
    for name, values in zip(KEEP, saved["callbacks"], strict=True):
        assert {key: getattr(again.callbacks[name], key) for key in KEEP[name]} == values
