"""A training goes on where it was killed, and on two devices, as if nothing had happened."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from training_runs import QUICK, history_of, needs_tensorflow, tiny

from tfreg.config import dump_config
from tfreg.errors import UserError
from tfreg.registration.trained_run import load_run
from tfreg.training.train import train

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
    expected, resumed = saved_arrays(tmp_path / "whole"), saved_arrays(run)
    assert set(resumed) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(resumed[name], array)
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
train(config, data, folder / "one")
save = TrainingState.on_epoch_end

def interrupted(self, epoch, logs=None):
    save(self, epoch, logs)
    raise KeyboardInterrupt

TrainingState.on_epoch_end = interrupted
try:
    train(config, data, folder / "two", devices=["CPU:0", "CPU:1"])
except KeyboardInterrupt:
    TrainingState.on_epoch_end = save
report = train(config, data, folder / "two", devices=["CPU:0", "CPU:1"])
assert report.resumed_after_epoch == 1
"""


@needs_tensorflow
def test_two_devices_train_as_one(data, tmp_path):
    """Batches of two and three validation pairs on two devices, with a resume, give what one device gives."""
    config = tmp_path / "config.yaml"
    training = {"epochs": 2, "steps_per_epoch": 4, "learning_rate": 1e-3}
    config.write_text(dump_config(tiny(model=QUICK | {"transform": "both"}, training=training)))
    subprocess.run([sys.executable, "-c", ON_TWO_DEVICES, config, data, tmp_path], check=True)
    one, two = history_of(tmp_path / "one"), history_of(tmp_path / "two")
    assert set(one) == set(two)
    for name, values in one.items():
        # Sums over the batch are taken in another order.
        np.testing.assert_allclose(two[name], values, rtol=1e-5, atol=1e-9, err_msg=name)
    assert abs(np.diff(one["loss"])) > 1e-4
    weights = [load_run(tmp_path / name / "last.keras").network.get_weights() for name in ("one", "two")]
    for array, other in zip(*weights, strict=True):
        np.testing.assert_allclose(other, array, atol=1e-4)


def test_batches_that_cannot_be_split_are_refused(data, tmp_path):
    config = tiny(training={"batch_size": 3})
    with pytest.raises(UserError, match=r"batch_size 3 cannot be split over 2 devices"):
        train(config, data, tmp_path / "run", devices=["CPU:0", "CPU:1"])
    with pytest.raises(UserError, match=r"TensorFlow sees 1 GPUs"):
        train(config, data, tmp_path / "run", devices=["CPU:0"])
    assert not (tmp_path / "run").exists()
