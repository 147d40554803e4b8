"""Keras's GroupNormalization(groups=-1) is the instance normalisation of tensorflow-addons, which it succeeds.

The reference was recorded by record_tfa_instance_normalization.py with tensorflow-addons 0.23.0, whose default
epsilon is 1e-3, added to the variance, as in Keras.
"""

from pathlib import Path

import keras
import numpy as np
import pytest

RECORDED = np.load(Path(__file__).with_name("tfa_instance_normalization.npz"))
TOLERANCE = 1e-5


def normalized(layer):
    """Runs a normalization layer on the recorded inputs with the recorded weights."""
    layer.build(RECORDED["inputs"].shape)
    layer.gamma.assign(RECORDED["gamma"])
    layer.beta.assign(RECORDED["beta"])
    return keras.ops.convert_to_numpy(layer(RECORDED["inputs"]))


def standardized(axes, epsilon):
    """The same computation in float64, over the given axes of `(batch, i, j, k, channel)`."""
    inputs = RECORDED["inputs"].astype("float64")
    mean, variance = inputs.mean(axes, keepdims=True), inputs.var(axes, keepdims=True)
    return (inputs - mean) / np.sqrt(variance + epsilon) * RECORDED["gamma"] + RECORDED["beta"]


def difference(outputs):
    assert outputs.shape == RECORDED["outputs"].shape
    return np.abs(outputs - RECORDED["outputs"]).max()


def test_recording_is_of_the_last_release():
    assert {"tensorflow-addons 0.23.0", "tensorflow 2.15.1"} <= set(RECORDED["versions"].tolist())


def test_matches_tensorflow_addons():
    layer = keras.layers.GroupNormalization(groups=-1, epsilon=float(RECORDED["epsilon"]))
    assert difference(normalized(layer)) < TOLERANCE


def test_default_epsilons_are_equal():
    assert keras.layers.GroupNormalization(groups=-1).epsilon == RECORDED["epsilon"] == 1e-3


def test_recording_is_the_closed_form():
    assert difference(standardized(axes=(1, 2, 3), epsilon=1e-3)) < TOLERANCE


@pytest.mark.parametrize(
    "axes",
    [(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4), (1, 2, 4), (1, 2), (2, 3), (4,)],
    ids=["batch", "layer", "i_for_channel", "k_for_channel", "without_k", "without_i", "channel"],
)
def test_recording_rejects_other_axes(axes):
    assert difference(standardized(axes, epsilon=1e-3)) > 0.1


@pytest.mark.parametrize("epsilon", [0.9e-3, 1e-5])
def test_recording_rejects_another_epsilon(epsilon):
    layer = keras.layers.GroupNormalization(groups=-1, epsilon=epsilon)
    assert difference(normalized(layer)) > 0.01


def test_recording_rejects_one_group():
    layer = keras.layers.GroupNormalization(groups=1, epsilon=float(RECORDED["epsilon"]))
    assert difference(normalized(layer)) > 0.1
