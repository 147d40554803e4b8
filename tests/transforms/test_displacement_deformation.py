"""The float64 displacement head against the Keras layer, closed forms, and what a deformation owes."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tfreg.layers.composed_displacement import ComposedDisplacement
from tfreg.layers.linear_grid import LinearGrid
from tfreg.transforms.certificate import certify, folding_fraction
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.fold_repair import can_be_smoothed
from tfreg.transforms.inverse import inverted
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

SHAPES = [(9, 6, 13), (20, 17, 11)]
# Rotates, shears and scales; the translation takes a good part of the points out of every lattice.
LINEAR = np.array([[1.1, -0.3, 0.1, 3.5], [0.25, 0.9, -0.2, -2.5], [-0.1, 0.15, 1.2, 1.5]])


def voxels(shape):
    return Lattice(shape, np.eye(4)).voxels()


def random_deformation(rng, shape, stride=2, scale=1.0, sigma=0.0, damping=1.0):
    control = rng.standard_normal((*(-(-n // stride) for n in shape), 4))
    if sigma:
        control = ndimage.gaussian_filter(control, (sigma, sigma, sigma, 0))
        control /= control.std()
    return DisplacementDeformation((scale * control).astype(np.float32), shape, stride, damping)


def layers_outputs(deformation, linear=None):
    """What the Keras layer makes of the same control points."""
    volume = np.zeros((1, *deformation.shape, 1), "float32")
    grid = None if linear is None else LinearGrid()(linear[None].astype("float32"), volume)
    mapped = ComposedDisplacement(deformation.stride)(deformation.control[None], volume, grid)
    return {name: keras.ops.convert_to_numpy(value)[0] for name, value in mapped.items()}


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_and_transform_are_the_same_map(rng, shape, stride):
    deformation = random_deformation(rng, shape, stride, scale=3)  # some slopes are limited
    layers = layers_outputs(deformation)
    np.testing.assert_allclose(deformation(voxels(shape)), layers["grid"], atol=1e-4)
    np.testing.assert_allclose(deformation.gradients, layers["gradients"], atol=1e-5)
    np.testing.assert_allclose(np.log(deformation.expected_error), layers["log_error"][..., 0], atol=1e-5)

    lattice = Lattice(shape, np.eye(4))
    moved = Transform(lattice, LINEAR, None, np.eye(4))(lattice.points())
    outside = ((moved < 0) | (moved > np.array(shape) - 1)).any(axis=-1)
    assert 0.1 < outside.mean() < 0.9
    ours = Transform(lattice, LINEAR, deformation, np.eye(4))(lattice.points())
    np.testing.assert_allclose(ours, layers_outputs(deformation, LINEAR)["grid"], atol=1e-4)
    assert np.abs(ours - moved).max() > 1


def test_displacements_are_sums_of_the_gradients_about_the_predicted_mean(rng):
    deformation = random_deformation(rng, (7, 6, 9), 1)
    for d, displacement in enumerate(deformation.displacements):
        slopes = np.diff(displacement, axis=d)
        np.testing.assert_allclose(1 + slopes, np.delete(deformation.gradients[..., d], 0, axis=d), atol=1e-12)
        np.testing.assert_allclose(displacement.mean(axis=d), deformation.control[..., d].mean(axis=d), atol=1e-6)
        np.testing.assert_array_equal(deformation.gradients[..., d].take(0, d), 1)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_zero_is_exactly_the_identity(rng, stride):
    shape = (5, 8, 3)
    deformation = DisplacementDeformation(np.zeros((*(-(-n // stride) for n in shape), 4)), shape, stride)
    points = rng.uniform(-3, 10, (4, 5, 3))
    np.testing.assert_array_equal(deformation(points), points)
    np.testing.assert_array_equal(inverted(deformation, points), points)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_constant_is_exactly_a_translation(stride):
    shape, shift = (5, 8, 3), np.array([12.5, -7.25, 0.75])
    control = np.zeros((*(-(-n // stride) for n in shape), 4), np.float32)
    control[..., :3] = shift
    deformation = DisplacementDeformation(control, shape, stride)
    np.testing.assert_array_equal(deformation(voxels(shape)), voxels(shape) + shift)
    np.testing.assert_array_equal(inverted(deformation, voxels(shape) + shift), voxels(shape))


@st.composite
def maps(draw):
    """A rough map of odd and even sizes, one voxel included, and points in and around its lattice."""
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.1, 1.0, 10.0, 1000.0]))
    deformation = random_deformation(rng, shape, draw(st.integers(1, 3)), scale)
    return deformation, rng.uniform(-4, np.array(shape) + 3, (200, 3))


@given(maps())
@settings(max_examples=150, deadline=None)
def test_there_and_back_is_exact(drawn):
    """A homeomorphism, whatever is predicted: every point has one origin, and every line keeps its order."""
    deformation, points = drawn
    images = deformation(points)
    # Displacements of thousands of voxels cost as many digits.
    tolerance = 1e-9 * max(1.0, float(np.abs(images).max()))
    np.testing.assert_allclose(deformation(inverted(deformation, images)), images, rtol=0, atol=tolerance)
    assert deformation.gradients.min() > 0.0018
    assert deformation.gradients.max() < 1.9982


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_moderate_maps_are_inverted_to_a_billionth_of_a_voxel(rng, stride):
    deformation = random_deformation(rng, (21, 18, 25), stride)
    points = rng.uniform(-6, 30, (5000, 3))
    assert np.abs(deformation(points) - points).max() > 2
    np.testing.assert_allclose(inverted(deformation, deformation(points)), points, rtol=0, atol=1e-9)


@pytest.mark.parametrize("d", [0, 1, 2])
def test_lines_increase_between_voxels_too(rng, d):
    deformation = random_deformation(rng, (7, 9, 8), 2, scale=20)
    points = np.repeat(rng.uniform(-1, 9, (50, 1, 3)), 400, axis=1)
    points[..., d] = np.linspace(-3, 11, 400)
    moved = np.zeros_like(deformation.control)
    moved[..., d] = deformation.control[..., d]  # T_d alone
    images = DisplacementDeformation(moved, deformation.shape, 2)(points)[..., d]
    assert (np.diff(images, axis=1) > 0).all()


@pytest.mark.parametrize("damping", [0.25, 1.0])
def test_damping_shrinks_the_displacements(rng, damping):
    full = random_deformation(rng, (7, 5, 6), 2)
    damped = full.damped(damping)
    np.testing.assert_allclose(damped.gradients, 1 + damping * (full.gradients - 1), atol=1e-14)
    for one, other in zip(damped.displacements, full.displacements, strict=True):
        np.testing.assert_allclose(one, damping * other, atol=1e-13)
    np.testing.assert_array_equal(damped.expected_error, full.expected_error)


def test_the_certificate_damps_until_nothing_folds(rng):
    """The continuous map never folds, its samples may."""
    lattice = Lattice((14, 12, 13), np.diag([2.0, 1.5, 3.0, 1.0]))
    rough = Transform(lattice, np.eye(3, 4), random_deformation(rng, lattice.shape, 1, scale=2), np.eye(4))
    assert folding_fraction(rough.displacement_mm(lattice), lattice.affine) > 0
    damped, displacement_mm, certificate = certify(rough, lattice)
    assert certificate.certified
    assert 0 < certificate.damping < 1
    assert damped.deformation.damping == certificate.damping
    assert folding_fraction(displacement_mm, lattice.affine) == 0
    points = rng.uniform(-10, 40, (500, 3))
    np.testing.assert_allclose(damped.inverse()(damped(points)), points, rtol=0, atol=1e-9)


def test_folds_are_smoothed_away(rng):
    lattice = Lattice((24, 20, 22), np.diag([2.0, 1.5, 3.0, 1.0]))
    control = 1.2 * rng.standard_normal((12, 10, 11, 4))
    control[:7] = 0
    rough = Transform(lattice, np.eye(3, 4), DisplacementDeformation(control, lattice.shape), np.eye(4))
    assert can_be_smoothed(rough)
    assert folding_fraction(rough.displacement_mm(lattice), lattice.affine) > 0
    healed, _, certificate = certify(rough, lattice, smooth=True)
    assert certificate.certified
    assert certificate.damping == 1
    assert certificate.smoothing_rounds > 0
    # Far from the folds nothing changed, nor anywhere what error is expected.
    np.testing.assert_array_equal(healed.deformation.control[:3], control[:3])
    np.testing.assert_array_equal(healed.deformation.control[..., 3], control[..., 3])


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"damping": 0.0}, "damping"),
        ({"damping": 1.5}, "damping"),
        ({"stride": 0}, "stride"),
        ({"stride": 3}, "control"),
        ({"control": np.zeros((2, 3, 3, 3))}, "control"),
        ({"control": np.full((2, 3, 3, 4), np.nan)}, "control"),
    ],
)
def test_bad_arguments(changes, name):
    good = {"control": np.zeros((2, 3, 3, 4)), "shape": (4, 5, 6), "stride": 2}
    DisplacementDeformation(**good)
    with pytest.raises(ValueError, match=f"`{name}` must be.*Received: "):
        DisplacementDeformation(**{**good, **changes})
