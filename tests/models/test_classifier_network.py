"""The classifier's layers: the paper's down-sampling, and what an untrained network says."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.models.classifier_network import build_classifier

SHAPE = (4, 5, 7)


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    return build_classifier(SHAPE, channels=3, filters=2, hidden_units=100)


def test_an_untrained_network_does_not_know(network, rng):
    answer = network({"deformation": rng.standard_normal((6, *SHAPE, 3)).astype(np.float32)})
    assert set(answer) == {"probability"}
    np.testing.assert_array_equal(np.asarray(answer["probability"]), np.full((6, 1), 0.5))


def test_the_convolution_has_stride_2_and_padding_1(network, rng):
    volumes = rng.standard_normal((2, *SHAPE, 3)).astype(np.float32)
    layer = network.get_layer("downsampling")
    found = np.asarray(keras.Model(network.input, layer.output)({"deformation": volumes}))
    kernel = np.asarray(layer.kernel)
    assert found.shape == (2, 2, 3, 4, 2)  # ceil(n / 2)
    for filter_ in range(2):
        # Correlation with zeros outside, at every second voxel from the first: padding of one at the low ends.
        whole = sum(ndimage.correlate(volumes[1, ..., c], kernel[..., c, filter_], mode="constant") for c in range(3))
        np.testing.assert_allclose(found[1, ..., filter_], whole[::2, ::2, ::2], atol=2e-5)


def test_its_parameters_are_those_of_the_paper(network):
    features = 2 * 3 * 4 * 2
    convolution, normalisations, hidden = 27 * 3 * 2, 4 * 2 + 4 * 100, features * 100
    assert network.count_params() == convolution + normalisations + hidden + 100 + 1
    assert network.get_layer("tanh").activation is keras.activations.tanh


def test_it_learns_a_sign_and_survives_a_file(network, rng, tmp_path):
    targets = np.repeat([0.0, 1.0], 8)[:, None]
    volumes = rng.standard_normal((16, *SHAPE, 3)).astype(np.float32) * 0.1 + (targets - 0.5)[:, :, None, None, None]
    volumes = volumes.astype(np.float32)
    network.compile(keras.optimizers.Adam(1e-3), {"probability": "binary_crossentropy"})
    network.fit({"deformation": volumes}, {"probability": targets}, epochs=40, batch_size=8, verbose=0)
    found = np.asarray(network({"deformation": volumes}, training=False)["probability"])
    assert ((found > 0.5) == (targets > 0.5)).all()
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(np.asarray(again({"deformation": volumes})["probability"]), found, atol=1e-6)


@pytest.mark.parametrize("wrong", [{"shape": (0, 5, 7)}, {"channels": 0}, {"filters": 0}, {"hidden_units": 0}])
def test_sizes_must_be_positive(wrong):
    sizes = {"shape": SHAPE, "channels": 3, "filters": 2, "hidden_units": 4} | wrong
    with pytest.raises(ValueError, match=r"must be positive. Received: shape="):
        build_classifier(**sizes)
