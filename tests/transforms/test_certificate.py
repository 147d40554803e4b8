"""The ten determinants against explicit tetrahedra, and the damping that makes them positive."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tfreg.transforms import certificate as module
from tfreg.transforms.certificate import DAMPING_STEPS, certify, digital_jacobian, folding_fraction
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.jacobian import jacobian_determinant
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

OBLIQUE = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
AFFINES = {
    "RAS": np.diag([1.5, 1.0, 2.5]),
    "LAS": np.diag([-1.5, 1.0, 2.5]),
    "LPS": np.diag([-1.5, -1.0, 2.5]),
    "SLA": np.array([[0, -1.0, 0], [0, 0, 1.5], [2.5, 0, 0]]),
    "oblique": OBLIQUE @ np.diag([0.8, -1.3, 3.1]),
    "sheared": OBLIQUE @ np.array([[0.8, 0.3, 0], [0, 1.3, -0.2], [0, 0, 3.1]]),
}
# One way to cut a cube into five tetrahedra; turning every corner over gives the other.
CUT = [
    [(0, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1)],
    [(1, 0, 0), (0, 0, 0), (1, 1, 0), (1, 0, 1)],
    [(0, 1, 0), (0, 0, 0), (1, 1, 0), (0, 1, 1)],
    [(0, 0, 1), (0, 0, 0), (1, 0, 1), (0, 1, 1)],
    [(1, 1, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)],
]
CUTS = [CUT, [[tuple(1 - side for side in corner) for corner in corners] for corners in CUT]]


def placed(matrix, shape=(5, 7, 6)):
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = [-31.25, 17.5, 120.75]
    return Lattice(shape, affine)


@pytest.fixture(params=AFFINES.values(), ids=AFFINES.keys())
def lattice(request):
    """Unequal sizes and spacings, an origin far from zero."""
    return placed(request.param)


def tetrahedra(shape, parities=(0, 1)):
    """Every tetrahedron of the two cuts, `(n, 4, 3)` voxel indices; corner tetrahedra begin with their corner.

    In each cut neighbouring cubes are mirrored, so that their faces meet along one diagonal.
    """
    cubes = itertools.product(*(range(n - 1) for n in shape))
    return np.array(
        [
            [np.add(cube, corner) for corner in corners]
            for cube in cubes
            for parity in parities
            for corners in CUTS[(sum(cube) + parity) % 2]
        ]
    )


def edge_matrix(vertices):
    """The three edges from the first of four vertices `(..., 4, 3)`, as columns `(..., 3, 3)`."""
    return np.swapaxes(vertices[..., 1:, :] - vertices[..., :1, :], -1, -2)


def brute_force(displacement_mm, lattice):
    """The least ratio of volumes, of all tetrahedra that are counted at each voxel."""
    axes = [axis for axis in range(3) if lattice.shape[axis] == 1]
    for axis in axes:
        displacement_mm = displacement_mm.repeat(2, axis)
    lattice = Lattice(displacement_mm.shape[:3], lattice.affine)
    before = lattice.points()
    after = before + displacement_mm
    least = np.full(lattice.shape, np.inf)
    for vertices in tetrahedra(lattice.shape):
        index = tuple(vertices.T)
        ratio = np.linalg.det(edge_matrix(after[index])) / np.linalg.det(edge_matrix(before[index]))
        lengths = [np.abs(vertex - vertices[0]).sum() for vertex in vertices[1:]]
        for vertex in vertices[:1] if lengths == [1, 1, 1] else vertices:
            least[tuple(vertex)] = min(least[tuple(vertex)], ratio)
    for axis in axes:
        least = least.min(axis, keepdims=True)
    return least


@given(
    st.tuples(*[st.integers(1, 4)] * 3),
    st.sampled_from(list(AFFINES.values())),
    st.integers(0, 2**32),
    st.sampled_from([0.1, 0.3, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_explicit_tetrahedra_give_the_same(shape, matrix, seed, scale):
    lattice = placed(matrix, shape)
    displacement_mm = (scale * np.random.default_rng(seed).standard_normal((*shape, 3))).astype(np.float32)
    expected = brute_force(displacement_mm, lattice)
    np.testing.assert_allclose(digital_jacobian(displacement_mm, lattice.affine), expected, rtol=1e-4, atol=1e-5)
    assert folding_fraction(displacement_mm, lattice.affine) == pytest.approx(np.mean(expected <= 0))


@pytest.mark.parametrize("chunk", [1, 60, 2**15])
def test_parts_make_no_difference(rng, monkeypatch, lattice, chunk):
    displacement_mm = rng.standard_normal((*lattice.shape, 3)).astype(np.float32)
    whole = digital_jacobian(displacement_mm, lattice.affine)
    monkeypatch.setattr(module, "CHUNK_CUBES", chunk)
    np.testing.assert_array_equal(digital_jacobian(displacement_mm, lattice.affine), whole)


def test_a_linear_map_has_its_own_determinant(lattice):
    matrix = np.array([[1.2, 0.3, -0.1], [-0.2, 0.7, 0.15], [0.05, 0.4, 1.1]])
    displacement_mm = (lattice.points() @ matrix.T - lattice.points() + [3.0, -250.0, 7.0]).astype(np.float32)
    jacobian = digital_jacobian(displacement_mm, lattice.affine)
    np.testing.assert_allclose(jacobian, np.linalg.det(matrix), rtol=0, atol=1e-3)
    assert jacobian.dtype == np.float32
    assert folding_fraction(displacement_mm, lattice.affine) == 0
    still = digital_jacobian(np.zeros_like(displacement_mm), lattice.affine)
    np.testing.assert_allclose(still, 1, rtol=0, atol=1e-6)


def test_a_map_that_mirrors_folds_everywhere(lattice):
    displacement_mm = (lattice.points() * [-1.0, 1, 1] - lattice.points()).astype(np.float32)
    assert folding_fraction(displacement_mm, lattice.affine) == 1


def test_a_map_that_flattens_folds_everywhere():
    lattice = Lattice((5, 7, 6), np.diag([1.5, -1.0, 2.5, 1.0]))  # so that float32 holds the field exactly
    displacement_mm = (lattice.points() * [0.0, 1, 1] - lattice.points()).astype(np.float32)
    assert folding_fraction(displacement_mm, lattice.affine) == 1


def test_a_checkerboard_is_caught_that_central_differences_miss():
    lattice = placed(AFFINES["oblique"])
    board = 0.6 * (-1.0) ** lattice.voxels().sum(axis=-1)
    displacement_mm = (board[..., None] * lattice.affine[:3, 0]).astype(np.float32)
    central = jacobian_determinant(displacement_mm, lattice.affine)
    np.testing.assert_allclose(central[1:-1, 1:-1, 1:-1], 1, rtol=0, atol=1e-5)
    jacobian = digital_jacobian(displacement_mm, lattice.affine)
    # One step takes 1 + 1.2 or 1 - 1.2 voxels; every voxel of the interior sees both.
    np.testing.assert_allclose(jacobian[1:-1], -0.2, rtol=0, atol=1e-5)
    assert folding_fraction(displacement_mm, lattice.affine) > 0.5


def test_the_central_tetrahedra_catch_what_the_corners_miss():
    """In one cube, displaced at random until its corners all keep a positive volume and a centre does not."""
    offsets = Lattice((2, 2, 2), np.eye(4)).voxels()
    vertices = tetrahedra((2, 2, 2))
    corner_ones = np.abs(edge_matrix(vertices)).sum(axis=(1, 2)) == 3
    displacements = np.random.default_rng(3).uniform(-0.6, 0.6, (20000, 2, 2, 2, 3))
    images = (offsets + displacements)[:, *vertices.transpose(2, 0, 1)]  # (cubes, tetrahedra, 4, 3)
    ratios = np.linalg.det(edge_matrix(images)) / np.linalg.det(edge_matrix(vertices.astype(float)))
    missed = (ratios[:, corner_ones].min(axis=1) > 0.01) & (ratios[:, ~corner_ones].min(axis=1) < -0.01)
    displacement = displacements[np.flatnonzero(missed)[0]]
    assert folding_fraction(displacement, np.eye(4)) == 0.5  # the four corners of the one that folds


def test_a_displacement_that_is_not_a_number_folds():
    displacement_mm = np.zeros((4, 5, 6, 3), np.float32)
    displacement_mm[2, 2, 2, 1] = np.nan
    assert folding_fraction(displacement_mm, np.eye(4)) > 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_an_axis_of_one_voxel_the_displacement_is_constant(rng, axis):
    shape = [5, 6, 7]
    shape[axis] = 1
    displacement_mm = rng.standard_normal((*shape, 3)).astype(np.float32)
    thick = digital_jacobian(displacement_mm.repeat(2, axis), placed(AFFINES["SLA"]).affine)
    thin = digital_jacobian(displacement_mm, placed(AFFINES["SLA"]).affine)
    assert thin.shape == tuple(shape)
    np.testing.assert_array_equal(thin, thick.min(axis, keepdims=True))


@pytest.mark.parametrize("parity", [0, 1])
@pytest.mark.parametrize("folds", [False, True])
def test_a_certified_field_interpolated_linearly_is_one_to_one(rng, parity, folds):
    """Every image of a point lies in one mapped tetrahedron only; where the field folds, some lie in several."""
    shape = (5, 4, 6)
    displacement = rng.uniform(-1, 1, (*shape, 3))
    for axis in range(3):  # the border stays
        np.moveaxis(displacement, axis, 0)[[0, -1]] = 0
    jacobian = None
    while jacobian is None or (jacobian.min() <= 0 and not folds):
        jacobian = digital_jacobian(displacement, np.eye(4))
        displacement = displacement if folds else displacement * 0.9
    assert (folding_fraction(displacement, np.eye(4)) > 0) == folds
    assert np.abs(displacement).max() > 0.2

    vertices = tetrahedra(shape, (parity,))
    after = Lattice(shape, np.eye(4)).voxels() + displacement
    images = after[tuple(np.moveaxis(vertices, -1, 0))]  # (tetrahedra, 4, 3)
    if not folds:
        slopes = edge_matrix(images) @ np.linalg.inv(edge_matrix(vertices.astype(float)))
        assert np.linalg.det(slopes).min() > 0
    points = rng.uniform(0.01, np.array(shape) - 1.01, (500, 3))
    within = np.linalg.solve(edge_matrix(images)[:, None], (points - images[:, :1])[..., None])[..., 0]
    covers = ((within >= 0).all(axis=-1) & (within.sum(axis=-1) <= 1)).sum(axis=0)
    if folds:
        assert covers.max() > 1
    else:
        np.testing.assert_array_equal(covers, 1)


def rough_transform(rng, integration="composed", shape=(10, 12, 9), scale=1.5, damping=1.0):
    """A rough transform on an oblique network grid, with a linear part and an init."""
    linear = np.eye(3, 4) + 0.1 * rng.standard_normal((3, 4))
    init = np.eye(4)
    init[:3, :3] = Rotation.from_euler("xyz", [10, 5, -15], degrees=True).as_matrix()
    init[:3, 3] = [35.0, -340.0, 55.5]
    logits = scale * rng.standard_normal((*(-(-n // 2) for n in shape), 3))
    deformation = Deformation(logits, shape, 2, integration, damping=damping)
    return Transform(placed(OBLIQUE @ np.diag([2.0, -1.5, 1.5]), shape), linear, deformation, init)


def written_lattice(transform, name):
    """A fixed lattice over the network grid: finer, coarser or turned."""
    matrix, shape = {
        "finer": (np.diag([-0.9, 0.8, 1.1]), (20, 21, 22)),
        "coarser": (np.diag([3.0, 2.5, 4.0]), (7, 6, 5)),
        "turned": (Rotation.from_euler("xyz", [-40, 10, 70], degrees=True).as_matrix() * 1.3, (15, 14, 16)),
    }[name]
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = transform.lattice.centre_world - matrix @ ((np.array(shape) - 1) / 2)
    return Lattice(shape, affine)


@pytest.mark.parametrize("integration", ["composed", "axiswise"])
@pytest.mark.parametrize("name", ["finer", "coarser", "turned"])
@pytest.mark.parametrize("damping", [1.0, 0.75])
def test_damping_is_the_largest_that_passes(rng, name, integration, damping):
    transform = rough_transform(rng, integration, damping=damping)
    lattice = written_lattice(transform, name)
    before = folding_fraction(transform.displacement_mm(lattice), lattice.affine)
    kept, displacement_mm, certificate = certify(transform, lattice)
    assert 0 < before == certificate.folding_fraction
    assert certificate.certified
    assert 0 < certificate.damping < damping
    assert kept.deformation.damping == certificate.damping
    assert kept.deformation.logits is transform.deformation.logits
    np.testing.assert_array_equal(kept.linear, transform.linear)
    np.testing.assert_array_equal(kept.init, transform.init)
    np.testing.assert_array_equal(displacement_mm, kept.displacement_mm(lattice))
    assert folding_fraction(displacement_mm, lattice.affine) == 0

    larger = transform.deformation.damped(certificate.damping + damping / DAMPING_STEPS)
    larger = Transform(transform.lattice, transform.linear, larger, transform.init)
    assert folding_fraction(larger.displacement_mm(lattice), lattice.affine) > 0

    if integration == "composed":
        points = lattice.points()
        np.testing.assert_allclose(kept.inverse()(kept(points)), points, rtol=0, atol=1e-6)


@pytest.mark.parametrize("chunk", [2**15, 10])
def test_cubes_that_fold_only_later_are_found(rng, monkeypatch, chunk):
    transform = rough_transform(rng)
    lattice = written_lattice(transform, "finer")
    monkeypatch.setattr(module, "CHUNK_CUBES", chunk)
    expected = certify(transform, lattice)[2]
    tested, calls = module._tested, []

    def only_the_last_cube_at_first(*arguments):
        calls.append(arguments)
        jacobian, folded = tested(*arguments)
        return jacobian, folded[-1:] if len(calls) == 1 else folded

    monkeypatch.setattr(module, "_tested", only_the_last_cube_at_first)
    assert certify(transform, lattice)[2] == expected
    assert len(calls) > 2


@pytest.mark.parametrize("name", ["finer", "turned"])
def test_a_transform_that_passes_is_left_alone(rng, name):
    transform = rough_transform(rng, scale=0.02, damping=0.5)
    lattice = written_lattice(transform, name)
    done = []
    kept, displacement_mm, certificate = certify(transform, lattice, done.append)
    assert kept is transform
    assert (certificate.folding_fraction, certificate.certified, certificate.damping) == (0.0, True, 0.5)
    np.testing.assert_array_equal(displacement_mm, transform.displacement_mm(lattice))
    assert sum(done) == np.prod(lattice.shape)


def test_linear_transforms_are_certified(rng):
    transform = rough_transform(rng)
    linear = Transform(transform.lattice, transform.linear, None, transform.init)
    certificate = certify(linear, written_lattice(transform, "turned"))[2]
    assert (certificate.folding_fraction, certificate.certified, certificate.damping) == (0.0, True, 1.0)


@pytest.mark.parametrize("deformable", [True, False])
def test_what_damping_cannot_heal_is_said(rng, deformable):
    transform = rough_transform(rng)
    mirror = transform.init @ np.diag([1.0, -1, 1, 1])
    mirrored = Transform(transform.lattice, transform.linear, transform.deformation if deformable else None, mirror)
    lattice = written_lattice(transform, "coarser")
    kept, displacement_mm, certificate = certify(mirrored, lattice)
    assert kept is mirrored
    assert not certificate.certified
    assert certificate.damping == 1.0
    assert certificate.folding_fraction > 0.5
    np.testing.assert_array_equal(displacement_mm, mirrored.displacement_mm(lattice))


def test_a_slice_that_is_turned_over_cannot_be_certified(rng):
    """One voxel thick, its displacement counts as constant across: half a turn about an axis in it mirrors it."""
    transform = rough_transform(rng)
    turn = transform.init @ np.diag([-1.0, 1, -1, 1])
    turned = Transform(transform.lattice, np.eye(3, 4), transform.deformation, turn)
    certificate = certify(turned, Lattice((9, 8, 1), np.diag([1.0, 1.0, 1.0, 1.0])))[2]
    assert not certificate.certified
    assert certificate.damping == 1.0


@pytest.mark.parametrize("depth", [1, 2])
def test_the_axiswise_example_of_the_design_folds(depth):
    """Φ_x = [[.1, 1.9], [.5, 1]] and its transpose: positive gradients, and det J = 0.5² - 1.8² = -2.99."""
    gradients = np.ones((2, 2, depth, 3))
    gradients[..., 0] = np.array([[0.1, 1.9], [0.5, 1.0]])[..., None]
    gradients[..., 1] = np.array([[0.1, 1.9], [0.5, 1.0]]).T[..., None]
    deformation = Deformation(np.log(gradients / (2 - gradients)), (2, 2, depth), 1, "axiswise", "start")
    lattice = Lattice((2, 2, depth), np.diag([1.5, -2.0, 3.0, 1.0]))
    transform = Transform(lattice, np.eye(3, 4), deformation, np.eye(4))
    jacobian = digital_jacobian(transform.displacement_mm(lattice), lattice.affine)
    grid = deformation(lattice.voxels())[:, :, 0]
    forward = np.linalg.det([(grid[1, 0] - grid[0, 0])[:2], (grid[0, 1] - grid[0, 0])[:2]])
    assert forward == pytest.approx(-2.99)
    assert jacobian[0, 0].max() <= -2.98  # a central tetrahedron is worse still
    _, _, certificate = certify(transform, lattice)
    assert certificate.folding_fraction == 1.0
    assert certificate.certified
    assert certificate.damping < 1
