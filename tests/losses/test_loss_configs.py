"""Every loss is registered, rebuilt from its config, and found by its name."""

import keras
import numpy as np
import pytest

from tfreg.config import SIMILARITIES
from tfreg.losses.cross_correlation import CrossCorrelation
from tfreg.losses.local_ncc import LocalNCC
from tfreg.losses.mean_squared_error import MeanSquaredError
from tfreg.losses.mind import MIND
from tfreg.losses.mutual_information import MutualInformation
from tfreg.losses.regularisers import GradientPenalty, LinearPenalty
from tfreg.losses.similarities import build_similarity
from tfreg.losses.similarity import Similarity
from tfreg.losses.wavelet_metric import WaveletMetric
from tfreg.losses.weighted_sum import WeightedSum

LOSSES = [
    MeanSquaredError(name="m"),
    LocalNCC(5, name="n"),
    CrossCorrelation(name="c"),
    MutualInformation(12, name="i"),
    MIND(2, 1, name="d"),
    WaveletMetric(2, name="w"),
    WeightedSum([LocalNCC(3), MutualInformation(8)], [1, 0.5], name="s"),
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
    shape = (2, 4, 5, 6, 1) if isinstance(loss, Similarity) else shape
    fixed, warped = rng.random((2, *shape), "float32")
    assert float(again(fixed, warped)) == float(loss(fixed, warped))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mse", MeanSquaredError),
        ("lncc", LocalNCC),
        ("ncc", CrossCorrelation),
        ("mi", MutualInformation),
        ("dwm", WaveletMetric),
        ("mind", MIND),
    ],
)
def test_similarities_by_name(name, kind):
    assert type(build_similarity(name)) is kind


def test_window_is_the_local_correlations():
    assert build_similarity("lncc", 5).window == 5


def test_configs_know_every_similarity():
    kinds = {type(build_similarity(name)) for name in SIMILARITIES}
    assert len(kinds) == len(SIMILARITIES)
    assert kinds | {WeightedSum} == set(Similarity.__subclasses__())


def test_weighted_sum(rng):
    fixed, warped = rng.random((2, 2, 6, 7, 8, 1), "float32")
    mask = (rng.random((2, 6, 7, 8, 1)) > 0.3).astype("float32")
    whole = build_similarity("lncc+0.5*mse+2e-1*mi", 3)
    assert whole.similarities[0].window == 3
    parts = (LocalNCC(3), MeanSquaredError(), MutualInformation())
    expected = sum(w * part.compare(fixed, warped, mask) for w, part in zip((1, 0.5, 0.2), parts, strict=True))
    np.testing.assert_allclose(whole.compare(fixed, warped, mask), expected, rtol=1e-6)
    assert float(build_similarity("2*mse")(fixed, warped)) == pytest.approx(
        2 * float(MeanSquaredError()(fixed, warped))
    )


def test_refuses_an_unknown_similarity():
    for text in ("ssim", "lncc+ssim", "2*", ""):
        with pytest.raises(ValueError, match=r"`text` must be made of mse, .*Received: text="):
            build_similarity(text)
    with pytest.raises(ValueError, match=r"Received: weights=\[1\], len\(similarities\)=2"):
        WeightedSum([MeanSquaredError(), LocalNCC()], [1])
    with pytest.raises(ValueError, match=r"positive.*Received: weights=\[-1\]"):
        WeightedSum([MeanSquaredError()], [-1])


@pytest.mark.parametrize("name", ["mse", "lncc", "ncc", "dwm", "mind"])
def test_equal_images_cost_nothing(name, rng):
    image = rng.random((2, 6, 7, 8, 1), "float32")
    assert float(build_similarity(name)(image, np.copy(image))) < 1e-3
