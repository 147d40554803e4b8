"""The squeeze-excitation block against NumPy."""

import keras
import numpy as np
import pytest

from tfreg.layers.squeeze_excitation import SqueezeExcitation


@pytest.mark.parametrize(("channels", "ratio", "hidden"), [(7, 3, 2), (6, 2, 3), (5, 10, 1)])
def test_agrees_with_numpy(channels, ratio, hidden, rng, perturb):
    features = rng.standard_normal((2, 4, 5, 6, channels)).astype("float32")
    block = SqueezeExcitation(ratio)
    block.build(features.shape)
    perturb(block, rng, scale=1.0)
    squeeze, squeeze_bias, excite, excite_bias = (weight.astype("float64") for weight in block.get_weights())
    assert squeeze.shape == (channels, hidden)
    pooled = features.mean(axis=(1, 2, 3), dtype="float64")
    weights = 1 / (1 + np.exp(-(np.maximum(pooled @ squeeze + squeeze_bias, 0) @ excite + excite_bias)))
    expected = features * weights[:, None, None, None]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(block(features)), expected, atol=1e-6)


def test_the_paper_has_29_units():
    block = SqueezeExcitation(10)
    block.build((None, None, None, None, 290))
    assert block.squeeze.kernel.shape == (290, 29)
