"""Control points: the integration of their logits follows their displacements."""

import numpy as np
import pytest
from keras import ops

from tfreg.layers.composed_integration import ComposedIntegration
from tfreg.layers.gradient_head import GradientHead
from tfreg.ops.control_points import logits_from_displacement
from tfreg.ops.shifted_sampling import sample_shifted
from tfreg.ops.trilinear_sampling import sample_trilinear

SHAPE = (8, 10, 12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_component_alone_becomes_the_displacement(axis):
    """With one control point a voxel: u[m] - u[m-1] = tanh(w[m] - w[m-1]), and u ends where w does."""
    displacement = np.zeros((1, *SHAPE, 3), np.float32)
    ramp = 0.3 * np.sin(np.arange(SHAPE[axis]))
    displacement[..., axis] += ramp.reshape([1, *(-1 if a == axis else 1 for a in range(3))])
    gradients = GradientHead(stride=1)(logits_from_displacement(displacement, 1), displacement)
    grid = np.array(ComposedIntegration("start")(gradients))
    found = grid[0, ..., axis] - np.indices(SHAPE)[axis]
    expected = np.cumsum(np.tanh(np.diff(ramp, prepend=0)))
    np.testing.assert_allclose(np.moveaxis(found, axis, -1)[3, 4], expected, atol=1e-5)
    np.testing.assert_allclose(np.delete(grid[0], axis, -1), np.delete(np.moveaxis(np.indices(SHAPE), 0, -1), axis, -1))


def test_stride_scales_the_slopes(rng):
    displacement = rng.normal(size=(1, 3, 4, 5, 3)).astype("float32")
    np.testing.assert_allclose(
        logits_from_displacement(displacement, 2), np.array(logits_from_displacement(displacement, 1)) / 2, rtol=1e-6
    )


def test_voxel_centres_take_the_short_way_to_the_same_map(rng):
    gradients = rng.uniform(0.3, 1.7, (2, *SHAPE, 3)).astype("float32")
    layer = ComposedIntegration("start")
    points = np.moveaxis(np.indices(SHAPE), 0, -1).astype("float32")[None]
    np.testing.assert_allclose(layer(gradients), layer(gradients, points), atol=1e-5)


def shifted_case(rng, moved):
    """A volume, and voxels that moved along the first axes, beyond the border too; of those axes some planes."""
    volume = rng.normal(size=(2, *SHAPE, 1)).astype("float32")
    sizes = [n - 2 if d < moved else n for d, n in enumerate(SHAPE)]
    points = np.moveaxis(np.indices(sizes), 0, -1)
    points = np.broadcast_to(points, (2, *sizes, 3)).astype("float32").copy()
    points[..., :moved] += rng.uniform(-4, 6, (2, *sizes, moved))
    return volume, points


@pytest.mark.parametrize("moved", [1, 2, 3])
def test_shifted_sampling_is_trilinear(rng, moved):
    volume, points = shifted_case(rng, moved)
    coordinates = [points[..., d : d + 1] for d in range(moved)]
    np.testing.assert_allclose(sample_shifted(volume, *coordinates), sample_trilinear(volume, points), atol=1e-5)


@pytest.mark.parametrize("moved", [1, 2, 3])
def test_the_gradient_of_shifted_sampling_is_that_of_trilinear_sampling(rng, gradient, moved, path):
    volume, points = shifted_case(rng, moved)
    seen = rng.normal(size=(*points.shape[:4], 1)).astype("float32")

    def shifted(volume, points):
        coordinates = ops.split(points, 3, axis=-1)[:moved]
        return ops.sum(seen * sample_shifted(volume, *coordinates))

    def trilinear(volume, points):
        return ops.sum(seen * sample_trilinear(volume, points))

    with path():
        of_volume, of_points = gradient(shifted, volume, points)
        expected_of_volume, expected_of_points = gradient(trilinear, volume, points)
    np.testing.assert_allclose(of_volume, expected_of_volume, atol=1e-5)
    np.testing.assert_allclose(of_points[..., :moved], expected_of_points[..., :moved], atol=1e-5)
    assert np.any(of_points[..., :moved] == 0)  # points beyond the border
    assert np.all(of_points[..., moved:] == 0)
