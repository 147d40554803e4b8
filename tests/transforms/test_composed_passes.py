"""Passes composed: against evaluating them one after the other, their inverse, SimpleITK, and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.io.itk_transforms import write_composite, write_displacement, write_linear
from tfreg.io.transform_archive import load_transform, save_transform
from tfreg.transforms.certificate import certify, folding_fraction
from tfreg.transforms.composed_passes import ComposedPasses
from tfreg.transforms.composition import compose_passes, nearest_affine
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.fold_repair import can_be_smoothed
from tfreg.transforms.inverse import inverted
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

LINEAR = np.array([[1.05, -0.1, 0.05, 0.7], [0.08, 0.95, -0.1, -0.75], [0.0, 0.12, 1.06, 0.5]])
FLIP = np.array([-1, -1, 1])


def placed(shape, spacing, angles):
    """An oblique, anisotropic, flipped lattice, about one centre for all."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = [-310, 170, 1200] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Lattice(shape, affine)


COARSE = placed((7, 9, 6), (3.1, -4.2, 5.3), (21, -34, 52))
FINE = placed((13, 11, 16), (1.9, -2.3, 2.9), (20, -35, 50))


def rigid():
    init = np.eye(4)
    init[:3, :3] = Rotation.from_euler("xyz", [5, 6, 7], degrees=True).as_matrix()
    init[:3, 3] = [31.1, -20, 4]
    return init


def control(rng, shape, scale, sigma=1.2):
    values = ndimage.gaussian_filter(rng.standard_normal((*(-(-n // 2) for n in shape), 4)), (sigma, sigma, sigma, 0))
    return scale * values / values.std()


def displaced(rng, lattice, scale=1.0):
    return DisplacementDeformation(control(rng, lattice.shape, scale), lattice.shape)


def gradients(rng, lattice, scale=1.0):
    return Deformation(control(rng, lattice.shape, scale)[..., :3], lattice.shape, 2, "composed", "start")


@pytest.fixture(params=["displacements", "gradients and matrices"])
def passes(request, rng):
    """Three passes on unlike lattices, without or with a linear part of their own."""
    lattices = (COARSE, FINE, FINE)
    matrices = (np.eye(3, 4),) * 3
    make = displaced
    if request.param != "displacements":
        matrices, make = (LINEAR, np.eye(3, 4) + 0.3 * (LINEAR - np.eye(3, 4)), LINEAR), gradients
    inits = (rigid(), np.eye(4), np.eye(4))
    return [
        Transform(lattice, matrix, make(rng, lattice), init)
        for lattice, matrix, init in zip(lattices, matrices, inits, strict=True)
    ]


@pytest.fixture
def points(rng):
    """World points in and around both fields of view."""
    return FINE.to_world(rng.uniform(-6, np.array(FINE.shape) + 5, (400, 3)))


def one_after_the_other(passes, points):
    for part in reversed(passes):
        points = part(points)
    return points


def some_linear(lattice):
    """A matrix of the fixed world, `(4, 4)`."""
    return Transform(lattice, LINEAR, None, np.eye(4)).linear_world


@pytest.mark.parametrize("given_linear", [False, True])
def test_the_chain_is_the_passes_one_after_the_other(passes, points, given_linear):
    linear = some_linear(FINE) if given_linear else None
    whole = compose_passes(passes, linear)
    expected = one_after_the_other(passes, points)
    assert np.linalg.norm(expected - (points @ rigid()[:3, :3].T + rigid()[:3, 3]), axis=-1).max() > 3
    np.testing.assert_allclose(whole(points), expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(whole.init, passes[0].init)
    product = np.linalg.multi_dot([part.linear_world for part in passes])
    expected_linear = rigid() @ linear if given_linear else product
    np.testing.assert_allclose(whole.linear_world, expected_linear, rtol=0, atol=1e-9)
    assert whole.lattice is passes[-1].lattice


def test_one_point_or_many(passes, points):
    whole = compose_passes(passes)
    many = points[:60].reshape(4, 5, 3, 3)
    np.testing.assert_allclose(whole(many)[1, 2, 0], whole(many[1, 2, 0]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("damping", [1.0, 0.4])
def test_there_and_back(passes, points, damping):
    whole = compose_passes(passes, some_linear(FINE))
    whole = replace(whole, deformation=whole.deformation.damped(damping))
    for world_map, back in ((whole, whole.inverse()), (whole.inverse(), whole)):
        np.testing.assert_allclose(back(world_map(points)), points, rtol=0, atol=1e-6)
    voxels = FINE.to_voxel(points)
    np.testing.assert_allclose(inverted(whole.deformation, whole.deformation(voxels)), voxels, rtol=0, atol=1e-6)
    assert whole.deformation.is_exactly_invertible


def test_points_that_are_not_finite_have_no_origin(passes):
    chain = compose_passes(passes).deformation
    result = inverted(chain, [[1.0, 2.0, 3.0], [np.nan, 1.0, 2.0]])
    assert np.isfinite(result[0]).all()
    assert np.isnan(result[1]).all()


def test_passes_without_a_deformation(passes, points):
    linear = [replace(part, linear=LINEAR, deformation=None) for part in passes]
    whole = compose_passes(linear)
    assert whole.deformation is None
    np.testing.assert_allclose(whole(points), one_after_the_other(linear, points), rtol=0, atol=1e-9)
    mixed = [passes[0], *linear[1:]]
    np.testing.assert_allclose(compose_passes(mixed)(points), one_after_the_other(mixed, points), rtol=0, atol=1e-9)


def test_the_damped_chain_tends_to_the_linear_part(passes, points):
    """What the passes have in common with the linear part is not lost: it is not the identity that is left."""
    whole = compose_passes(passes, some_linear(FINE))
    linear = replace(whole, deformation=None)(points)
    apart = [
        np.abs(replace(whole, deformation=whole.deformation.damped(damping))(points) - linear).max()
        for damping in (1.0, 0.1, 0.01, 1e-9)
    ]
    assert apart[0] > 3
    assert apart[1] > 5 * apart[2]
    assert apart[3] < 1e-6


def test_damping_damps_every_map(passes):
    chain = compose_passes(passes).deformation.damped(0.25)
    for (_, part), whole in zip(chain.steps, chain.maps, strict=True):
        for one, other in zip(part.displacements, whole.displacements, strict=True):
            np.testing.assert_allclose(one, 0.25 * other, atol=1e-12)


@st.composite
def strong_chains(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.3, 2.0, 20.0]))
    passes = []
    for number in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(*[st.integers(2, 9)] * 3))
        lattice = placed(shape, rng.uniform(0.7, 4, 3) * [1, -1, 1], rng.uniform(-60, 60, 3))
        values = scale * rng.standard_normal((*(-(-n // 2) for n in shape), 4))
        init = rigid() if number == 0 else np.eye(4)
        passes.append(Transform(lattice, np.eye(3, 4), DisplacementDeformation(values, shape), init))
    return passes, rng


@given(strong_chains())
@settings(max_examples=60, deadline=None)
def test_strong_passes_are_one_to_one(drawn):
    """Whatever is predicted: every point has one origin, to rounding."""
    passes, rng = drawn
    whole = compose_passes(passes)
    images = passes[0].lattice.to_world(rng.uniform(-4, 12, (100, 3)))
    np.testing.assert_allclose(whole(whole.inverse()(images)), images, rtol=0, atol=1e-6)


def test_strong_passes_are_certified(rng):
    lattices = (COARSE, FINE, FINE)
    passes = [Transform(lattice, np.eye(3, 4), displaced(rng, lattice, 6), np.eye(4)) for lattice in lattices]
    whole = compose_passes(passes, some_linear(FINE))
    dense = placed((26, 22, 30), (0.95, -1.1, 1.4), (20, -35, 50))
    assert folding_fraction(whole.displacement_mm(dense), dense.affine) > 0
    damped, displacement_mm, certificate = certify(whole, dense, smooth=True)
    assert certificate.certified
    assert 0 < certificate.damping < 1
    assert certificate.smoothing_rounds == 0
    assert not can_be_smoothed(whole)
    assert damped.deformation.damping == certificate.damping
    assert folding_fraction(displacement_mm, dense.affine) == 0
    np.testing.assert_array_equal(damped.linear, whole.linear)


def test_itk_reads_the_same_map(tmp_path, passes):
    whole = compose_passes(passes, some_linear(FINE))
    fixed = placed((8, 9, 7), (3.3, -2.7, 4.1), (15, -30, 45))
    displacement_mm = whole.displacement_mm(fixed)
    write_composite(tmp_path / "transform.h5", displacement_mm, fixed.affine)
    write_displacement(tmp_path / "displacement.nii.gz", displacement_mm, fixed.affine)
    write_linear(tmp_path / "linear.tfm", whole.linear_world)
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(tmp_path / "displacement.nii.gz", sitk.sitkVectorFloat64))
    composite, linear = (sitk.ReadTransform(tmp_path / name) for name in ("transform.h5", "linear.tfm"))
    centres = fixed.points()[1:-1, 1:-1, 1:-1].reshape(-1, 3)[::7]
    for transform, expected in (
        (composite, whole(centres)),
        (field, whole(centres)),
        (linear, replace(whole, deformation=None)(centres)),
    ):
        mapped = np.array([transform.TransformPoint((FLIP * point).tolist()) for point in centres]) * FLIP
        np.testing.assert_allclose(mapped, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("damping", [1.0, 0.4])
def test_an_archive_holds_every_pass(tmp_path, passes, points, damping):
    whole = compose_passes(passes, some_linear(FINE))
    whole = replace(whole, deformation=whole.deformation.damped(damping))
    save_transform(tmp_path / "transform.npz", whole, FINE, COARSE)
    loaded, fixed, moving = load_transform(tmp_path)
    np.testing.assert_array_equal(loaded(points), whole(points))
    np.testing.assert_array_equal(loaded.inverse()(points), whole.inverse()(points))
    np.testing.assert_array_equal(loaded.linear_world, whole.linear_world)
    assert isinstance(loaded.deformation, ComposedPasses)
    assert [part.shape for part in loaded.deformation.maps] == [FINE.shape, FINE.shape, COARSE.shape]
    assert [type(part) for part in loaded.deformation.maps] == [type(part) for part in whole.deformation.maps]
    assert (fixed.shape, moving.shape) == (FINE.shape, COARSE.shape)


def test_the_expected_error_is_the_geometric_mean_of_the_passes_own(rng):
    """Of each pass in its own voxels, at the place where the passes evaluated before it put a point of the world."""
    passes = [Transform(lattice, np.eye(3, 4), displaced(rng, lattice), np.eye(4)) for lattice in (COARSE, FINE)]
    points = COARSE.to_world(rng.uniform(1, 4, (40, 3)))
    places = [COARSE.to_voxel(passes[1](points)), FINE.to_voxel(points)]
    first, last = (
        ndimage.map_coordinates(part.deformation.expected_error, voxels.T, order=1, mode="nearest")
        for part, voxels in zip(passes, places, strict=True)
    )
    assert np.abs(np.log(first / last)).max() > 0.5
    for linear in (None, some_linear(FINE)):
        whole = compose_passes(passes, linear)
        voxels = FINE.to_voxel(points)
        voxels = voxels @ whole.linear_voxel[:3, :3].T + whole.linear_voxel[:3, 3]
        for deformation in (whole.deformation, whole.deformation.damped(0.3)):
            error = deformation.expected_error_at(voxels)
            np.testing.assert_allclose(error, np.sqrt(first * last), rtol=1e-9)
    gradient_pass = Transform(FINE, np.eye(3, 4), gradients(rng, FINE), np.eye(4))
    assert compose_passes([passes[0], gradient_pass]).deformation.expected_error_at(np.zeros((2, 3))) is None


def test_the_nearest_affine_map_of_an_affine_map_is_itself(rng):
    points = rng.uniform(-100, 300, (200, 3))
    matrix = some_linear(FINE)
    images = points @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(nearest_affine(points, images, rng.uniform(0.1, 3, 200)), matrix, rtol=0, atol=1e-8)


def test_the_nearest_affine_map_is_the_least_squares_solution(rng):
    points, weights = rng.uniform(-9, 20, (300, 3)), rng.uniform(0, 2, 300)
    images = points + rng.standard_normal((300, 3))
    root = np.sqrt(weights)[:, None]
    solution = np.linalg.lstsq(root * np.c_[points, np.ones(300)], root * images)[0]
    np.testing.assert_allclose(nearest_affine(points, images, weights)[:3], solution.T, rtol=0, atol=1e-10)


def test_a_plane_keeps_what_it_says_nothing_of(rng):
    points = rng.uniform(-9, 20, (300, 3)) * [1, 1, 0] + [0, 0, 4]
    matrix = nearest_affine(points, points + np.array([0, 0, 2.5]), np.ones(300))
    np.testing.assert_allclose(matrix, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2.5], [0, 0, 0, 1]], atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"maps": ()}, "maps"),
        ({"damping": 0.0}, "damping"),
        ({"damping": 1.5}, "damping"),
        ({"matrices": (np.eye(4),)}, "matrices"),
        ({"matrices": (np.eye(4), np.zeros((4, 4)))}, "matrices"),
        ({"matrices": (np.eye(4), np.full((4, 4), np.nan))}, "matrices"),
        ({"matrices": (np.eye(4), np.eye(3))}, "matrices"),
    ],
)
def test_bad_arguments(changes, name):
    part = DisplacementDeformation(np.zeros((2, 3, 3, 4)), (4, 5, 6))
    good = {"maps": (part,), "matrices": (np.eye(4), np.eye(4)), "shape": (4, 5, 6)}
    ComposedPasses(**good)
    with pytest.raises(ValueError, match=f"`{name}` must.*Received: "):
        ComposedPasses(**{**good, **changes})


def test_a_pass_is_not_composed_itself(passes):
    with pytest.raises(TypeError, match="single ones"):
        compose_passes([compose_passes(passes), passes[-1]])
