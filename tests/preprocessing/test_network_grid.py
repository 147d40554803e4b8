"""The network grid lies along the fixed volume's axes, about its centre."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tfreg.io.formats import read_volume
from tfreg.preprocessing.network_grid import network_grid
from tfreg.volumes.lattice import Lattice

NUMBER = st.floats(0.4, 6)


def right_angled(lattice):
    directions = lattice.affine[:3, :3] / lattice.spacing
    return np.allclose(directions.T @ directions, np.eye(3), atol=3e-6)


def test_by_default_it_is_the_fixed_lattice(volume):
    assert network_grid(volume.lattice).same_as(volume.lattice, 1e-9)


def test_float32_headers_keep_their_voxels(volume):
    lattice = Lattice((97, 61, 43), volume.affine.astype(np.float32))
    assert network_grid(lattice).same_as(lattice, 1e-9)
    assert network_grid(lattice, spacing=lattice.spacing.astype(np.float32)).shape == (97, 61, 43)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SLA", "IPR", "ALI"])
def test_orientation_permutes_and_flips_the_fixed_axes(volume, orientation):
    grid = network_grid(volume.lattice, orientation)
    assert grid.orientation == orientation
    assert grid.same_as(volume.reoriented(orientation).lattice, 1e-9)


def test_spacing_and_shape_are_in_the_new_order():
    fixed = Lattice((64, 192, 100), np.diag([1.0, 1.0, 3.0, 1.0]))
    grid = network_grid(fixed, "SLA", spacing=(6, 2, 2.5))
    assert grid.shape == (50, 32, 77)  # 300 / 6, 64 / 2, 192 / 2.5 = 76.8
    np.testing.assert_allclose(grid.spacing, [6, 2, 2.5])
    np.testing.assert_allclose(grid.centre_world, fixed.centre_world)


def test_shape_pads_and_crops_and_spacing_wins(volume):
    grid = network_grid(volume.lattice, spacing=2, shape=(16, 3, 8))
    assert grid.shape == (16, 3, 8)
    np.testing.assert_allclose(grid.spacing, 2)
    np.testing.assert_allclose(grid.centre_world, volume.lattice.centre_world, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(2, 40)] * 3),
    st.tuples(NUMBER, NUMBER, NUMBER),
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.floats(-0.4, 0.4),
    st.sampled_from([None, "RAS", "PIL"]),
    st.one_of(st.none(), NUMBER, st.tuples(NUMBER, NUMBER, NUMBER)),
)
def test_it_covers_any_field_of_view(shape, spacings, angles, shear, orientation, spacing):
    affine = np.eye(4)
    stretch = np.diag(spacings)
    stretch[0, 2] = shear * spacings[2]
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ stretch
    affine[:3, 3] = [100, -200, 300]
    fixed = Lattice(shape, affine)
    grid = network_grid(fixed, orientation, spacing)
    assert right_angled(grid)
    np.testing.assert_allclose(grid.centre_world, fixed.centre_world, atol=1e-9)
    # Outer corners, half a voxel beyond the outermost centres
    corners = np.stack(np.meshgrid(*([-0.5, n - 0.5] for n in shape), indexing="ij"), axis=-1)
    places = grid.to_voxel(fixed.to_world(corners))
    assert places.min() > -0.5 - 1e-3
    assert (places < np.array(grid.shape) - 0.5 + 1e-3).all()
    # and no layer more than needed
    extent = places.reshape(-1, 3).max(axis=0) - places.reshape(-1, 3).min(axis=0)
    assert (np.array(grid.shape) < np.maximum(extent, 1) + 1 + 1e-6).all()


@pytest.mark.parametrize("orientation", ["XYZ", "RRS", "RLA", "ras", "RA", "RASS", "", 3])
def test_bad_orientation(orientation):
    with pytest.raises(ValueError, match="`orientation`"):
        network_grid(Lattice((4, 5, 6), np.eye(4)), orientation)


@pytest.mark.parametrize("spacing", [0, -1, (1, 2), (1, 2, 0), np.nan, np.inf])
def test_bad_spacing(spacing):
    with pytest.raises(ValueError, match="`spacing`"):
        network_grid(Lattice((4, 5, 6), np.eye(4)), spacing=spacing)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 0), (4, 5, -1), (4, 5, 6.5)])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match="`shape`"):
        network_grid(Lattice((4, 5, 6), np.eye(4)), shape=shape)


def test_slices_first_as_in_the_paper(shared_data):
    fixed = read_volume(shared_data / "lung_ct" / "fixed.nii.gz").lattice
    grid = network_grid(fixed, "SLA", spacing=(5, 2, 2), shape=(64, 96, 96))
    assert (grid.orientation, grid.shape) == ("SLA", (64, 96, 96))
    np.testing.assert_allclose(grid.centre_world, fixed.centre_world)
