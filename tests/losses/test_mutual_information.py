"""Mutual information in closed form and against NumPy, its invariances, masks and finite differences."""

import keras
import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import BSpline

from tfreg.losses.mutual_information import MutualInformation, cubic_windows, joint_histogram

SHAPE = (7, 8, 9)
LEVELS = np.array([0, 4, 8, 12, 16]) / 16  # with 19 bins their windows lie on 1, 5, 9, 13, 17 and do not meet


def related_images(rng, shape=SHAPE, batch=2):
    fixed, noise = rng.random((2, batch, *shape, 1))
    return fixed.astype("float32"), (0.7 * fixed + 0.3 * noise).astype("float32")


def histogram(fixed, warped, bins, mask=None):
    """`(bins, bins)` of one pair in float64: one-hot rows times SciPy's cubic B-spline at all bins."""
    row = np.minimum((fixed.astype("float32").ravel() * np.float32(bins)).astype(int), bins - 1)
    position = 1 + np.asarray(warped, "float64").ravel() * (bins - 3)
    spline = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    windows = np.nan_to_num(spline(position[:, None] - np.arange(bins)))
    return (np.eye(bins)[row] * (1.0 if mask is None else mask.reshape(-1, 1))).T @ windows


def entropy(probabilities):
    kept = probabilities[probabilities > 0]
    return -np.sum(kept * np.log(kept))


def reference(fixed, warped, bins, mask=None):
    losses = []
    for b in range(len(fixed)):
        joint = histogram(fixed[b], warped[b], bins, None if mask is None else mask[b])
        joint = joint / joint.sum()
        single = entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1))
        losses.append(1 - 2 * (single - entropy(joint)) / single)
    return np.array(losses)


def test_windows_are_scipys_cubic_spline():
    fraction = np.linspace(0, 1, 11)
    spline = BSpline.basis_element([-2, -1, 0, 1, 2])
    for n, found in enumerate(cubic_windows(fraction.astype("float32"))):
        np.testing.assert_allclose(found, spline(fraction - n + 1), atol=1e-6)


@pytest.mark.parametrize("bins", [4, 9, 32])
def test_histogram_agrees_with_scipy(bins, rng):
    fixed, warped = related_images(rng)
    fixed[0, 0, 0, :2, 0] = warped[0, 0, 0, 1:3, 0] = (0, 1)
    mask = rng.random((2, *SHAPE, 1)).astype("float32")
    found = keras.ops.convert_to_numpy(joint_histogram(fixed, warped, bins, mask))
    expected = [histogram(fixed[b], warped[b], bins, mask[b]) for b in range(2)]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_histogram_counts_a_large_flat_background():
    flat = np.full((1, 120, 130, 140, 1), 0.37, "float32")
    found = keras.ops.convert_to_numpy(joint_histogram(flat, flat, 32))[0]
    np.testing.assert_allclose(found, histogram(flat[0, 0], flat[0, 0], 32) * 120, rtol=1e-3)


@pytest.mark.parametrize("bins", [4, 9, 32])
def test_agrees_with_numpy(bins, rng):
    fixed, warped = related_images(rng)
    found = keras.ops.convert_to_numpy(MutualInformation(bins).compare(fixed, warped))
    np.testing.assert_allclose(found, reference(fixed, warped, bins), atol=1e-5)


def test_equal_levels_in_closed_form(rng):
    fixed = rng.choice(LEVELS, (1, *SHAPE, 1), p=[0.1, 0.15, 0.2, 0.25, 0.3]).astype("float32")
    counts, _ = np.histogram(fixed, [*(LEVELS - 0.01), 2])
    levels, window = entropy(counts / fixed.size), entropy(np.array([1, 4, 1]) / 6)
    expected = 1 - 2 * levels / (levels + levels + window)
    assert float(MutualInformation(19)(fixed, fixed)) == pytest.approx(expected, abs=1e-5)
    renamed = LEVELS[[3, 0, 4, 1, 2]][np.round(fixed * 4).astype(int)].astype("float32")  # not monotone
    assert float(MutualInformation(19)(fixed, renamed)) == pytest.approx(expected, abs=1e-5)


def test_independent_levels_are_one():
    fixed, warped, _ = np.meshgrid(LEVELS, LEVELS[1:] * 0.9, np.arange(3), indexing="ij")
    pair = (x[None, ..., None].astype("float32") for x in (fixed, warped))  # every combination three times
    assert float(MutualInformation(19)(*pair)) == pytest.approx(1, abs=1e-5)


def test_inversion_and_gamma_hardly_matter(rng):
    fixed, warped = related_images(rng, (20, 21, 22))
    loss = MutualInformation()
    plain, unrelated = (float(loss(fixed, w)) for w in (warped, warped[::-1]))
    assert float(loss(fixed, 1 - warped)) == pytest.approx(plain, abs=1e-5)
    for gamma in (0.7, 1.5):
        changed = float(loss(fixed, warped**gamma))
        assert changed == pytest.approx(plain, abs=0.1 * (unrelated - plain))


def test_is_least_where_images_are_aligned(rng, assert_least_where_aligned):
    texture = ndimage.gaussian_filter(rng.standard_normal((1, 24, 25, 26, 1)), (0, 1.5, 1.5, 1.5, 0))
    texture = (texture - texture.min()) / np.ptp(texture)
    assert_least_where_aligned(MutualInformation(), texture, (1 - texture) ** 1.5)


def test_mask_weighs_voxels(rng):
    fixed, warped = related_images(rng)
    mask = rng.random((2, *SHAPE, 1)).astype("float32")
    found = keras.ops.convert_to_numpy(MutualInformation(8).compare(fixed, warped, mask))
    np.testing.assert_allclose(found, reference(fixed, warped, 8, mask), atol=1e-5)


def test_masked_out_region_does_not_matter(rng):
    fixed, warped = related_images(rng)
    mask = (rng.random((2, *SHAPE, 1)) < 0.3).astype("float32")
    changed = [np.where(mask > 0, image, 0.7).astype("float32") for image in (fixed, warped)]
    found = keras.ops.convert_to_numpy(MutualInformation(8).compare(fixed, warped, mask))
    np.testing.assert_allclose(MutualInformation(8).compare(*changed, mask), found, atol=1e-6)
    alone = [image[:1][mask[:1] > 0].reshape(1, -1, 1, 1, 1) for image in (fixed, warped)]
    assert float(MutualInformation(8)(*alone)) == pytest.approx(found[0], abs=1e-5)


def test_empty_mask_gives_one(rng):
    found = MutualInformation(8).compare(*related_images(rng), np.zeros((2, *SHAPE, 1), "float32"))
    np.testing.assert_array_equal(found, [1, 1])


def test_flat_image_tells_nothing(rng, gradient):
    fixed, _ = related_images(rng)
    flat = np.full_like(fixed, 0.7)
    loss = MutualInformation()
    for pair in ((fixed, flat), (flat, fixed), (flat, flat)):
        assert float(loss(*pair)) == pytest.approx(1, abs=1e-5)
        assert np.isfinite(gradient(loss, *pair)).all()


def test_intensities_outside_are_clipped(rng):
    fixed, warped = related_images(rng)
    wide = [3 * image - 1 for image in (fixed, warped)]
    clipped = [np.clip(image, 0, 1) for image in wide]
    assert float(MutualInformation()(*wide)) == float(MutualInformation()(*clipped))


def test_gradient(rng, gradient, finite_differences):
    fixed, warped = related_images(rng, (3, 4, 5))
    mask = rng.random((2, 3, 4, 5, 1)).astype("float32")
    by_fixed, found = gradient(lambda f, w: keras.ops.sum(MutualInformation(8).compare(f, w, mask)), fixed, warped)
    expected = finite_differences(lambda w: reference(fixed, w, 8, mask).sum(), warped)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(by_fixed, np.zeros_like(fixed))


@pytest.mark.parametrize("bins", [3, 0, -8, 32.0, "32"])
def test_refuses_too_few_bins(bins):
    with pytest.raises(ValueError, match="Received: bins="):
        MutualInformation(bins)
