"""A model saved on TensorFlow computes the same on JAX."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tfreg.models.registration_network import build_registration_network

LOAD_AND_PREDICT = """
import sys
import keras
import numpy as np
import tfreg.models.registration_network

assert keras.backend.backend() == "jax"
folder = sys.argv[1]
inputs = dict(np.load(folder + "/inputs.npz"))
model = keras.saving.load_model(folder + "/model.keras")
np.savez(folder + "/outputs.npz", **model.predict(inputs, verbose=0))
"""


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="saves on TensorFlow, loads on JAX")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
def test_model_saved_on_tensorflow_loads_on_jax(tmp_path, rng, perturb):
    fixed, moving = rng.random((2, 1, 9, 14, 11, 1), "float32")
    inputs = {"fixed": fixed, "moving": moving}
    keras.utils.set_random_seed(2018)
    model = build_registration_network(encoder_filters=(4, 6), encoder_dilations=(1, 3), decoder_filters=(5, 4))
    perturb(model, rng).save(tmp_path / "model.keras")
    np.savez(tmp_path / "inputs.npz", **inputs)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        [sys.executable, "-c", LOAD_AND_PREDICT, tmp_path], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    expected = model.predict(inputs, verbose=0)
    assert np.abs(expected["displacement"]).max() > 0.1
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert set(outputs) == set(expected)
        for name, value in outputs.items():
            np.testing.assert_allclose(value, expected[name], atol=3e-6, rtol=3e-6, err_msg=name)
