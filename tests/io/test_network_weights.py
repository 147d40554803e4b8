"""Weights by the names of their variables: all or nothing, and one line for what does not fit."""

import keras
import numpy as np
import pytest

from tfreg.errors import UserError
from tfreg.io.network_weights import assign_weights, read_weights
from tfreg.models.registration_network import build_registration_network

SMALL = {"encoder_filters": (4,), "encoder_dilations": (1,), "squeeze_ratio": 4, "decoder_filters": (5,)}


@pytest.fixture
def network(perturb, rng):
    return perturb(build_registration_network(head="displacement", **SMALL), rng)


@pytest.fixture
def weights(network):
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in network.variables}


def test_another_network_gets_them_all(tmp_path, network, weights):
    np.savez(tmp_path / "weights.npz", **weights)
    other = build_registration_network(head="displacement", **SMALL)
    assign_weights(other, read_weights(tmp_path / "weights.npz"), "weights.npz")
    for one, same in zip(other.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    assert "control/kernel" in weights


def test_weights_of_another_network_change_nothing(network, weights):
    before = network.get_weights()
    kernel = weights.pop("control/kernel")
    for changed, text in (
        (weights, "lacks control/kernel"),
        (weights | {"control/kernel": kernel[..., :3]}, r"control/kernel has shape \(3, 3, 3, 5, 3\), not"),
        (weights | {"control/kernel": kernel, "logits/kernel": kernel}, "holds logits/kernel"),
    ):
        changed = {name: value + 1 for name, value in changed.items()}
        with pytest.raises(UserError, match=rf"^w\.npz: {text}.*; take the network's own$"):
            assign_weights(network, changed, "w.npz")
    for value, same in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, same)


def test_damaged_files_are_refused(tmp_path, weights):
    path = tmp_path / "weights.npz"

    def refused():
        with pytest.raises(UserError) as caught:
            read_weights(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "does not exist; name a file" in refused()
    for content in (b"", b"hello", b"PK\x03\x04"):
        path.write_bytes(content)
        assert "is damaged; copy it again" in refused()
    np.savez(path, **weights)
    content = path.read_bytes()
    for length in range(1, len(content), len(content) // 7):
        path.write_bytes(content[:length])
        assert "is damaged; copy it again" in refused()
    np.savez(path, **(weights | {"control/bias": np.array([0, np.nan, 0, 0])}))
    assert "not finite; copy it again" in refused()
    np.savez(path, names=np.array(["a", "b"]))
    assert "is damaged; copy it again" in refused()
