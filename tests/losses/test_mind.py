"""Self-similarity context against NumPy and SciPy, its invariances, masks and finite differences."""

from itertools import combinations

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.losses.mind import MIND, VARIANCE_FLOOR, patch_distances, replicate_border

SHAPE = (7, 8, 9)
NEIGHBOURS = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])


def smooth_images(rng, shape=SHAPE, batch=2):
    """Smooth random images in [0, 1]."""
    noise = ndimage.gaussian_filter(rng.standard_normal((2, batch, *shape, 1)), (0, 0, 1, 1, 1, 0))
    return ((noise - noise.min()) / np.ptp(noise)).astype("float32")


def distances(image, radius, dilation):
    """`(12, i, j, k)` of one image in float64: all pairs of neighbours that do not face each other."""
    reach = radius + dilation
    padded = np.pad(np.asarray(image[..., 0], "float64"), reach, mode="edge")
    pairs = [pair for pair in combinations(dilation * NEIGHBOURS, 2) if (pair[0] + pair[1]).any()]
    result = []
    for pair in pairs:
        # np.roll wraps round, but only where the crop to the image cannot see it.
        first, second = (np.roll(padded, -step, axis=(0, 1, 2)) for step in pair)
        patches = ndimage.uniform_filter((first - second) ** 2, 2 * radius + 1)
        result.append(patches[reach:-reach, reach:-reach, reach:-reach])
    return np.array(result)


def descriptors(image, radius, dilation, mask):
    patches = distances(image, radius, dilation)
    variance = patches.mean(axis=0)
    typical = np.average(variance, weights=mask)
    return np.exp(-patches / np.maximum(np.clip(variance, 0.001 * typical, 1000 * typical), VARIANCE_FLOOR))


def reference(fixed, warped, radius=1, dilation=2, mask=None):
    """`(batch,)` in float64."""
    masks = np.ones(fixed.shape[:-1]) if mask is None else mask[..., 0]
    losses = []
    for f, w, m in zip(fixed, warped, masks, strict=True):
        difference = descriptors(f, radius, dilation, m) - descriptors(w, radius, dilation, m)
        losses.append(np.average((difference**2).mean(axis=0), weights=m))
    return np.array(losses)


def test_border_is_replicated(rng):
    volume = rng.random((2, 4, 5, 6, 1)).astype("float32")
    expected = np.pad(volume, [(0, 0), (3, 3), (3, 3), (3, 3), (0, 0)], mode="edge")
    np.testing.assert_array_equal(replicate_border(volume, 3), expected)


@pytest.mark.parametrize(("radius", "dilation"), [(1, 1), (1, 2), (2, 3), (3, 1)])
def test_distances_agree_with_scipy(radius, dilation, rng):
    images = rng.random((2, *SHAPE, 1)).astype("float32")
    found = keras.ops.convert_to_numpy(patch_distances(images, radius, dilation))[..., 0]
    assert found.shape == (12, 2, *SHAPE)
    for b in range(2):  # the order of the twelve is free
        expected = distances(images[b], radius, dilation)
        np.testing.assert_allclose(np.sort(found[:, b], axis=0), np.sort(expected, axis=0), atol=1e-6)


@pytest.mark.parametrize(("radius", "dilation", "stride"), [(1, 2, 2), (2, 3, 3), (1, 4, 2)])
def test_stride_keeps_every_so_many_voxels(radius, dilation, stride, path, rng):
    images = rng.random((2, *SHAPE, 1)).astype("float32")
    with path():
        found = keras.ops.convert_to_numpy(patch_distances(images, radius, dilation, stride))
    every = keras.ops.convert_to_numpy(patch_distances(images, radius, dilation))
    np.testing.assert_allclose(found, every[:, :, ::stride, ::stride, ::stride], atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_stride_compares_every_so_many_voxels(masked, rng):
    fixed, warped = smooth_images(rng)
    kept = np.zeros((2, *SHAPE, 1), "float32")
    kept[:, ::2, ::2, ::2] = 1
    mask = rng.random(kept.shape).astype("float32") if masked else None
    found = keras.ops.convert_to_numpy(MIND(stride=2).compare(fixed, warped, mask))
    expected = reference(fixed, warped, mask=kept * mask if masked else kept)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_distances_of_a_ramp():
    i, j, k = np.meshgrid(range(9), range(10), range(11), indexing="ij")
    ramp = (0.01 * i + 0.02 * j - 0.03 * k)[None, ..., None].astype("float32")
    found = keras.ops.convert_to_numpy(patch_distances(ramp, 1, 2))[:, 0, 4, 5, 5, 0]
    slopes = [(0.02 * (a - c)) ** 2 for a, c in ((1, 2), (1, -2), (1, -3), (1, 3), (2, -3), (2, 3))]
    np.testing.assert_allclose(np.sort(found), np.sort(slopes + slopes), rtol=1e-3)


@pytest.mark.parametrize(("radius", "dilation"), [(1, 2), (2, 1)])
def test_agrees_with_numpy(radius, dilation, rng):
    fixed, warped = smooth_images(rng)
    found = keras.ops.convert_to_numpy(MIND(radius, dilation).compare(fixed, warped))
    np.testing.assert_allclose(found, reference(fixed, warped, radius, dilation), atol=1e-5)


def test_variance_is_clipped(rng):
    fixed, warped = smooth_images(rng, (13, 14, 15))
    fixed[:, 5:] = 0.5 + 0.002 * fixed[:, 5:]  # weaker than a thousandth of the mean variance
    variance = distances(fixed[0], 1, 2).mean(axis=0)
    assert np.mean(variance < 0.001 * variance.mean()) > 0.2
    found = keras.ops.convert_to_numpy(MIND().compare(fixed, warped))
    np.testing.assert_allclose(found, reference(fixed, warped), atol=1e-5)


@pytest.mark.parametrize(("scale", "offset"), [(0.5, 0.3), (-0.7, 0.9), (-1.0, 1.0)])
def test_brightness_contrast_and_inversion_do_not_matter(scale, offset, rng):
    fixed, warped = smooth_images(rng)
    changed = (scale * warped + offset).astype("float32")
    loss = MIND()
    assert float(loss(fixed, changed)) == pytest.approx(float(loss(fixed, warped)), rel=1e-3)
    assert float(loss(fixed, (scale * fixed + offset).astype("float32"))) < 1e-6


def test_is_least_where_images_are_aligned(rng, assert_least_where_aligned):
    texture = ndimage.gaussian_filter(rng.standard_normal((1, 14, 15, 16, 1)), (0, 1, 1, 1, 0))
    assert_least_where_aligned(MIND(), texture, 1 - texture)


def test_mask_weighs_voxels(rng):
    fixed, warped = smooth_images(rng)
    mask = rng.random((2, *SHAPE, 1)).astype("float32")
    found = keras.ops.convert_to_numpy(MIND().compare(fixed, warped, mask))
    np.testing.assert_allclose(found, reference(fixed, warped, mask=mask), atol=1e-5)


def test_masked_out_region_does_not_matter(rng):
    fixed, warped = smooth_images(rng, (11, 8, 9))
    mask = np.zeros_like(fixed)
    mask[:, :6] = 1
    found = keras.ops.convert_to_numpy(MIND().compare(fixed, warped, mask))
    fixed[:, 9:], warped[:, 9:] = rng.random((2, 2, 2, 8, 9, 1))  # radius + dilation voxels past the mask
    np.testing.assert_allclose(MIND().compare(fixed, warped, mask), found, atol=1e-6)


def test_empty_mask_gives_zero(rng):
    found = MIND().compare(*smooth_images(rng), np.zeros((2, *SHAPE, 1), "float32"))
    np.testing.assert_array_equal(found, [0, 0])


def test_flat_image_is_finite(rng, gradient):
    fixed, _ = smooth_images(rng)
    flat = np.full_like(fixed, 0.7)
    loss = MIND()
    assert float(loss(flat, flat)) == 0
    assert float(loss(fixed, flat)) == pytest.approx(reference(fixed, flat).mean(), abs=1e-5)
    for pair in ((fixed, flat), (flat, fixed), (flat, flat)):
        assert np.isfinite(gradient(loss, *pair)).all()


@pytest.mark.parametrize(("dilation", "stride"), [(1, 1), (2, 2)])
def test_gradient(dilation, stride, rng, gradient, finite_differences):
    fixed, warped = rng.random((2, 2, 3, 4, 5, 1), "float32")
    mask, kept = rng.random((2, 3, 4, 5, 1)).astype("float32"), np.zeros((1, 3, 4, 5, 1), "float32")
    kept[:, ::stride, ::stride, ::stride] = 1
    found = gradient(lambda f, w: keras.ops.sum(MIND(1, dilation, stride).compare(f, w, mask)), fixed, warped)
    by_fixed = finite_differences(lambda f: reference(f, warped, 1, dilation, kept * mask).sum(), fixed)
    by_warped = finite_differences(lambda w: reference(fixed, w, 1, dilation, kept * mask).sum(), warped)
    assert np.abs(by_warped).max() > 1e-3
    np.testing.assert_allclose(found[0], by_fixed, atol=1e-5)
    np.testing.assert_allclose(found[1], by_warped, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"radius": 0}, {"radius": 1.0}, {"dilation": 0}, {"dilation": -2}, {"stride": 0}, {"stride": 3}]
)
def test_refuses_what_is_not_a_positive_integer(options):
    with pytest.raises(ValueError, match=f"Received: {next(iter(options))}="):
        MIND(**options)
