"""The inverse against closed forms, SciPy's root finder, and the map itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from tfreg.io.transform_archive import load_transform, save_transform
from tfreg.runtime import threads
from tfreg.transforms import inverse as module
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.inverse import CONVERGED_VOXELS, inverse_axiswise, inverse_composed, inverted
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

SHAPE = (8, 11, 9)
LINEAR = np.array([[1.05, -0.2, 0.1, 1.5], [0.15, 0.9, -0.1, -0.75], [0.0, 0.2, 1.1, 0.5]])
ANCHORS = ["centre", "start"]


def oblique(shape, angles, spacing, centre):
    """A lattice about a centre, mm."""
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(spacing)
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = np.array(centre) - matrix @ ((np.array(shape) - 1) / 2)
    return Lattice(shape, affine)


@pytest.fixture
def lattice():
    """Oblique, anisotropic, flipped, and far from the origin."""
    return oblique(SHAPE, [20, -35, 50], [0.8, -1.3, 3.1], [-310, 170, 1200])


@pytest.fixture
def init():
    """Rotates, scales and shifts by centimetres."""
    matrix = np.eye(4)
    matrix[:3, :3] = 1.1 * Rotation.from_euler("xyz", [10, 5, -15], degrees=True).as_matrix()
    matrix[:3, 3] = [35.0, -340.0, 55.5]
    return matrix


def rough(rng, shape, stride=1, scale=1.0, **options):
    """A deformation whose every logit is independent of its neighbours."""
    coarse = tuple(-(-n // stride) for n in shape)
    return Deformation(scale * rng.standard_normal((*coarse, 3)), shape, stride, **options)


@st.composite
def composed_maps(draw):
    """A rough composed map of odd and even sizes, one voxel included, and points in and around its lattice."""
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    stride, anchor = draw(st.integers(1, 3)), draw(st.sampled_from(ANCHORS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    deformation = rough(rng, shape, stride, draw(st.sampled_from([0.1, 1.0, 3.0])), anchor=anchor)
    return deformation, rng.uniform(-4, np.array(shape) + 3, (200, 3))


@given(composed_maps())
@settings(max_examples=150, deadline=None)
def test_there_and_back_is_exact(drawn):
    deformation, points = drawn
    np.testing.assert_allclose(inverse_composed(deformation, deformation(points)), points, rtol=0, atol=1e-6)
    np.testing.assert_allclose(deformation(inverse_composed(deformation, points)), points, rtol=0, atol=1e-10)


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_moderate_maps_are_inverted_to_a_billionth_of_a_voxel(rng, stride, anchor):
    deformation = rough(rng, (21, 18, 25), stride, anchor=anchor)
    points = rng.uniform(-6, 30, (5000, 3))
    np.testing.assert_allclose(inverse_composed(deformation, deformation(points)), points, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(7, 6, 5), (1, 200, 2), (40, 31, 36)])
def test_extreme_gradients(rng, shape):
    logits = 7 * rng.choice([-1.0, 1.0], (*shape, 3))
    deformation = Deformation(logits, shape, 1)
    points = rng.uniform(-3, np.array(shape) + 2, (5000, 3))
    images = deformation(points)
    back = inverse_composed(deformation, images)
    np.testing.assert_allclose(deformation(back), images, rtol=0, atol=1e-9)
    # Three slopes of 0.0018 make the inverse 10⁸ times as steep, so that rounding the images already costs this:
    np.testing.assert_allclose(back, points, rtol=0, atol=1e-6)


def test_a_search_that_newton_would_lose_ends(rng):
    """Flat and steep pieces in turn send every tangent far away."""
    size = 257
    logits = np.zeros((size, 2, 2, 3))
    logits[..., 0] = np.where(np.arange(size) // 16 % 2, 7.0, -7.0)[:, None, None]
    logits[..., 0] += 0.5 * rng.standard_normal(logits.shape[:3])
    deformation = Deformation(logits, (size, 2, 2), 1)
    images = rng.uniform(0, size, (3000, 3))
    np.testing.assert_allclose(deformation(inverse_composed(deformation, images)), images, rtol=0, atol=1e-10)


def test_voxel_centres_come_back(rng):
    """Where two pieces meet, and on the border, rounding may choose either side."""
    deformation = rough(rng, SHAPE, scale=2.0)
    voxels = Lattice(SHAPE, np.eye(4)).voxels()
    np.testing.assert_allclose(inverse_composed(deformation, deformation(voxels)), voxels, rtol=0, atol=1e-7)


@pytest.mark.parametrize("integration", ["composed", "axiswise"])
@pytest.mark.parametrize("anchor", ANCHORS)
def test_constant_gradients_scale_about_the_anchor(integration, anchor):
    shape, slopes = (4, 5, 6), np.array([0.4, 1.3, 1.9])
    logits = np.broadcast_to(np.log(slopes / (2 - slopes)), (*shape, 3))
    deformation = Deformation(logits, shape, 1, integration, anchor)
    voxels = Lattice(shape, np.eye(4)).voxels()
    still = (np.array(shape) - 1) / 2 if anchor == "centre" else np.full(3, -1.0)
    images = still + slopes * (voxels - still)
    np.testing.assert_allclose(inverted(deformation, images), voxels, rtol=0, atol=1e-8)


def test_scipys_root_finder_finds_the_same(rng, integration_reference):
    deformation = rough(rng, SHAPE)
    gradients = deformation.gradients

    def coordinate(d, point, value):
        """Component d of T_d, with the other two factors switched off."""
        alone = np.ones_like(gradients)
        alone[..., d] = gradients[..., d]
        moved = np.array(point)
        moved[d] = value
        return integration_reference(alone, moved[None], "composed", "centre")[0, d]

    for image in rng.uniform(-1, 10, (20, 3)):
        point = image.copy()
        for d in (2, 1, 0):
            point[d] = brentq(lambda value, d=d, p=point, x=point[d]: coordinate(d, p, value) - x, -40, 50, xtol=1e-13)
        np.testing.assert_allclose(inverse_composed(deformation, image), point, rtol=0, atol=1e-9)


@pytest.mark.parametrize("integration", ["composed", "axiswise"])
def test_shapes_and_points_that_are_not_finite(rng, integration):
    deformation = rough(rng, SHAPE, scale=0.3, integration=integration)
    points = rng.uniform(0, 8, (2, 4, 3))
    before = points.copy()
    many = inverted(deformation, points)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_allclose(inverted(deformation, points[1, 2]), many[1, 2], rtol=0, atol=1e-12)
    np.testing.assert_allclose(inverted(deformation, points.transpose(1, 0, 2)), many.transpose(1, 0, 2), atol=1e-12)
    assert inverted(deformation, np.zeros((0, 3))).shape == (0, 3)
    points[0, 1, 2], points[1, 0, 0] = np.nan, np.inf
    result = inverted(deformation, points)
    assert np.isnan(result[0, 1]).all()
    assert np.isnan(result[1, 0]).all()
    np.testing.assert_allclose(result[0, 2:], many[0, 2:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("integration", ["composed", "axiswise"])
def test_parts_make_no_difference(rng, monkeypatch, integration):
    deformation = rough(rng, SHAPE, scale=0.3, integration=integration)
    points = rng.uniform(-2, 10, (50, 3))
    whole = inverted(deformation, points)
    monkeypatch.setattr(module, "PART_SIZE", 7)
    np.testing.assert_allclose(inverted(deformation, points), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("stride", [1, 2])
def test_an_axiswise_map_that_does_not_fold_is_inverted(rng, smooth_deformation, stride, anchor):
    deformation = smooth_deformation((13, 1, 10), stride, 0.15, integration="axiswise", anchor=anchor)
    points = rng.uniform(-3, 14, (1000, 3))
    back, residual = inverse_axiswise(deformation, deformation(points))
    np.testing.assert_allclose(back, points, rtol=0, atol=1e-7)
    assert residual.max() <= CONVERGED_VOXELS


@given(st.integers(0, 2**32), st.sampled_from([0.5, 2.0, 7.0]))
@settings(max_examples=30, deadline=None)
def test_the_residual_of_an_axiswise_map_tells_the_truth(seed, scale):
    rng = np.random.default_rng(seed)
    deformation = rough(rng, (5, 6, 7), scale=scale, integration="axiswise")
    images = rng.uniform(-3, 9, (300, 3))
    points, residual = inverse_axiswise(deformation, images)
    actual = np.linalg.norm(deformation(points) - images, axis=-1)
    np.testing.assert_allclose(residual, actual, rtol=0, atol=1e-11)
    assert np.median(residual) <= CONVERGED_VOXELS


def test_an_axiswise_iteration_that_is_cut_short_says_so(rng, monkeypatch):
    monkeypatch.setattr(module, "MAX_STEPS", 1)
    deformation = rough(rng, SHAPE, scale=2.0, integration="axiswise")
    images = rng.uniform(0, 8, (100, 3))
    points, residual = inverse_axiswise(deformation, images)
    assert (residual > CONVERGED_VOXELS).any()
    actual = np.linalg.norm(deformation(points) - images, axis=-1)
    np.testing.assert_allclose(residual, actual, rtol=0, atol=1e-11)


@pytest.mark.parametrize("stride", [1, 2])
def test_world_points_come_back_through_the_archive(rng, tmp_path, lattice, init, stride):
    linear = np.eye(3, 4) + 0.15 * rng.standard_normal((3, 4))
    deformation = rough(rng, SHAPE, stride, 2.0)
    save_transform(tmp_path / "transform.npz", Transform(lattice, linear, deformation, init), lattice, lattice)
    transform, _, _ = load_transform(tmp_path)
    points_world = lattice.to_world(rng.uniform(-4, np.array(SHAPE) + 3, (20, 50, 3)))
    inverse = transform.inverse()
    np.testing.assert_allclose(inverse(transform(points_world)), points_world, rtol=0, atol=1e-3)
    moving_world = transform(points_world)
    np.testing.assert_allclose(transform(inverse(moving_world)), moving_world, rtol=0, atol=1e-9)
    assert inverse.residual_voxels(moving_world, inverse(moving_world)).max() < 1e-9
    assert inverse.inverse() is transform


@pytest.mark.parametrize("still", [True, False])
def test_the_inverse_of_a_linear_transform_is_its_matrix(rng, lattice, init, still):
    deformation = None if still else Deformation(np.zeros((*SHAPE, 3)), SHAPE, 1)
    transform = Transform(lattice, LINEAR, deformation, init)
    points_world = rng.uniform(-300, 300, (30, 3))
    expected = np.linalg.solve(transform.linear_world, np.c_[points_world, np.ones(30)].T)[:3].T
    np.testing.assert_allclose(transform.inverse()(points_world), expected, rtol=0, atol=1e-9)


def test_the_residual_is_measured_in_network_voxels(lattice, init):
    inverse = Transform(lattice, LINEAR, None, init).inverse()
    points_world = init[:3, :3] @ lattice.centre_world + init[:3, 3]
    # 0.25 network voxels aside, on the moving side.
    beside = points_world + init[:3, :3] @ lattice.affine[:3, 1] / 4
    np.testing.assert_allclose(inverse.residual_voxels(points_world, inverse(beside)), 0.25, atol=1e-10)


@pytest.mark.parametrize("chunk", [2**21, 1])
def test_the_inverse_field_lies_on_the_moving_grid(lattice, init, smooth_deformation, monkeypatch, chunk):
    monkeypatch.setattr(threads, "PART_SIZE", chunk)
    transform = Transform(lattice, LINEAR, smooth_deformation(SHAPE), init)
    moving = oblique((5, 6, 4), [0, 15, -10], [-2.0, 1.5, 3.0], transform(lattice.centre_world))
    done = []
    displacement_mm = transform.inverse().displacement_mm(moving, done.append)
    assert sum(done) == 5 * 6 * 4
    assert displacement_mm.dtype == np.float32
    fixed_world = moving.points() + displacement_mm
    np.testing.assert_allclose(transform(fixed_world), moving.points(), rtol=0, atol=1e-3)


def test_a_fixed_ramp_is_warped_onto_the_moving_grid(lattice, init, smooth_deformation):
    transform = Transform(lattice, LINEAR, smooth_deformation(SHAPE, scale=0.5), init)
    slopes = np.array([0.3, -0.2, 0.5])
    fixed = oblique((50, 51, 52), [-40, 10, 70], [2.0, 1.1, 1.6], lattice.centre_world)
    fixed = Volume(((fixed.points() - lattice.centre_world) @ slopes).astype(np.float32), fixed.affine)
    moving = oblique((5, 6, 4), [0, 15, -10], [-2.0, 1.5, 3.0], transform(lattice.centre_world))
    warped = transform.inverse().warp(fixed, moving, fill=-999.0)
    expected = (transform.inverse()(moving.points()) - lattice.centre_world) @ slopes
    assert warped.lattice.same_as(moving, 1e-6)
    np.testing.assert_allclose(warped.array, expected, rtol=0, atol=1e-3)
