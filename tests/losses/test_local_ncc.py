"""Local correlation against SciPy, explicit loops at the borders, its invariances and finite differences."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.losses.local_ncc import VARIANCE_FLOOR, LocalNCC, box_mean

SHAPE = (10, 11, 12)


def images(rng, shape=SHAPE, batch=2):
    """Smooth random images in [0, 1], a part of the second shared with the first."""
    noise = ndimage.gaussian_filter(rng.standard_normal((2, batch, *shape, 1)), (0, 0, 1, 1, 1, 0))
    noise[1] += 0.5 * noise[0]
    return ((noise - noise.min()) / np.ptp(noise)).astype("float32")


def correlation_of(fixed, warped):
    """Squared correlation of two small arrays of samples."""
    covariance = np.mean((fixed - fixed.mean()) * (warped - warped.mean()))
    return (abs(covariance) + VARIANCE_FLOOR) ** 2 / ((fixed.var() + VARIANCE_FLOOR) * (warped.var() + VARIANCE_FLOOR))


def looped(fixed, warped, window):
    """`(batch, i, j, k)` squared correlation, voxel by voxel, of the window's part inside the volume."""
    fixed, warped = fixed[..., 0].astype("float64"), warped[..., 0].astype("float64")
    result = np.empty(fixed.shape)
    half = window // 2
    for b, *voxel in np.ndindex(fixed.shape):
        part = (b, *(slice(max(n - half, 0), n + half + 1) for n in voxel))
        result[(b, *voxel)] = correlation_of(fixed[part], warped[part])
    return result


@pytest.mark.parametrize("window", [3, 5, 9])
def test_box_mean_agrees_with_scipy_inside(window, rng):
    volume = rng.standard_normal((2, *SHAPE, 1)).astype("float32")
    found = keras.ops.convert_to_numpy(box_mean(volume, window))
    expected = ndimage.uniform_filter(volume.astype("float64"), (1, window, window, window, 1))
    half = window // 2
    inner = (slice(None), *(slice(half, n - half) for n in SHAPE))
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-6)


@pytest.mark.parametrize("window", [3, 9])
def test_box_mean_counts_what_is_inside(window, path, rng):
    volume = rng.standard_normal((2, 4, 5, 6, 1)).astype("float32")
    inside = ndimage.uniform_filter(np.ones((4, 5, 6)), window, mode="constant")
    total = ndimage.uniform_filter(volume.astype("float64"), (1, window, window, window, 1), mode="constant")
    with path():
        found = keras.ops.convert_to_numpy(box_mean(volume, window))
    np.testing.assert_allclose(found, total / inside[None, ..., None], atol=1e-5)


@pytest.mark.parametrize("window", [3, 9])
def test_agrees_with_loops(window, rng):
    fixed, warped = images(rng, (4, 5, 6))
    found = keras.ops.convert_to_numpy(LocalNCC(window).compare(fixed, warped))
    np.testing.assert_allclose(found, 1 - looped(fixed, warped, window).mean(axis=(1, 2, 3)), atol=1e-4)


def test_agrees_with_scipy_inside(rng):
    window, half = 5, 2
    fixed, warped = images(rng)
    inner = np.zeros((2, *SHAPE, 1), "float32")
    inner[:, half:-half, half:-half, half:-half] = 1

    def mean(values):
        return ndimage.uniform_filter(values, (1, window, window, window, 1))

    f, w = fixed.astype("float64"), warped.astype("float64")
    covariance = mean(f * w) - mean(f) * mean(w)
    variances = [mean(x * x) - mean(x) ** 2 + VARIANCE_FLOOR for x in (f, w)]
    expected = 1 - np.mean(
        ((np.abs(covariance) + VARIANCE_FLOOR) ** 2 / np.prod(variances, axis=0))[inner > 0].reshape(2, -1), axis=1
    )
    found = keras.ops.convert_to_numpy(LocalNCC(window).compare(fixed, warped, inner))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_linear_relation_is_zero(rng):
    fixed, _ = images(rng)
    for scale, offset in ((1.0, 0.0), (0.5, 0.3), (-0.7, 0.9)):
        assert 0 <= float(LocalNCC(5)(fixed, (scale * fixed + offset).astype("float32"))) < 0.01


def test_smooth_change_of_brightness_is_small(rng):
    fixed, warped = images(rng)
    ramp = np.linspace(0.8, 1.0, SHAPE[1], dtype="float32")[:, None, None]
    assert float(LocalNCC(5)(fixed, ramp * fixed)) < 0.1 * float(LocalNCC(5)(fixed, warped))


def test_unrelated_noise_is_one(rng):
    fixed, warped = rng.random((2, 2, *SHAPE, 1), "float32")
    assert 0.98 < float(LocalNCC(9)(fixed, warped)) <= 1


def test_is_symmetric(rng):
    fixed, warped = images(rng)
    assert float(LocalNCC(5)(fixed, warped)) == pytest.approx(float(LocalNCC(5)(warped, fixed)), abs=1e-6)


def test_is_invariant_to_brightness_and_contrast(rng):
    fixed, warped = images(rng)
    changed = (0.2 + 0.75 * warped).astype("float32")
    assert float(LocalNCC(5)(fixed, changed)) == pytest.approx(float(LocalNCC(5)(fixed, warped)), abs=3e-3)


def test_flat_image_is_like_what_is_flat_alone(rng):
    """Of structure it has what the floor makes of it; of a flat image everything."""
    fixed, _ = images(rng)
    flat = np.full_like(fixed, 0.7)
    mean, square = (keras.ops.convert_to_numpy(box_mean(image, 5)).astype("float64") for image in (fixed, fixed**2))
    variance = np.maximum(square - mean**2, 0)
    expected = 1 - np.mean(VARIANCE_FLOOR / (variance + VARIANCE_FLOOR))
    assert float(LocalNCC(5)(fixed, flat)) == pytest.approx(expected, abs=1e-4)
    assert float(LocalNCC(5)(flat + 0.1, flat)) == pytest.approx(0, abs=0.02)  # float32 near a mean of 0.8


def test_mask_weighs_voxels(rng):
    fixed, warped = images(rng, (4, 5, 6))
    mask = rng.random((2, 4, 5, 6, 1)).astype("float32")
    found = keras.ops.convert_to_numpy(LocalNCC(3).compare(fixed, warped, mask))
    correlation = looped(fixed, warped, 3)
    expected = [1 - np.average(correlation[b], weights=mask[b, ..., 0]) for b in range(2)]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_gradient(rng, gradient, finite_differences):
    fixed, warped = rng.random((2, 1, 3, 4, 5, 1), "float32")
    found = gradient(lambda f, w: LocalNCC(3)(f, w), fixed, warped)
    np.testing.assert_allclose(
        found[0], finite_differences(lambda f: 1 - looped(f, warped, 3).mean(), fixed), atol=1e-4
    )
    np.testing.assert_allclose(
        found[1], finite_differences(lambda w: 1 - looped(fixed, w, 3).mean(), warped), atol=1e-4
    )


@pytest.mark.parametrize("window", [0, 4, -3, 3.0])
def test_refuses_a_window_that_is_not_odd(window):
    with pytest.raises(ValueError, match="Received: window="):
        LocalNCC(window)


@pytest.mark.parametrize("contrast", [1.0, 1e-2, 1e-3, 0.0])
def test_nothing_is_more_like_an_image_than_itself(contrast, rng):
    """However weak its structure; a stronger contrast, or none, is no better."""
    fixed = np.float32(contrast) * images(rng)[0]
    loss = LocalNCC(5)
    assert float(loss(fixed, fixed)) == pytest.approx(0, abs=1e-5)
    for other in (2 * fixed, fixed / 2, 0 * fixed, np.ascontiguousarray(np.flip(fixed, 1))):
        assert float(loss(fixed, other)) > -1e-6
