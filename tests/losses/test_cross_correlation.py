"""Global correlation against NumPy, its invariances, masks and finite differences."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.losses.cross_correlation import VARIANCE_FLOOR, CrossCorrelation

SHAPE = (7, 8, 9)


def images(rng, shape=SHAPE, batch=2):
    """Random images in [0, 1] that share a part."""
    fixed, noise = rng.random((2, batch, *shape, 1))
    return fixed.astype("float32"), (0.4 * fixed + 0.6 * noise).astype("float32")


def reference(fixed, warped, mask=None):
    """`(batch,)` in float64, from NumPy's weighted covariance matrix."""
    mask = np.ones_like(fixed) if mask is None else mask
    losses = []
    for f, w, m in zip(*(x.reshape(len(x), -1).astype("float64") for x in (fixed, warped, mask)), strict=True):
        covariance = np.cov(f, w, aweights=m, ddof=0)
        variances = np.diag(covariance) + VARIANCE_FLOOR
        losses.append(1 - covariance[0, 1] ** 2 / np.prod(variances))
    return np.array(losses)


def test_agrees_with_numpy(rng):
    fixed, warped = images(rng)
    found = keras.ops.convert_to_numpy(CrossCorrelation().compare(fixed, warped))
    np.testing.assert_allclose(found, reference(fixed, warped), atol=1e-6)
    assert float(CrossCorrelation()(fixed, warped)) == pytest.approx(reference(fixed, warped).mean(), abs=1e-6)


def test_known_values():
    i, j, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    ramp = (i / i.std())[None, ..., None].astype("float32")
    other = (j / j.std())[None, ..., None].astype("float32")
    assert float(CrossCorrelation()(ramp, other)) == pytest.approx(1, abs=1e-6)
    for share in (0.3, 0.6):  # of the second ramp's standard deviation: the correlation is known
        mixed = np.sqrt(1 - share**2) * ramp + share * other
        assert float(CrossCorrelation()(ramp, mixed)) == pytest.approx(share**2, abs=1e-5)


@pytest.mark.parametrize(("scale", "offset"), [(0.5, 0.3), (-0.7, 0.9), (-1.0, 1.0)])
def test_brightness_and_strength_of_contrast_do_not_matter_but_its_sign_does(scale, offset, rng):
    fixed, warped = images(rng)
    loss = CrossCorrelation()
    changed = (scale * warped + offset).astype("float32")
    assert float(loss(fixed, changed)) - 1 == pytest.approx(np.sign(scale) * (float(loss(fixed, warped)) - 1), abs=1e-5)
    same = float(loss(fixed, (scale * fixed + offset).astype("float32")))
    assert same == pytest.approx(0 if scale > 0 else 2, abs=1e-5)


def test_is_symmetric(rng):
    fixed, warped = images(rng)
    assert float(CrossCorrelation()(fixed, warped)) == pytest.approx(float(CrossCorrelation()(warped, fixed)), abs=1e-6)


def test_is_least_where_images_are_aligned(rng, assert_least_where_aligned):
    texture = ndimage.gaussian_filter(rng.standard_normal((1, 11, 12, 13, 1)), (0, 1.5, 1.5, 1.5, 0))
    assert_least_where_aligned(CrossCorrelation(), texture, 0.5 * texture)


def test_mask_weighs_voxels(rng):
    fixed, warped = images(rng)
    mask = rng.random((2, *SHAPE, 1)).astype("float32")
    found = keras.ops.convert_to_numpy(CrossCorrelation().compare(fixed, warped, mask))
    np.testing.assert_allclose(found, reference(fixed, warped, mask), atol=1e-6)


def test_masked_out_region_does_not_matter(rng):
    fixed, warped = images(rng)
    mask = (rng.random((2, *SHAPE, 1)) < 0.3).astype("float32")
    found = keras.ops.convert_to_numpy(CrossCorrelation().compare(fixed, warped, mask))
    expected = [1 - np.corrcoef(fixed[b][mask[b] > 0], warped[b][mask[b] > 0])[0, 1] ** 2 for b in range(2)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    changed = [np.where(mask > 0, image, 7.0).astype("float32") for image in (fixed, warped)]
    np.testing.assert_allclose(CrossCorrelation().compare(*changed, mask), found, atol=1e-6)


def test_empty_mask_gives_one(rng):
    found = CrossCorrelation().compare(*images(rng), np.zeros((2, *SHAPE, 1), "float32"))
    np.testing.assert_array_equal(found, [1, 1])


def test_flat_image_tells_nothing(rng, gradient):
    fixed, _ = images(rng)
    flat = np.full_like(fixed, 0.7)
    loss = CrossCorrelation()
    for pair in ((fixed, flat), (flat, fixed), (flat, flat)):
        assert float(loss(*pair)) == pytest.approx(1, abs=1e-6)
        assert np.isfinite(gradient(loss, *pair)).all()


def test_gradient(rng, gradient, finite_differences):
    fixed, warped = images(rng, (3, 4, 5))
    mask = rng.random((2, 3, 4, 5, 1)).astype("float32")
    found = gradient(lambda f, w: keras.ops.sum(CrossCorrelation().compare(f, w, mask)), fixed, warped)
    by_fixed = finite_differences(lambda f: reference(f, warped, mask).sum(), fixed)
    by_warped = finite_differences(lambda w: reference(fixed, w, mask).sum(), warped)
    assert np.abs(by_warped).max() > 0.01
    np.testing.assert_allclose(found[0], by_fixed, atol=1e-5)
    np.testing.assert_allclose(found[1], by_warped, atol=1e-5)
