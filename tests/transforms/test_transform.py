"""The chain from fixed to moving world, coded a second time."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from tfreg.io.itk_transforms import read_linear
from tfreg.runtime import threads
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

SHAPE = (6, 9, 7)
LINEAR = np.array([[1.05, -0.2, 0.1, 1.5], [0.15, 0.9, -0.1, -0.75], [0.0, 0.2, 1.1, 0.5]])
FLIP = np.array([-1, -1, 1])


@pytest.fixture
def lattice():
    """Oblique, anisotropic, flipped, and far from the origin."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() @ np.diag([0.8, -1.3, 3.1])
    affine[:3, 3] = [-310, 170, 1200]
    return Lattice(SHAPE, affine)


@pytest.fixture
def rigid():
    """A rigid ITK transform about a centre, LPS mm."""
    transform = sitk.Euler3DTransform((300.0, -180.0, 1210.0), 0.1, -0.2, 0.15, (12.0, -340.0, 55.5))
    assert np.linalg.norm(transform.GetTranslation()) > 100
    return transform


@pytest.mark.parametrize("anchor", ["centre", "start"])
@pytest.mark.parametrize("integration", ["composed", "axiswise"])
def test_the_chain_is_the_one_of_the_design(tmp_path, rng, lattice, rigid, integration_reference, integration, anchor):
    sitk.WriteTransform(rigid, str(tmp_path / "rigid.tfm"))
    logits = rng.standard_normal((*SHAPE, 3))
    deformation = Deformation(logits, SHAPE, 1, integration, anchor)
    transform = Transform(lattice, LINEAR, deformation, read_linear(tmp_path / "rigid.tfm"))
    points_world = lattice.to_world(rng.uniform(-2, np.array(SHAPE) + 1, (50, 3)))

    expected = []
    for point in points_world:
        voxel = np.linalg.solve(lattice.affine, [*point, 1])[:3]
        centre = (np.array(SHAPE) - 1) / 2
        voxel = centre + LINEAR[:, :3] @ (voxel - centre) + LINEAR[:, 3]
        voxel = integration_reference(2 / (1 + np.exp(-logits)), voxel[None], integration, anchor)[0]
        world = (lattice.affine @ [*voxel, 1])[:3]
        expected.append(np.array(rigid.TransformPoint((world * FLIP).tolist())) * FLIP)
    np.testing.assert_allclose(transform(points_world), expected, rtol=0, atol=1e-6)


def test_linear_world_is_init_after_the_matrix(rng, lattice, rigid, tmp_path):
    sitk.WriteTransform(rigid, str(tmp_path / "rigid.tfm"))
    transform = Transform(lattice, LINEAR, None, read_linear(tmp_path / "rigid.tfm"))
    points_world = lattice.to_world(rng.uniform(-2, 9, (4, 5, 3)))
    matrix = transform.linear_world
    expected = points_world @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(transform(points_world), expected, atol=1e-9)
    # The centre of the lattice moves by the translation alone.
    centre = lattice.to_world(lattice.centre_voxel + LINEAR[:, 3])
    moved = np.array(rigid.TransformPoint((centre * FLIP).tolist())) * FLIP
    np.testing.assert_allclose(transform(lattice.centre_world), moved, atol=1e-9)
    # Logits of zero change nothing.
    still = Transform(lattice, LINEAR, Deformation(np.zeros((*SHAPE, 3)), SHAPE, 1), transform.init)
    np.testing.assert_allclose(still(points_world), expected, atol=1e-9)


def test_identity(rng, lattice):
    points_world = rng.uniform(-100, 100, (7, 3))
    np.testing.assert_allclose(Transform.identity(lattice)(points_world), points_world, atol=1e-10)
    still = Transform(lattice, np.eye(3, 4), Deformation(np.zeros((*SHAPE, 3)), SHAPE, 1), np.eye(4))
    np.testing.assert_allclose(still(points_world), points_world, atol=1e-10)
    np.testing.assert_allclose(still.displacement_mm(lattice), 0, atol=1e-10)


def test_one_point_or_many(rng, lattice, smooth_deformation):
    transform = Transform(lattice, LINEAR, smooth_deformation(SHAPE), np.eye(4))
    points_world = lattice.to_world(rng.uniform(-2, 9, (4, 5, 3)))
    np.testing.assert_allclose(transform(points_world)[1, 2], transform(points_world[1, 2]), atol=1e-10)


@pytest.mark.parametrize("chunk", [2**21, 100, 1])
def test_displacement_is_the_map_minus_the_identity(lattice, smooth_deformation, monkeypatch, chunk):
    monkeypatch.setattr(threads, "PART_SIZE", chunk)
    transform = Transform(lattice, LINEAR, smooth_deformation(SHAPE), np.eye(4))
    affine = np.diag([2.5, -1.0, 1.5, 1.0])
    affine[:3, 3] = lattice.centre_world
    other = Lattice((5, 4, 8), affine)
    done = []
    displacement_mm = transform.displacement_mm(other, done.append)
    assert sum(done) == 5 * 4 * 8
    assert displacement_mm.dtype == np.float32
    np.testing.assert_allclose(displacement_mm, transform(other.points()) - other.points(), atol=1e-4)


def test_a_warped_ramp_is_the_ramp_at_the_mapped_points(lattice, smooth_deformation):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [-40, 10, 70], degrees=True).as_matrix() @ np.diag([2.0, 1.1, 1.6])
    shape = (40, 41, 42)
    affine[:3, 3] = lattice.centre_world - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    slopes = np.array([0.3, -0.2, 0.5])
    moving = Lattice(shape, affine)
    moving = Volume(((moving.points() - lattice.centre_world) @ slopes).astype(np.float32), affine, frame=4)
    transform = Transform(lattice, LINEAR, smooth_deformation(SHAPE), np.eye(4))
    warped = transform.warp(moving, lattice, fill=-999.0)
    expected = (transform(lattice.points()) - lattice.centre_world) @ slopes
    assert warped.lattice.same_as(lattice, 1e-6)
    assert warped.frame == 4
    np.testing.assert_allclose(warped.array, expected, atol=1e-4)
    given = transform.warp(moving, lattice, displacement_mm=transform.displacement_mm(lattice))
    np.testing.assert_array_equal(given.array, warped.array)


@pytest.mark.parametrize("interpolation", ["linear", "nearest", "cubic"])
def test_outside_the_moving_volume_is_the_fill(lattice, interpolation):
    moving = Volume(np.arange(8**3, dtype=np.int16).reshape(8, 8, 8), np.eye(4))
    warped = Transform.identity(lattice).warp(moving, lattice, interpolation, fill=-7)
    assert (warped.array == -7).all()
    assert warped.array.dtype == (np.int16 if interpolation == "nearest" else np.float32)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"linear": np.diag([1, 1, -1]) @ np.eye(3, 4)}, "linear"),
        ({"linear": np.zeros((3, 4))}, "linear"),
        ({"linear": np.full((3, 4), np.nan)}, "linear"),
        ({"linear": np.column_stack([np.eye(3), [0, np.nan, 0]])}, "linear"),
        ({"linear": np.eye(4)}, "linear"),
        ({"init": np.zeros((4, 4))}, "init"),
        ({"init": np.full((4, 4), np.nan)}, "init"),
        ({"init": np.eye(3, 4)}, "init"),
        ({"deformation": Deformation(np.zeros((9, 6, 7, 3)), (9, 6, 7), 1)}, "deformation"),
    ],
)
def test_bad_arguments(lattice, changes, name):
    good = {"lattice": lattice, "linear": np.eye(3, 4), "deformation": None, "init": np.eye(4)}
    with pytest.raises(ValueError, match=f"`{name}` must.*Received: "):
        Transform(**{**good, **changes})
