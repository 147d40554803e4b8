"""Up-sampling against SciPy, and the head's range and exact one."""

import functools

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.layers.gradient_head import GradientHead
from tfreg.ops.upsampling import upsample_lines, upsample_lines_by_product

either_way = pytest.mark.parametrize("upsample", [upsample_lines, upsample_lines_by_product])


def along_all_axes(upsample, volume, factor):
    """A volume up-sampled by a function of volume, factor and axis."""
    volume = keras.ops.convert_to_tensor(volume)
    return functools.reduce(lambda coarse, axis: upsample(coarse, factor, axis), range(3), volume)


def zoomed(volume, factor):
    """`(batch, i, j, k, channels)` in float64, up-sampled by SciPy with half-pixel centres."""
    zoom = (1, factor, factor, factor, 1)
    return ndimage.zoom(volume.astype("float64"), zoom, order=1, mode="nearest", grid_mode=True)


@pytest.mark.parametrize("shape", [(4, 5, 6), (3, 1, 2)], ids=str)
@pytest.mark.parametrize("factor", [2, 3])
@either_way
def test_upsampling_agrees_with_scipy(upsample, factor, shape, rng):
    volume = rng.standard_normal((2, *shape, 3)).astype("float32")
    found = keras.ops.convert_to_numpy(along_all_axes(upsample, volume, factor))
    np.testing.assert_allclose(found, zoomed(volume, factor), atol=1e-6)


@either_way
def test_factor_of_one_changes_nothing(upsample, rng):
    volume = rng.standard_normal((2, 4, 5, 6, 3)).astype("float32")
    np.testing.assert_array_equal(along_all_axes(upsample, volume, 1), volume)


@pytest.mark.parametrize("factor", [2, 3])
@either_way
def test_upsampling_keeps_ramps(upsample, factor):
    ramp = np.arange(4)[:, None, None] + 10.0 * np.arange(5)[:, None] - 3.0 * np.arange(6)
    found = along_all_axes(upsample, ramp[None, ..., None].astype("float32"), factor)
    found = keras.ops.convert_to_numpy(found)[0, ..., 0]
    i, j, k = ((np.arange(factor * n) + 0.5) / factor - 0.5 for n in (4, 5, 6))
    expected = i[:, None, None] + 10.0 * j[:, None] - 3.0 * k
    inner = slice(factor, -factor)  # beyond the outermost coarse centres the border's value continues
    np.testing.assert_allclose(found[inner, inner, inner], expected[inner, inner, inner], atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3])
@either_way
def test_gradient_of_upsampling_is_its_adjoint(upsample, factor, rng, gradient):
    volume = rng.standard_normal((1, 2, 3, 4, 2)).astype("float32")
    weights = rng.standard_normal((1, 2 * factor, 3 * factor, 4 * factor, 2)).astype("float32")
    (found,) = gradient(lambda v: keras.ops.sum(weights * along_all_axes(upsample, v, factor)), volume)
    units = np.eye(volume.size).reshape(-1, *volume.shape)
    expected = [np.sum(weights * zoomed(unit, factor)) for unit in units]
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("stride", "shape"), [(1, (4, 5, 6)), (2, (4, 5, 6)), (2, (7, 3, 1)), (3, (4, 5, 6)), (3, (7, 9, 2))]
)
def test_agrees_with_scipy_and_is_cropped(path, stride, shape, rng):
    logits = 3 * rng.standard_normal((2, *(-(-n // stride) for n in shape), 3)).astype("float32")
    with path():
        found = keras.ops.convert_to_numpy(GradientHead(stride)(logits, np.zeros((2, *shape, 1), "float32")))
    i, j, k = shape
    clipped = np.clip(zoomed(logits, stride)[:, :i, :j, :k], -7, 7)
    np.testing.assert_allclose(found, 2 / (1 + np.exp(-clipped)), rtol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_zero_logits_give_exactly_one(stride):
    found = GradientHead(stride)(np.zeros((2, 2, 3, 4, 3), "float32"), np.zeros((2, 2, 3, 4, 1), "float32"))
    np.testing.assert_array_equal(found, np.ones((2, 2, 3, 4, 3)))


def test_range():
    logits = np.zeros((1, 2, 3, 4, 3), "float32")
    logits[0, :, 0], logits[0, :, 2] = -1e9, 1e9
    found = keras.ops.convert_to_numpy(GradientHead(1)(logits, logits))
    assert 0.0018 < found.min() < 0.00183
    assert 1.9981 < found.max() < 2


def test_logits_beyond_the_limit_have_no_gradient(gradient):
    logits = np.array([-8.0, -6.0, 0.0, 6.0, 8.0, 0.5], "float32").reshape(1, 1, 2, 1, 3)
    (found,) = gradient(lambda x: keras.ops.sum(GradientHead(1)(x, x)), logits)
    half = 1 / (1 + np.exp(-logits))
    expected = np.where(np.abs(logits) > 7, 0, 2 * half * (1 - half))
    np.testing.assert_allclose(found, expected, atol=1e-6)
