"""Dilated convolutions by space to batch: the plain ones, in values and gradients, on any size."""

import keras
import numpy as np
import pytest

from tfreg.layers.convolution_block import ConvolutionBlock
from tfreg.ops.space_to_batch import convolve_by_batches


@pytest.mark.parametrize("dilation", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(4, 5, 6), (11, 7, 9), (3, 2, 13)], ids=str)
def test_equals_the_dilated_convolution(shape, dilation, rng, gradient):
    """Sizes that the dilation does not divide, and some that are smaller than it."""
    features = rng.standard_normal((2, *shape, 2)).astype("float32")
    kernel = rng.standard_normal((3, 3, 3, 2, 4)).astype("float32")
    weights = rng.standard_normal((2, *shape, 4)).astype("float32")

    def plain(features, kernel):
        return keras.ops.conv(features, kernel, padding="same", dilation_rate=dilation, data_format="channels_last")

    def split(features, kernel):
        return convolve_by_batches(features, kernel, dilation)

    np.testing.assert_allclose(split(features, kernel), plain(features, kernel), atol=3e-5)
    gradients = [
        gradient(lambda x, k, f=function: keras.ops.sum(weights * f(x, k)), features, kernel)
        for function in (split, plain)
    ]
    for one, other in zip(*gradients, strict=True):
        assert np.abs(other).max() > 1
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_layer_takes_it_where_it_is_faster(rng, monkeypatch):
    features = rng.standard_normal((2, 5, 7, 6, 2)).astype("float32")
    block = ConvolutionBlock(3, dilation=3)
    plain = block(features)
    calls = []

    def counted(*arguments):
        calls.append(arguments[2])
        return convolve_by_batches(*arguments)

    monkeypatch.setattr("tfreg.layers.convolution_block.splits_dilations", lambda: True)
    monkeypatch.setattr("tfreg.layers.convolution_block.convolve_by_batches", counted)
    np.testing.assert_allclose(block(features), plain, atol=1e-4)
    assert calls == [3]


def test_bfloat16(rng, monkeypatch):
    monkeypatch.setattr("tfreg.layers.convolution_block.splits_dilations", lambda: True)
    block = ConvolutionBlock(3, dilation=2, dtype="mixed_bfloat16")
    result = block(rng.standard_normal((1, 5, 7, 6, 2)).astype("float32"))
    assert keras.backend.standardize_dtype(result.dtype) == "bfloat16"
