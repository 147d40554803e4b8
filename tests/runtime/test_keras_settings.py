"""Results do not depend on how a person has set Keras for other work."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import tfreg
from tfreg.errors import UserError
from tfreg.models.classifier_network import build_classifier
from tfreg.models.registration_network import build_registration_network
from tfreg.runtime.keras_settings import load_keras, own_keras_settings
from tfreg.volumes.volume import Volume

SETTINGS = ("floatx", "epsilon", "image_data_format", "dtype_policy")


def settings():
    return {name: getattr(keras.config, name)() for name in SETTINGS}


@pytest.fixture
def other_settings():
    """Keras as another project may have set it; its own settings after the test."""
    before = settings()
    keras.config.set_floatx("float16")
    keras.config.set_epsilon(1e-3)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("mixed_float16")
    yield settings()
    for name, value in before.items():
        getattr(keras.config, f"set_{name}")(value)


def blob(shift=0.0):
    """A smooth lump off the middle of a small volume, moved along the second axis."""
    i, j, k = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in (20, 22, 18)), indexing="ij")
    values = np.exp(-(((i - 9) / 4) ** 2 + ((j - 10 - shift) / 5) ** 2 + ((k - 8) / 3.5) ** 2))
    return Volume((1000 * values).astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))


def test_a_registration_is_right_whatever_keras_is_set_to(other_settings):
    result = tfreg.register(blob(), blob(shift=2.0), refine=True, preset="fast")
    assert result.report.metrics.after.correlation > 0.98
    middle = [[18.0, 20.0, 16.0]]  # of the lump, in mm
    np.testing.assert_allclose(result.transform(middle), [[18.0, 24.0, 16.0]], atol=0.5)
    assert settings() == other_settings


def test_networks_are_the_same_whatever_the_layout_and_the_precision_policy(other_settings, rng):
    pair = {name: rng.random((1, 8, 9, 7, 1), np.float32) for name in ("fixed", "moving")}
    deformation = rng.standard_normal((2, 6, 7, 5, 3)).astype(np.float32)
    keras.config.set_floatx("float32")
    small = {"encoder_filters": (3, 4), "encoder_dilations": (1, 2), "decoder_filters": (3,), "squeeze_ratio": 2}
    network, classifier = build_registration_network(**small), build_classifier((6, 7, 5), 3, 2, 4)
    answer, health = network(pair), classifier({"deformation": deformation})["probability"]
    with own_keras_settings():
        same = build_registration_network(**small)
        same.set_weights(network.get_weights())
        expected = same(pair)
    assert {name: tuple(value.shape) for name, value in answer.items()} == {
        "warped": (1, 8, 9, 7, 1),
        "displacement": (1, 8, 9, 7, 3),
        "linear": (1, 3, 4),
        "gradients": (1, 8, 9, 7, 3),
    }
    assert health.shape == (2, 1)
    for name, value in expected.items():
        assert keras.backend.standardize_dtype(answer[name].dtype) == "float32"
        np.testing.assert_array_equal(answer[name], value, err_msg=name)


def test_a_network_refuses_another_float_type(other_settings):
    with pytest.raises(ValueError, match=r"set_floatx\('float32'\) first. Received: .*'float16'"):
        build_registration_network()


def test_the_settings_of_the_program_around_come_back_after_the_last_context(other_settings):
    with own_keras_settings():
        with own_keras_settings():
            pass
        answer = settings()
        assert answer.pop("dtype_policy").name == "float32"
        assert answer == {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
    assert settings() == other_settings


@pytest.mark.parametrize(
    ("name", "reason"), [("Tensorflow", "choose tensorflow, jax, torch"), ("torch", "PyTorch is not installed")]
)
def test_a_backend_that_cannot_be_used_is_one_line(monkeypatch, name, reason):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None if package == "torch" else object())
    monkeypatch.setenv("KERAS_BACKEND", name)
    with pytest.raises(UserError, match=f"^KERAS_BACKEND={name}: {reason}"):
        load_keras()


def test_commands_neither_read_nor_write_the_settings_of_a_person(tmp_path):
    settings = {"backend": "torch", "floatx": "bfloat16", "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps(settings), encoding="utf-8")
    program = (
        "import os, json\n"
        "from tfreg.runtime.resources import Resources\n"
        "Resources().set_up()\n"
        "import keras\n"
        "c = keras.config\n"
        "print(c.backend(), c.floatx(), c.image_data_format())\n"
        "print(os.environ['KERAS_HOME'], os.environ['KERAS_MAX_EPOCHS'])\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    given = {"KERAS_HOME": str(tmp_path), "KERAS_MAX_EPOCHS": "none", "HOME": str(home), "KERAS_BACKEND": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | given
    )
    assert done.stdout == f"tensorflow float32 channels_last\n{tmp_path} none\n"
    assert json.loads((tmp_path / "keras.json").read_text(encoding="utf-8")) == settings
    assert not (home / ".keras").exists()
