"""Weights that were trained elsewhere give here what they gave there."""

import keras
import numpy as np
import pytest

from tfreg.io.network_weights import assign_weights, read_weights
from tfreg.models.registration_network import build_registration_network
from tfreg.transforms.displacement_deformation import DisplacementDeformation

TOLERANCE = 1e-4  # voxels


@pytest.fixture(scope="module")
def weights_folder(shared_data):
    """The folder beside the real volumes with weights, and with what they make of a pair."""
    folder = shared_data.parent / "weights"
    if not folder.is_dir():
        pytest.skip(f"no weights: {folder} is absent")
    return folder


@pytest.fixture(scope="module")
def check(weights_folder):
    """A pair, and control values, grid and expected error as they were recorded."""
    with np.load(weights_folder / "check.npz") as file:
        return dict(file)


def identity_grid(shape):
    return np.moveaxis(np.indices(shape), 0, -1)


def test_the_network_gives_what_was_recorded(weights_folder, check):
    shape = check["fixed"].shape
    network = build_registration_network(shape, transform="deformable", head="displacement")
    path = weights_folder / "zero_shot_v0.npz"
    weights = {name.replace("displacement/", "control/"): array for name, array in read_weights(path).items()}
    assign_weights(network, weights, path)
    network = keras.Model(network.input, network.output | {"control": network.get_layer("control").output})
    network.compile(jit_compile=keras.backend.backend() != "tensorflow")
    inputs = {name: check[name][None, ..., None] for name in ("fixed", "moving")}
    found = {name: np.asarray(value)[0] for name, value in network.predict_on_batch(inputs).items()}

    assert np.abs(found["displacement"]).max() > 1
    np.testing.assert_allclose(found["displacement"] + identity_grid(shape), check["grid"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found["control"], check["control"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found["log_error"][..., 0], check["log_scale"], rtol=0, atol=TOLERANCE)


def test_the_deformation_is_the_recorded_grid(check):
    deformation = DisplacementDeformation(check["control"], check["fixed"].shape)
    np.testing.assert_allclose(deformation(identity_grid(deformation.shape)), check["grid"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(np.log(deformation.expected_error), check["log_scale"], rtol=0, atol=TOLERANCE)
