"""The displacement head against closed forms, SciPy in float64, finite differences, and what it promises."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tfreg.layers.composed_displacement import ComposedDisplacement

SIZES = [(4, 5, 6), (7, 8, 3), (1, 2, 9)]
STRIDES = [1, 2, 3]
if keras.backend.backend() != "tensorflow":  # every size and stride is compiled anew, some seconds each
    SIZES, STRIDES = [(5, 4, 3)], [2]
sizes = pytest.mark.parametrize("shape", SIZES, ids=str)
strides = pytest.mark.parametrize("stride", STRIDES)


def voxel_centres(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype("float64")


def control_size(shape, stride):
    return tuple(-(-n // stride) for n in shape)


def random_control(rng, shape, stride, batch=2, scale=2.0):
    return scale * rng.standard_normal((batch, *control_size(shape, stride), 4)).astype("float32")


def random_points(rng, shape, batch=2, margin=3.0):
    return rng.uniform(-margin, np.array(shape) - 1 + margin, (batch, 4, 3, 5, 3)).astype("float32")


def evaluated(control, shape, stride, points=None):
    volume = np.zeros((len(control), *shape, 1), "float32")
    mapped = ComposedDisplacement(stride)(np.asarray(control, "float32"), volume, points)
    return {name: keras.ops.convert_to_numpy(value) for name, value in mapped.items()}


def at_voxels(coarse, shape, stride):
    """`(i, j, k)` of `(i', j', k')`: fine voxel f lies at (f + 1/2) / stride - 1/2."""
    places = np.moveaxis((voxel_centres(shape) + 0.5) / stride - 0.5, -1, 0)
    return ndimage.map_coordinates(np.asarray(coarse, "float64"), places, order=1, mode="nearest")


def limited(values, axis):
    """The running sums of one component along its own axis, line by line, each with its line's mean."""
    lines = np.moveaxis(values, axis, 0)
    sums = np.zeros_like(lines)
    for k in range(1, len(lines)):
        sums[k] = sums[k - 1] + np.tanh(np.clip(lines[k] - lines[k - 1], -3.5, 3.5))
    return np.moveaxis(sums - sums.mean(axis=0) + lines.mean(axis=0), 0, axis)


def reference(control, shape, stride, points):
    """The map of one volume in float64, at points `(..., 3)`."""
    points = np.array(points, "float64")
    for d in range(3):
        field = limited(at_voxels(control[..., d], shape, stride), d)
        points[..., d] += ndimage.map_coordinates(field, np.moveaxis(points, -1, 0), order=1, mode="nearest")
    return points


@strides
@sizes
def test_zero_is_exactly_the_identity(shape, stride, rng, path):
    control, points = np.zeros((2, *control_size(shape, stride), 4)), random_points(rng, shape)
    with path():
        found, at_points = evaluated(control, shape, stride), evaluated(control, shape, stride, points)
    np.testing.assert_array_equal(found["grid"], np.repeat(voxel_centres(shape)[None], 2, axis=0))
    np.testing.assert_array_equal(at_points["grid"], points)
    np.testing.assert_array_equal(found["gradients"], np.ones((2, *shape, 3)))
    np.testing.assert_array_equal(found["log_error"], np.zeros((2, *shape, 1)))


@strides
@sizes
@pytest.mark.parametrize("shift", [(2.5, -7.25, 0.75), (40.0, -31.0, 0.5)])
def test_a_constant_is_exactly_a_translation(shape, stride, shift):
    """Of numbers that float32 adds without rounding."""
    control = np.broadcast_to([*shift, 0.0], (1, *control_size(shape, stride), 4))
    found = evaluated(control, shape, stride)
    np.testing.assert_array_equal(found["grid"][0], voxel_centres(shape) + shift)
    np.testing.assert_array_equal(found["gradients"], np.ones((1, *shape, 3)))


def test_small_slopes_are_kept_and_steep_ones_limited():
    """A ramp along each component's own axis: tanh of its slope, about the middle of the line."""
    shape = (4, 5, 6)
    for slope in (0.01, -0.6, 2.0, -50.0):
        control = np.zeros((1, *shape, 4))
        control[..., :3] = slope * voxel_centres(shape) + 3
        centre = (np.array(shape) - 1) / 2
        steepest = np.tanh(np.clip(slope, -3.5, 3.5))
        expected = voxel_centres(shape) + steepest * (voxel_centres(shape) - centre) + slope * centre + 3
        # T_j and T_k are read at places that T_i and T_j have moved, of which they are independent here.
        np.testing.assert_allclose(evaluated(control, shape, 1)["grid"][0], expected, atol=1e-4)


@pytest.mark.parametrize("d", [0, 1, 2])
def test_slopes_across_are_not_limited(d):
    """A component may change as it likes along the other two axes."""
    shape, stride = (5, 4, 7), 2
    across = (d + 1) % 3
    control = np.zeros((1, *control_size(shape, stride), 4))
    line = np.arange(control.shape[1 + across]) * 10.0
    control[..., d] += line.reshape([-1 if axis == across + 1 else 1 for axis in range(4)])
    expected = voxel_centres(shape)
    expected[..., d] += at_voxels(control[0, ..., d], shape, stride)
    found = evaluated(control, shape, stride)
    np.testing.assert_allclose(found["grid"][0], expected, atol=1e-5)
    np.testing.assert_array_equal(found["gradients"], np.ones((1, *shape, 3)))


@strides
@sizes
def test_voxel_centres_agree_with_scipy(shape, stride, rng, path):
    control = random_control(rng, shape, stride)
    with path():
        found = evaluated(control, shape, stride)
    for b in range(2):
        expected = reference(control[b], shape, stride, voxel_centres(shape))
        np.testing.assert_allclose(found["grid"][b], expected, atol=2e-5)
        error = at_voxels(control[b, ..., 3], shape, stride)
        np.testing.assert_allclose(found["log_error"][b, ..., 0], error, atol=1e-5)
        for d in range(3):
            values = at_voxels(control[b, ..., d], shape, stride)
            slopes = np.diff(limited(values, d), axis=d, prepend=limited(values, d).take([0], d))
            np.testing.assert_allclose(found["gradients"][b, ..., d], 1 + slopes, atol=1e-5)


@strides
@sizes
def test_points_agree_with_scipy(shape, stride, rng):
    control, points = random_control(rng, shape, stride), random_points(rng, shape)
    outside = ((points < 0) | (points > np.array(shape) - 1)).any(axis=-1)
    assert 0.1 < outside.mean() <= 1
    found, shared = (evaluated(control, shape, stride, given)["grid"] for given in (points, points[:1]))
    for b in range(2):
        np.testing.assert_allclose(found[b], reference(control[b], shape, stride, points[b]), atol=2e-5)
        np.testing.assert_allclose(shared[b], reference(control[b], shape, stride, points[0]), atol=2e-5)


def test_gradient_of_the_control_points(rng, gradient, finite_differences):
    shape, stride = (3, 5, 4), 2
    control = random_control(rng, shape, stride, batch=1, scale=0.7)
    weights = rng.standard_normal((1, *shape, 3)).astype("float32")
    layer, volume = ComposedDisplacement(stride), np.zeros((1, *shape, 1), "float32")
    (found,) = gradient(lambda c: keras.ops.sum(weights * layer(c, volume)["grid"]), control)
    expected = finite_differences(
        lambda c: np.sum(weights * reference(c[0], shape, stride, voxel_centres(shape))), control
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found[..., 3] == 0).all()  # the map does not depend on the expected error


def test_gradient_at_points(rng, gradient, finite_differences):
    shape, stride = (3, 5, 4), 2
    control, points = random_control(rng, shape, stride, scale=0.7), random_points(rng, shape, margin=1.5)
    weights = rng.standard_normal(points.shape).astype("float32")
    layer, volume = ComposedDisplacement(stride), np.zeros((2, *shape, 1), "float32")

    def expected(c, p):
        return sum(np.sum(weights[b] * reference(c[b], shape, stride, p[b])) for b in range(2))

    found = gradient(lambda c, p: keras.ops.sum(weights * layer(c, volume, p)["grid"]), control, points)
    np.testing.assert_allclose(found[0], finite_differences(lambda c: expected(c, points), control), atol=2e-4)
    np.testing.assert_allclose(found[1], finite_differences(lambda p: expected(control, p), points), atol=2e-4)


def test_slopes_beyond_the_limit_have_no_gradient(gradient):
    """As of logits: what is limited is not pushed further."""
    control = np.zeros((1, 2, 1, 1, 4), "float32")
    control[0, 1, 0, 0, 0] = 5.0
    volume, layer = np.zeros((1, 2, 1, 1, 1), "float32"), ComposedDisplacement(1)
    (found,) = gradient(lambda c: keras.ops.sum(layer(c, volume)["gradients"]), control)
    np.testing.assert_array_equal(found, 0)


seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, scale=st.floats(0.1, 100))
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("d", [0, 1, 2])
def test_each_step_of_the_map_increases(d, seed, scale):
    rng = np.random.default_rng(seed)
    shape, stride = (4, 5, 6), 2
    control = random_control(rng, shape, stride, batch=1, scale=scale)
    control[..., [axis for axis in range(3) if axis != d]] = 0  # T_d alone
    points = np.repeat(rng.uniform(-1, shape, (1, 6, 1, 3)), 33, axis=2)
    points[..., d] = np.linspace(-2, 8, 33)
    points = points.astype("float32")
    found = evaluated(control, shape, stride, points)["grid"]
    # A step of 0.31 voxels at a slope of at least 0.0018; float32 rounds sums of up to 300.
    assert np.all(np.diff(found[..., d], axis=2) > 0)
    others = [axis for axis in range(3) if axis != d]
    np.testing.assert_array_equal(found[..., others], points[..., others])
