"""The float64 deformation against the Keras layers, SciPy and closed forms."""

import itertools

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.layers.axiswise_integration import AxiswiseIntegration
from tfreg.layers.composed_integration import ComposedIntegration
from tfreg.layers.gradient_head import GradientHead
from tfreg.layers.linear_grid import LinearGrid
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.interpolation import upsampled
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

LAYERS = {"axiswise": AxiswiseIntegration, "composed": ComposedIntegration}
SHAPES = [(9, 6, 13), (20, 17, 11)]
every_map = pytest.mark.parametrize(("integration", "anchor"), list(itertools.product(LAYERS, ["centre", "start"])))
# Rotates, shears and scales; the translation takes a good part of the points out of every lattice.
LINEAR = np.array([[1.1, -0.3, 0.1, 3.5], [0.25, 0.9, -0.2, -2.5], [-0.1, 0.15, 1.2, 1.5]])


def layers_map(logits, volume, linear, stride, integration, anchor):
    """The Keras layers' map at every voxel centre, `(i, j, k, 3)`."""
    gradients = GradientHead(stride)(logits[None], volume)
    grid = None if linear is None else LinearGrid()(linear[None].astype("float32"), volume)
    return keras.ops.convert_to_numpy(LAYERS[integration](anchor)(gradients, grid))[0]


@every_map
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layers_and_transform_are_the_same_map(rng, shape, stride, integration, anchor):
    coarse = tuple(-(-n // stride) for n in shape)
    logits = (3 * rng.standard_normal((*coarse, 3))).astype("float32")  # some are clipped at 7
    volume = np.zeros((1, *shape, 1), "float32")
    deformation = Deformation(logits, shape, stride, integration, anchor)
    lattice = Lattice(shape, np.eye(4))

    ours = deformation(lattice.voxels())
    np.testing.assert_allclose(ours, layers_map(logits, volume, None, stride, integration, anchor), atol=1e-4)

    transform = Transform(lattice, LINEAR, deformation, np.eye(4))
    moved = Transform(lattice, LINEAR, None, np.eye(4))(lattice.points())
    outside = ((moved < 0) | (moved > np.array(shape) - 1)).any(axis=-1)
    assert 0.1 < outside.mean() < 0.9
    theirs = layers_map(logits, volume, LINEAR, stride, integration, anchor)
    np.testing.assert_allclose(transform(lattice.points()), theirs, atol=1e-4)
    assert np.abs(theirs - moved).max() > 1


@every_map
@pytest.mark.parametrize("stride", [1, 2])
def test_logits_of_zero_are_exactly_the_identity(rng, stride, integration, anchor):
    shape = (5, 8, 3)
    deformation = Deformation(np.zeros((*(-(-n // stride) for n in shape), 3)), shape, stride, integration, anchor)
    points = rng.uniform(-3, 10, (4, 5, 3))
    np.testing.assert_array_equal(deformation(points), points)


@every_map
def test_constant_logits_scale_about_the_anchor(integration, anchor):
    shape = (4, 5, 6)
    slopes = np.array([0.4, 1.3, 1.9])
    logits = np.broadcast_to(np.log(slopes / (2 - slopes)), (*shape, 3))
    voxels = Lattice(shape, np.eye(4)).voxels()
    still = (np.array(shape) - 1) / 2 if anchor == "centre" else np.full(3, -1.0)
    expected = still + slopes * (voxels - still)
    np.testing.assert_allclose(Deformation(logits, shape, 1, integration, anchor)(voxels), expected, atol=1e-12)


@every_map
def test_outside_the_lattice_the_border_displacement_continues(rng, integration, anchor):
    shape = (4, 5, 6)
    deformation = Deformation(rng.standard_normal((*shape, 3)), shape, 1, integration, anchor)
    border, far = np.array([[3.0, 2.25, 5.0]]), np.array([[40.0, 2.25, 5.0]])
    moved = deformation(border) - border, deformation(far) - far
    if integration == "axiswise":
        np.testing.assert_allclose(*moved, atol=1e-12)
    else:  # only the first factor sees the same point: the others see one that is still outside along i
        np.testing.assert_allclose(moved[0][..., 0], moved[1][..., 0], atol=1e-12)


@pytest.mark.parametrize("damping", [0.25, 1.0])
def test_damping_shrinks_the_gradients(rng, damping):
    logits = rng.standard_normal((4, 5, 6, 3))
    full = Deformation(logits, (4, 5, 6), 1)
    damped = full.damped(damping)
    np.testing.assert_allclose(damped.gradients, 1 + damping * (full.gradients - 1), atol=1e-14)
    for one, other in zip(damped.displacements, full.displacements, strict=True):
        np.testing.assert_allclose(one, damping * other, atol=1e-13)


def test_the_sampled_field_of_damped_gradients_folds_less(rng):
    logits = 6 * rng.standard_normal((7, 8, 9, 3))
    voxels = Lattice((7, 8, 9), np.eye(4)).voxels()

    def smallest_determinant(deformation):
        slopes = np.stack(np.gradient(deformation(voxels), axis=(0, 1, 2)), axis=-1)
        return np.linalg.det(slopes).min()

    deformation = Deformation(logits, (7, 8, 9), 1, "axiswise")
    assert smallest_determinant(deformation) < 0
    assert smallest_determinant(deformation.damped(0.1)) > 0


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_upsampling_is_scipys(rng, factor):
    coarse = rng.standard_normal((3, 1, 5, 2))
    fine = upsampled(coarse, factor)
    assert fine.shape == (3 * factor, factor, 5 * factor, 2)
    centres = [(np.arange(n * factor) + 0.5) / factor - 0.5 for n in (3, 1, 5)]
    points = np.meshgrid(*centres, indexing="ij")
    for channel in range(2):
        expected = ndimage.map_coordinates(coarse[..., channel], points, order=1, mode="nearest")
        np.testing.assert_allclose(fine[..., channel], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"integration": "summed"}, "integration"),
        ({"anchor": "middle"}, "anchor"),
        ({"damping": 0.0}, "damping"),
        ({"damping": 1.5}, "damping"),
        ({"stride": 0}, "stride"),
        ({"stride": 3}, "logits"),
        ({"logits": np.zeros((2, 3, 4, 3))}, "logits"),
        ({"logits": np.full((2, 3, 3, 3), np.nan)}, "logits"),
    ],
)
def test_bad_arguments(changes, name):
    good = {"logits": np.zeros((2, 3, 3, 3)), "shape": (4, 5, 6), "stride": 2}
    Deformation(**good)
    with pytest.raises(ValueError, match=f"`{name}` must be.*Received: "):
        Deformation(**{**good, **changes})
