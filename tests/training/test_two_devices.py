"""Two devices that share a batch train as one device does."""

import json
import subprocess
import sys

import keras
import pytest

TRAIN = """
import json

import numpy as np
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import keras

from tfreg.config import Config, Loss, Model
from tfreg.training.build_model import build_model

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
config = Config(
    model=Model(encoder_filters=(4, 6), encoder_dilations=(1, 3), squeeze_ratio=4, decoder_filters=(5, 4)),
    loss=Loss(similarity="lncc", window=5, alpha=1e-3, beta=1e-5, smoothness=0.01),
)
LABELS = (1, 2)


class Pairs(keras.utils.PyDataset):
    num_batches = 2

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        fixed, moving = rng.random((2, 2, 9, 14, 11, 1), "float32")
        zeros = np.zeros((2, 1), "float32")
        labels = rng.integers(0, 3, (2, 9, 14, 11, 2))
        targets = {"warped": fixed, "displacement": labels, "linear": zeros, "gradients": zeros}
        return {"fixed": fixed, "moving": moving}, {name: targets[name] for name in model.output}


def train(model):
    model.set_weights(weights)
    return model.fit(Pairs(), verbose=0, shuffle=False).history, model.get_weights()


strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    shared = build_model(config, LABELS)
model = build_model(config, LABELS)
weights = [weight + 0.05 * rng.standard_normal(weight.shape) for weight in model.get_weights()]
one, one_weights = train(model)
two, two_weights = train(shared)
difference = max(float(np.abs(a - b).max()) for a, b in zip(one_weights, two_weights))
moved = max(float(np.abs(a - b).max()) for a, b in zip(one_weights, weights))
print("RESULT" + json.dumps({"one": one, "two": two, "difference": difference, "moved": moved}))
"""


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="MirroredStrategy is TensorFlow's")
def test_two_devices_train_as_one():
    result = subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout.partition("RESULT")[2])
    assert set(found["one"]) == set(found["two"])
    for name, values in found["one"].items():
        assert found["two"][name] == pytest.approx(values, rel=1e-4), name
    assert found["moved"] > 1e-3
    assert found["difference"] < 1e-4
