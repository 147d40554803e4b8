"""The deformation in bytes: exact where it is linear, close elsewhere, and in the fixed image's own axes."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.report import deformed_grid
from tfreg.report.deformed_grid import grid_field
from tfreg.volumes.volume import Volume

ORIENTATIONS = ["RAS", "LPS", "SLA", "PIR"]
TURN = Rotation.from_euler("xyz", [10, -15, 20], degrees=True).as_matrix()


def volume(orientation="RAS", turned=False, shape=(12, 16, 9)):
    affine = np.diag([2.0, 1.5, 3.0, 1.0])
    affine[:3, 3] = [-30, 20, 100]
    if turned:
        affine[:3, :3] = TURN @ affine[:3, :3]
    return Volume(np.zeros(shape, np.float32), affine).reoriented(orientation)


def decoded(field, shape):
    """Nodes' voxels, and where they are led, `(i, j, k, 3)` mm."""
    nodes = field.codes.shape[:3]
    ends = (np.linspace(0, n - 1, m) for n, m in zip(shape, nodes, strict=True))
    voxels = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1)
    linear = voxels @ field.matrix[:, :3].T + field.matrix[:, 3]
    return voxels, linear + (field.codes.astype(float) - 128) / 127 * field.scale_mm


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_linear_transform_is_exact(orientation, turned):
    fixed = volume(orientation, turned)
    matrix = np.array([[1.1, 0.1, 0.0], [-0.05, 0.9, 0.02], [0.03, 0.0, 1.2]])
    points = fixed.lattice.points()
    field = grid_field(fixed, (points @ matrix.T + [5, -70, 11] - points).astype(np.float32))
    assert (field.codes == 128).all()
    upright = fixed.reoriented("RAS").lattice
    voxels, mapped_mm = decoded(field, upright.shape)
    expected = upright.to_voxel(upright.to_world(voxels) @ matrix.T + [5, -70, 11]) * upright.spacing
    np.testing.assert_allclose(mapped_mm, expected, atol=1e-3)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_deformation_is_close(rng, orientation, monkeypatch):
    monkeypatch.setattr(deformed_grid, "MAX_NODES", 500)
    fixed = volume(orientation, shape=(24, 32, 18))
    upright = fixed.reoriented("RAS").lattice
    smooth = np.stack([ndimage.gaussian_filter(rng.standard_normal(upright.shape), 4) for _ in range(3)], axis=-1)
    smooth *= 6 / np.abs(smooth).max()
    change = np.stack(
        [Volume(smooth[..., d].astype(np.float32), upright.affine).reoriented(orientation).array for d in range(3)],
        axis=-1,
    )
    field = grid_field(fixed, change)
    assert np.prod(field.codes.shape[:3]) <= 500
    voxels, mapped_mm = decoded(field, upright.shape)
    for d in range(3):
        there = ndimage.map_coordinates(smooth[..., d], np.moveaxis(voxels, -1, 0), order=1)
        # The world's axes are the volume's own here.
        np.testing.assert_allclose(mapped_mm[..., d], voxels[..., d] * upright.spacing[d] + there, atol=0.06)


def test_two_slices_are_enough():
    fixed = volume(shape=(5, 6, 2))
    field = grid_field(fixed, np.zeros((5, 6, 2, 3), np.float32))
    assert field.codes.shape == (5, 6, 2, 3)
    np.testing.assert_allclose(decoded(field, fixed.shape)[1], fixed.lattice.voxels() * fixed.spacing, atol=1e-9)
