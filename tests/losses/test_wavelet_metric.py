"""The wavelet metric against a transform in NumPy, known values, masks and finite differences."""

import itertools

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.losses.wavelet_metric import WaveletMetric, haar_step

SHAPE = (8, 5, 6)


def images(rng, shape=SHAPE, batch=2):
    """Random images in [0, 1]."""
    return rng.random((2, batch, *shape, 1)).astype("float32")


def haar(array):
    """Dictionary of "lll" ... "hhh" to the bands of a 3D array, one axis after the other, in float64."""
    bands = {"": np.asarray(array, "float64")}
    for axis in range(3):
        split = {}
        for name, band in bands.items():
            if band.shape[axis] % 2:
                band = np.concatenate([band, np.take(band, [-1], axis)], axis)
            even, odd = (band.take(range(start, band.shape[axis], 2), axis) for start in (0, 1))
            split |= {name + "l": (even + odd) / np.sqrt(2), name + "h": (even - odd) / np.sqrt(2)}
        bands = split
    return bands


def block_minimum(array):
    for axis in range(3):
        if array.shape[axis] % 2:
            array = np.concatenate([array, np.take(array, [-1], axis)], axis)
        array = np.minimum(*(array.take(range(start, array.shape[axis], 2), axis) for start in (0, 1)))
    return array


def reference(fixed, warped, mask=None, levels=3):
    """`(batch,)` in float64."""
    masks = np.ones(fixed.shape) if mask is None else mask
    losses = []
    for f, w, m in zip(fixed[..., 0], warped[..., 0], masks[..., 0], strict=True):
        pairs, weights = (f, w), m.astype("float64")
        total = count = 0.0
        for level in range(levels):
            ours, theirs = (haar(image) for image in pairs)
            weights = block_minimum(weights)
            for name in ours:
                if name != "lll" or level == levels - 1:
                    total += (weights * np.abs(ours[name] - theirs[name])).sum()
                    count += weights.sum()
            pairs = ours["lll"], theirs["lll"]
        losses.append(total / max(count, 1e-6))
    return np.array(losses)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("shape", [(8, 8, 8), SHAPE, (3, 7, 2)])
def test_agrees_with_numpy(shape, levels, rng):
    fixed, warped = images(rng, shape)
    found = keras.ops.convert_to_numpy(WaveletMetric(levels).compare(fixed, warped))
    np.testing.assert_allclose(found, reference(fixed, warped, levels=levels), rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX always knows the sizes")
def test_sizes_may_be_unknown_while_it_is_built(rng):
    loss = WaveletMetric(2)
    inputs = [keras.Input((None, None, None, 1)) for _ in range(2)]
    model = keras.Model(inputs, keras.layers.Lambda(lambda pair: loss.compare(*pair))(inputs))
    fixed, warped = images(rng, (7, 4, 6))
    found = model.predict([fixed, warped], verbose=0)
    np.testing.assert_allclose(found, reference(fixed, warped, levels=2), rtol=1e-5)


def test_transform_keeps_the_sum_of_squares(rng):
    volume = images(rng, (4, 6, 8))[0]
    bands = keras.ops.convert_to_numpy(haar_step(volume))
    assert bands.shape == (2, 2, 3, 4, 8)
    assert (bands**2).sum() == pytest.approx((volume**2).sum(), rel=1e-5)
    expected = haar(volume[0, ..., 0])
    for channel, name in enumerate("".join(letters) for letters in itertools.product("lh", repeat=3)):
        np.testing.assert_allclose(bands[0, ..., channel], expected[name], atol=1e-6)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_known_values(levels):
    zero = np.zeros((1, 8, 16, 8, 1), "float32")
    # A constant is in the sums of the largest blocks alone, one of 8^levels coefficients.
    assert float(WaveletMetric(levels)(zero, zero + 0.3)) == pytest.approx(0.3 * 8 ** (-levels / 2), rel=1e-5)
    impulse = zero.copy()
    impulse[0, 3, 5, 6, 0] = 1
    # Level l has seven coefficients of 8^(-l/2), the last one eight.
    expected = sum(7 * 8 ** (-level / 2) for level in range(1, levels + 1)) + 8 ** (-levels / 2)
    assert float(WaveletMetric(levels)(zero, impulse)) == pytest.approx(expected / zero.size, rel=1e-5)


def test_is_least_where_images_are_aligned(rng, assert_least_where_aligned):
    texture = ndimage.gaussian_filter(rng.standard_normal((1, 14, 15, 16, 1)), (0, 1.5, 1.5, 1.5, 0))
    assert_least_where_aligned(WaveletMetric(), texture, texture + 0.05)


def test_mask_weighs_blocks(rng):
    fixed, warped = images(rng)
    mask = rng.random((2, *SHAPE, 1)).astype("float32")
    found = keras.ops.convert_to_numpy(WaveletMetric().compare(fixed, warped, mask))
    np.testing.assert_allclose(found, reference(fixed, warped, mask), rtol=1e-5)


def test_masked_out_region_does_not_matter(rng):
    fixed, warped = images(rng, (16, 8, 8))
    mask = np.ones((2, 16, 8, 8, 1), "float32")
    mask[:, 5] = 0
    changed = [np.where(mask > 0, image, value).astype("float32") for image, value in ((fixed, 7), (warped, -3))]
    np.testing.assert_allclose(
        WaveletMetric().compare(*changed, mask), WaveletMetric().compare(fixed, warped, mask), rtol=1e-6
    )
    empty = WaveletMetric().compare(fixed, warped, np.zeros_like(mask))
    np.testing.assert_array_equal(empty, [0, 0])


@pytest.mark.parametrize("levels", [0, -1, 1.5, "3"])
def test_levels_are_checked(levels):
    with pytest.raises(ValueError, match=r"`levels` must be a positive integer. Received: levels="):
        WaveletMetric(levels)


def test_gradient(rng, gradient, finite_differences):
    fixed, warped = images(rng, (4, 3, 5))
    mask = (rng.random((2, 4, 3, 5, 1)) > 0.1).astype("float32")
    found = gradient(lambda f, w: keras.ops.sum(WaveletMetric(2).compare(f, w, mask)), fixed, warped)
    by_fixed = finite_differences(lambda f: reference(f, warped, mask, 2).sum(), fixed)
    by_warped = finite_differences(lambda w: reference(fixed, w, mask, 2).sum(), warped)
    assert np.abs(by_warped).max() > 0.01
    np.testing.assert_allclose(found[0], by_fixed, atol=1e-5)
    np.testing.assert_allclose(found[1], by_warped, atol=1e-5)
