"""A volume's place in the world."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfreg.volumes.lattice import Lattice, difference
from tfreg.volumes.volume import Volume


def test_world_and_voxel_coordinates_are_nibabels(volume):
    points_voxel = np.array([[0, 0, 0], [3, 4, 5], [0.25, -1.5, 7.75]])
    points_world = volume.lattice.to_world(points_voxel)
    np.testing.assert_allclose(points_world, nib.affines.apply_affine(volume.affine, points_voxel), atol=1e-9)
    np.testing.assert_allclose(volume.lattice.to_voxel(points_world), points_voxel, atol=1e-9)


def test_what_a_lattice_answers():
    lattice = Lattice((4, 5, 6), [[0, -2, 0, 10], [0, 0, 3, 20], [4, 0, 0, 30], [0, 0, 0, 1]])
    assert lattice.orientation == "SLA"
    np.testing.assert_array_equal(lattice.spacing, [4, 2, 3])
    np.testing.assert_array_equal(lattice.centre_voxel, [1.5, 2, 2.5])
    np.testing.assert_array_equal(lattice.centre_world, [6, 27.5, 36])
    assert lattice.voxels().shape == lattice.points().shape == (4, 5, 6, 3)
    np.testing.assert_array_equal(lattice.voxels()[3, 1, 2], [3, 1, 2])
    np.testing.assert_array_equal(lattice.points()[3, 1, 2], [8, 26, 42])


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 0), (4, 5, -6), (4, 5, 6, 1), (4, 5, 6.5)])
def test_shape_must_be_three_positive_integers(shape):
    with pytest.raises(ValueError, match="`shape`"):
        Lattice(shape, np.eye(4))


@pytest.mark.parametrize(
    "affine",
    [np.eye(3), np.diag([1, 1, 1, 2]), np.diag([1, 0, 1, 1]), np.diag([1, np.nan, 1, 1]), np.ones((4, 4)) - np.eye(4)],
)
def test_affine_must_be_invertible(affine):
    with pytest.raises(ValueError, match="`affine`"):
        Lattice((4, 5, 6), affine)


def test_parallel_axes_are_refused_and_small_voxels_are_not():
    affine = np.eye(4)
    affine[:3, 1] = [1, 1e-9, 0]
    with pytest.raises(ValueError, match="`affine`"):
        Lattice((4, 5, 6), affine)
    assert Lattice((4, 5, 6), np.diag([1e-3, 1e-3, 1e-3, 1])).spacing == pytest.approx([1e-3] * 3)


def test_a_lattice_cannot_be_changed_through_its_affine():
    affine = np.eye(4)
    lattice = Lattice((4, 5, 6), affine)
    affine[0, 0] = 7
    assert lattice.spacing[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        lattice.affine[0, 0] = 7


def test_same_as_looks_at_every_corner():
    lattice = Lattice((4, 5, 600), np.eye(4))
    turned = np.eye(4)
    turned[0, 2] = 3e-4  # 0.18 voxels at the far end
    assert lattice.same_as(Lattice((4, 5, 600), np.eye(4)))
    assert not lattice.same_as(Lattice((4, 5, 600), turned))
    assert lattice.same_as(Lattice((4, 5, 600), turned), tolerance_voxels=0.2)
    assert not lattice.same_as(Lattice((4, 5, 601), np.eye(4)))


@pytest.mark.parametrize("size", [1000.0, 1.0, 0.01])
def test_places_are_compared_in_voxels(size):
    lattice = Lattice((4, 5, 6), np.diag([size, 2 * size, 5 * size, 1]))
    shifted = np.array(lattice.affine)
    shifted[2, 3] = 0.4 * 5 * size
    other = Lattice((4, 5, 6), shifted)
    assert lattice.distance_voxels(other) == pytest.approx(0.4)
    assert not lattice.same_as(other)
    assert difference(other, lattice) == "its voxels lie up to 0.4 voxels away"
    shifted[2, 3] = 0.011 * 5 * size
    assert lattice.same_as(Lattice((4, 5, 6), shifted))


def test_what_tells_lattices_apart_in_words():
    lattice = Lattice((4, 5, 6), np.diag([2.0, 2, 2, 1]))
    assert difference(Lattice((4, 5, 7), np.eye(4)), lattice) == "4x5x7 voxels, not 4x5x6"
    assert "axes run LAS, not RAS" in difference(Lattice((4, 5, 6), np.diag([-2.0, 2, 2, 1])), lattice)
    text = difference(Lattice((4, 5, 6), np.diag([2.0, 2, 2.0001, 1])), lattice)
    assert text == "its voxels lie up to 0.00025 voxels away: its spacing is 2 x 2 x 2.0001 mm, not 2 x 2 x 2 mm"


@pytest.mark.parametrize("shear", [0, 3e-4, 2e-2, 0.2])
@pytest.mark.parametrize("size", [2.0, 0.01])
def test_rounding_is_straightened_and_shear_is_kept(size, shear):
    affine = np.diag([size, 2 * size, -3 * size, 1])
    affine[:3, 1] += shear * affine[:3, 0]
    affine[:3, 3] = [100, -50, 3]
    lattice = Lattice((40, 50, 60), affine)
    straight = lattice.straightened()
    assert lattice.is_sheared == (shear > 0)
    assert straight.is_sheared == (shear > 1e-3)
    np.testing.assert_allclose(lattice.shear_degrees, np.degrees(np.arctan(shear / 2)), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(straight.spacing, lattice.spacing)
    np.testing.assert_allclose(straight.centre_world, lattice.centre_world)
    assert lattice.distance_voxels(straight) < 0.1
    assert np.array_equal(straight.affine, affine) == (shear in (0, 2e-2, 0.2))


@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_reorienting_moves_no_voxel(order, flips):
    orientation = "".join(("RL", "AP", "SI")[axis][flip] for axis, flip in zip(order, flips, strict=True))
    affine = np.array([[0.1, -2, 0.3, 10], [0, 0.2, 3, 20], [4, 0, 0.1, 30], [0, 0, 0, 1]])
    volume = Volume(np.arange(120).reshape(4, 5, 6), affine, frame=4, notes=("a note",))
    result = volume.reoriented(orientation)
    assert result.orientation == orientation
    assert (result.frame, result.notes) == (4, ("a note",))
    index = np.round(volume.lattice.to_voxel(result.lattice.points())).astype(int)
    np.testing.assert_allclose(volume.lattice.to_world(index), result.lattice.points(), atol=1e-9)
    np.testing.assert_array_equal(volume.array[tuple(np.moveaxis(index, -1, 0))], result.array)


@pytest.mark.parametrize("orientation", ["XYZ", "RRS", "RA", "RASS", "RLA", ""])
def test_reorienting_needs_each_world_axis_once(orientation):
    with pytest.raises(ValueError, match="`orientation`"):
        Volume(np.zeros((4, 5, 6)), np.eye(4)).reoriented(orientation)


def test_another_array_must_have_the_same_shape(volume):
    assert volume.with_array(volume.array > 0).array.dtype == bool
    with pytest.raises(ValueError, match=r"\(4, 5, 6\)"):
        volume.with_array(np.zeros((6, 5, 4)))


def test_an_array_must_have_three_axes():
    with pytest.raises(ValueError, match="`array`"):
        Volume(np.zeros((4, 5, 6, 2)), np.eye(4))
