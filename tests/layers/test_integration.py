"""Both integrations against closed forms, SciPy in float64, finite differences, and what they promise."""

import functools
import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tfreg.layers.axiswise_integration import AxiswiseIntegration
from tfreg.layers.composed_integration import ComposedIntegration

LAYERS = {"axiswise": AxiswiseIntegration, "composed": ComposedIntegration}
MAPS = list(itertools.product(LAYERS, ["centre", "start"]))
SIZES = [(4, 5, 6), (5, 8, 3), (1, 2, 7)]
if keras.backend.backend() != "tensorflow":  # every size and map is compiled anew, some seconds each
    MAPS = [("axiswise", "start"), ("composed", "centre")]
    SIZES = [(5, 4, 2)]
every_map = pytest.mark.parametrize(("integration", "anchor"), MAPS)
composed_anchors = pytest.mark.parametrize("anchor", [anchor for name, anchor in MAPS if name == "composed"])
sizes = pytest.mark.parametrize("shape", SIZES, ids=str)


def voxel_centres(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).astype("float64")


def random_gradients(rng, shape, batch=2, scale=2.0):
    """Gradients of random logits, as the head makes them."""
    logits = np.clip(scale * rng.standard_normal((batch, *shape, 3)), -7, 7)
    return (2 / (1 + np.exp(-logits))).astype("float32")


def random_points(rng, shape, batch=2, margin=3.0):
    return rng.uniform(-margin, np.array(shape) - 1 + margin, (batch, 4, 3, 5, 3)).astype("float32")


def evaluated(integration, anchor, *arguments):
    return keras.ops.convert_to_numpy(LAYERS[integration](anchor)(*arguments))


@every_map
@sizes
def test_gradients_of_one_are_exactly_the_identity(shape, integration, anchor, rng):
    ones, points = np.ones((2, *shape, 3), "float32"), random_points(rng, shape)
    expected = np.repeat(voxel_centres(shape)[None], 2, axis=0)
    np.testing.assert_array_equal(np.broadcast_to(evaluated(integration, anchor, ones), expected.shape), expected)
    np.testing.assert_array_equal(evaluated(integration, anchor, ones, points), points)


@every_map
@sizes
def test_constant_gradients_scale_about_the_anchor(shape, integration, anchor):
    slopes = np.array([0.4, 1.3, 1.9])
    gradients = np.broadcast_to(slopes, (1, *shape, 3)).astype("float32")
    centre = (np.array(shape) - 1) / 2
    # At "start" a running sum from before the first voxel: slope * (index + 1) - 1.
    fixed_point = centre if anchor == "centre" else np.full(3, -1.0)
    expected = fixed_point + slopes * (voxel_centres(shape) - fixed_point)
    np.testing.assert_allclose(evaluated(integration, anchor, gradients)[0], expected, atol=1e-5)


@every_map
@sizes
def test_voxel_centres_agree_with_scipy(shape, integration, anchor, rng, integration_reference):
    gradients = random_gradients(rng, shape)
    found = evaluated(integration, anchor, gradients)
    for b in range(2):
        expected = integration_reference(gradients[b], voxel_centres(shape), integration, anchor)
        np.testing.assert_allclose(found[b], expected, atol=1e-5)


@every_map
@sizes
def test_points_agree_with_scipy(shape, integration, anchor, rng, integration_reference):
    gradients, points = random_gradients(rng, shape), random_points(rng, shape)
    found = evaluated(integration, anchor, gradients, points)
    for b in range(2):
        expected = integration_reference(gradients[b], points[b], integration, anchor)
        np.testing.assert_allclose(found[b], expected, atol=1e-5)


@every_map
def test_one_set_of_points_serves_the_whole_batch(integration, anchor, rng, integration_reference):
    gradients, points = random_gradients(rng, (4, 5, 6)), random_points(rng, (4, 5, 6), batch=1)
    found = evaluated(integration, anchor, gradients, points)
    for b in range(2):
        expected = integration_reference(gradients[b], points[0], integration, anchor)
        np.testing.assert_allclose(found[b], expected, atol=1e-5)


@every_map
def test_gradient_of_the_gradients(integration, anchor, rng, gradient, finite_differences, integration_reference):
    shape = (3, 4, 2)
    gradients = random_gradients(rng, shape, batch=1, scale=1.0)
    weights = rng.standard_normal((1, *shape, 3)).astype("float32")
    layer = LAYERS[integration](anchor)
    (found,) = gradient(lambda g: keras.ops.sum(weights * layer(g)), gradients)
    expected = finite_differences(
        lambda g: np.sum(weights * integration_reference(g[0], voxel_centres(shape), integration, anchor)), gradients
    )
    np.testing.assert_allclose(found, expected, atol=5e-5)


@every_map
def test_gradient_at_points(integration, anchor, rng, gradient, finite_differences, integration_reference):
    shape = (3, 4, 2)
    gradients = random_gradients(rng, shape, batch=2, scale=1.0)
    points = random_points(rng, shape, margin=1.5)
    weights = rng.standard_normal(points.shape).astype("float32")
    layer = LAYERS[integration](anchor)

    def reference(g, p):
        return sum(np.sum(weights[b] * integration_reference(g[b], p[b], integration, anchor)) for b in range(2))

    found = gradient(lambda g, p: keras.ops.sum(weights * layer(g, p)), gradients, points)
    np.testing.assert_allclose(found[0], finite_differences(lambda g: reference(g, points), gradients), atol=5e-5)
    np.testing.assert_allclose(found[1], finite_differences(lambda p: reference(gradients, p), points), atol=5e-5)


@functools.cache  # JAX compiles a function once
def weighted_sum(integration, anchor):
    layer = LAYERS[integration](anchor)
    return lambda gradients, points, weights: keras.ops.sum(weights * layer(gradients, points))


def jacobians(gradient, integration, anchor, gradients, points):
    """`(..., 3, 3)` derivative of the layer's map at every point."""
    function = weighted_sum(integration, anchor)
    return np.stack([gradient(function, gradients, points, row)[1] for row in np.eye(3)], axis=-2)


@pytest.fixture(scope="module")
def folding_gradients():
    """Design.md's example of gradients under which the axiswise map folds: Φ_x = [[.1, 1.9], [.5, 1]], Φ_y = Φ_xᵀ."""
    gradients = np.ones((1, 2, 2, 3, 3), "float32")
    gradients[0, ..., 0] = np.array([[0.1, 1.9], [0.5, 1.0]])[..., None]
    gradients[0, ..., 1] = np.array([[0.1, 0.5], [1.9, 1.0]])[..., None]
    return gradients


def test_axiswise_map_may_fold(folding_gradients):
    grid = evaluated("axiswise", "start", folding_gradients)[0]
    # Forward differences at the first voxel: [[.5, 1.8], [1.8, .5]].
    forward = np.stack([grid[1, 0, 0] - grid[0, 0, 0], grid[0, 1, 0] - grid[0, 0, 0]], axis=-1)[:2]
    np.testing.assert_allclose(forward, [[0.5, 1.8], [1.8, 0.5]], atol=1e-6)
    assert np.linalg.det(forward) == pytest.approx(-2.99, abs=1e-5)


@composed_anchors
def test_composed_map_of_the_same_gradients_does_not_fold(anchor, folding_gradients, rng, gradient):
    points = rng.uniform(-1, [2, 2, 3], (1, 400, 3)).astype("float32")
    composed = np.linalg.det(jacobians(gradient, "composed", anchor, folding_gradients, points))
    assert composed.min() > 0


seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, scale=st.floats(0.1, 20))
@settings(max_examples=20, deadline=None)
@composed_anchors
@pytest.mark.parametrize("d", [0, 1, 2])
def test_each_step_of_the_composed_map_increases(d, anchor, seed, scale):
    rng = np.random.default_rng(seed)
    shape = (4, 5, 6)
    gradients = random_gradients(rng, shape, batch=1, scale=scale)
    gradients[..., [axis for axis in range(3) if axis != d]] = 1  # T_d alone
    points = np.repeat(rng.uniform(-1, shape, (1, 6, 1, 3)), 33, axis=2)
    points[..., d] = np.linspace(-2, 8, 33)
    points = points.astype("float32")
    found = evaluated("composed", anchor, gradients, points)
    assert np.all(np.diff(found[..., d], axis=2) > 0)
    others = [axis for axis in range(3) if axis != d]
    np.testing.assert_array_equal(found[..., others], points[..., others])


@given(seed=seeds, scale=st.floats(0.1, 2))  # beyond, float32 entries of 10 round away determinants of 1e-6
@settings(max_examples=20, deadline=None, derandomize=True)
@composed_anchors
def test_jacobian_of_the_composed_map_is_a_product_of_slopes(anchor, gradient, integration_reference, seed, scale):
    rng = np.random.default_rng(seed)
    shape = (4, 5, 6)
    gradients = random_gradients(rng, shape, batch=1, scale=scale)
    points = rng.uniform(0.02, np.array(shape) - 1.02, (1, 40, 3)).astype("float32")
    found = np.linalg.det(jacobians(gradient, "composed", anchor, gradients, points).astype("float64"))

    # T_d's slope is Φ_d of the cell's upper end, interpolated across the other axes; 1 outside the lattice.
    expected = 1.0
    place = points[0].astype("float64")
    for d in range(3):
        end = place.copy()
        end[:, d] = np.floor(place[:, d]) + 1
        slope = ndimage.map_coordinates(gradients[0, ..., d].astype("float64"), end.T, order=1, mode="nearest")
        expected = expected * np.where((place[:, d] > 0) & (place[:, d] < shape[d] - 1), slope, 1.0)
        step = gradients[0].copy()
        step[..., [axis for axis in range(3) if axis != d]] = 1
        place = integration_reference(step, place, "composed", anchor)
    assert found.min() > 0
    # Where float32 rounds a coordinate across a lattice plane, the slopes are those of the next cell.
    assert np.mean(np.isclose(found, expected, rtol=1e-3, atol=1e-6)) > 0.9
