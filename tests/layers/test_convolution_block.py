"""Dilated convolutions against SciPy and against Keras' own path, and the block around them."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.layers.convolution_block import ConvolutionBlock, DilatedConvolution
from tfreg.ops.acceleration import has_native_dilation, portable

every_dilation = pytest.mark.parametrize("dilation", [1, 2, 3, 5])
sizes = pytest.mark.parametrize("shape", [(4, 5, 6), (12, 7, 9)], ids=str)
native_dilation = pytest.mark.skipif(
    not has_native_dilation(), reason="only TensorFlow with oneDNN or a GPU has a native dilated convolution"
)


def spread(kernel, dilation):
    """A `(3, 3, 3)` kernel with its taps `dilation` voxels apart."""
    wide = np.zeros([2 * dilation + 1] * 3)
    wide[::dilation, ::dilation, ::dilation] = kernel
    return wide


def correlated(features, kernel, dilation):
    """A dilated convolution with zeros outside, in float64, by SciPy."""
    result = np.zeros((*features.shape[:-1], kernel.shape[-1]))
    for b, i, o in np.ndindex(len(features), *kernel.shape[-2:]):
        result[b, ..., o] += ndimage.correlate(
            features[b, ..., i].astype("float64"), spread(kernel[..., i, o], dilation), mode="constant"
        )
    return result


def back_correlated(weights, kernel, dilation):
    """The gradient of sum(weights * correlated(features)) with respect to the features."""
    return correlated(weights, np.flip(kernel, (0, 1, 2)).swapaxes(-1, -2), dilation)


def convolution(rng, dilation, channels=2, filters=3):
    layer = DilatedConvolution(filters, 3, padding="same", dilation_rate=dilation, use_bias=False)
    layer.build((None, None, None, None, channels))
    layer.kernel.assign(rng.standard_normal(layer.kernel.shape))
    return layer, layer.get_weights()[0]


@every_dilation
@sizes
def test_convolution_agrees_with_scipy(shape, dilation, rng):
    features = rng.standard_normal((2, *shape, 2)).astype("float32")
    layer, kernel = convolution(rng, dilation)
    found = keras.ops.convert_to_numpy(layer(features))
    np.testing.assert_allclose(found, correlated(features, kernel, dilation), atol=3e-5)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has float64 only where it is told to")
def test_convolution_works_for_types_that_have_no_native_path(rng):
    features = rng.standard_normal((1, 6, 7, 5, 2))
    layer = DilatedConvolution(3, 3, padding="same", dilation_rate=2, use_bias=False, dtype="float64")
    found = keras.ops.convert_to_numpy(layer(features))
    np.testing.assert_allclose(found, correlated(features, layer.get_weights()[0], 2), atol=1e-12)


@every_dilation
def test_gradient_of_the_features_agrees_with_scipy(dilation, rng, gradient):
    features = rng.standard_normal((2, 4, 5, 6, 2)).astype("float32")
    weights = rng.standard_normal((2, 4, 5, 6, 3)).astype("float32")
    layer, kernel = convolution(rng, dilation)
    (found,) = gradient(lambda x: keras.ops.sum(weights * layer(x)), features)
    np.testing.assert_allclose(found, back_correlated(weights, kernel, dilation), atol=3e-5)


@native_dilation
@every_dilation
@sizes
def test_native_path_equals_keras_path(shape, dilation, rng, gradient):
    features = rng.standard_normal((2, *shape, 2)).astype("float32")
    weights = rng.standard_normal((2, *shape, 3)).astype("float32")
    layer, kernel = convolution(rng, dilation)

    def loss(x, k):
        return keras.ops.sum(weights * layer.convolution_op(x, k))

    native, native_gradients = layer(features), gradient(loss, features, kernel)
    with portable():
        plain, plain_gradients = layer(features), gradient(loss, features, kernel)
    np.testing.assert_allclose(native, plain, atol=3e-5)
    for one, other in zip(native_gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_block_normalises_each_channel_of_each_volume(rng, perturb):
    features = rng.standard_normal((2, 4, 5, 6, 2)).astype("float32") * [1.0, 20.0] + [5.0, -3.0]
    block = ConvolutionBlock(3, dilation=2, slope=0.3)
    block.build(features.shape)
    perturb(block, rng, scale=0.5)
    kernel, scale, offset = block.get_weights()
    convolved = correlated(features.astype("float32"), kernel, 2)
    mean, variance = convolved.mean((1, 2, 3), keepdims=True), convolved.var((1, 2, 3), keepdims=True)
    normal = (convolved - mean) / np.sqrt(variance + 1e-3) * scale + offset
    found = keras.ops.convert_to_numpy(block(features.astype("float32")))
    np.testing.assert_allclose(found, np.where(normal > 0, normal, 0.3 * normal), atol=1e-4)


def test_block_without_normalisation_has_a_bias(rng, perturb):
    features = rng.standard_normal((2, 4, 5, 6, 2)).astype("float32")
    block = ConvolutionBlock(3, dilation=3, normalised=False)
    block.build(features.shape)
    perturb(block, rng, scale=0.5)
    kernel, bias = block.get_weights()
    plain = correlated(features, kernel, 3) + bias
    found = keras.ops.convert_to_numpy(block(features))
    np.testing.assert_allclose(found, np.where(plain > 0, plain, 0.2 * plain), atol=3e-5)


def test_normalisation_is_the_successor_of_tensorflow_addons():
    """As in test_instance_normalization.py: one group a channel, epsilon 1e-3."""
    block = ConvolutionBlock(3)
    block.build((None, None, None, None, 2))
    assert isinstance(block.normalisation, keras.layers.GroupNormalization)
    assert block.normalisation.groups in (-1, 3)
    assert block.normalisation.epsilon == 1e-3
