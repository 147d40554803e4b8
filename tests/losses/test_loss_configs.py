"""Every loss is registered, rebuilt from its config, and found by its name."""

import keras
import numpy as np
import pytest

from tfreg.losses.local_ncc import LocalNCC
from tfreg.losses.mean_squared_error import MeanSquaredError
from tfreg.losses.regularisers import GradientPenalty, LinearPenalty
from tfreg.losses.similarities import build_similarity

LOSSES = [
    MeanSquaredError(name="m"),
    LocalNCC(5, name="n"),
    LinearPenalty(0.3, name="a"),
    GradientPenalty(0.2, 0.1, name="g"),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_config_round_trip(loss, rng):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert keras.saving.get_registered_name(type(loss)) == f"tfreg>{type(loss).__name__}"
    assert again.get_config() == loss.get_config()
    shape = (2, 3, 4) if isinstance(loss, LinearPenalty) else (2, 4, 5, 6, 3)
    shape = (2, 4, 5, 6, 1) if isinstance(loss, (MeanSquaredError, LocalNCC)) else shape
    fixed, warped = rng.random((2, *shape), "float32")
    assert float(again(fixed, warped)) == float(loss(fixed, warped))


def test_similarities_by_name():
    assert isinstance(build_similarity("mse"), MeanSquaredError)
    assert isinstance(build_similarity("lncc"), LocalNCC)
    assert build_similarity("lncc", 5).window == 5


def test_refuses_an_unknown_similarity():
    with pytest.raises(ValueError, match="Received: name='ssim'"):
        build_similarity("ssim")


@pytest.mark.parametrize("name", ["mse", "lncc"])
def test_equal_images_cost_nothing(name, rng):
    image = rng.random((2, 6, 7, 8, 1), "float32")
    assert float(build_similarity(name)(image, np.copy(image))) < 1e-3
