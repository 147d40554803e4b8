"""Determinants: closed forms, and SimpleITK's filter."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from tfreg.io.itk_images import to_itk
from tfreg.transforms.jacobian import (
    SMALLEST_DETERMINANT,
    jacobian_determinant,
    log_jacobian,
    volume_change_percent,
)
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

OBLIQUE = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
AFFINES = {
    "RAS": np.diag([1.5, 1.0, 2.5]),
    "LPS": np.diag([-1.5, -1.0, 2.5]),
    "SLA": np.array([[0, -1.0, 0], [0, 0, 1.5], [2.5, 0, 0]]),
    "oblique": OBLIQUE @ np.diag([0.8, -1.3, 3.1]),
    "sheared": OBLIQUE @ np.array([[0.8, 0.3, 0], [0, 1.3, -0.2], [0, 0, 3.1]]),
}
SHAPE = (5, 7, 6)


@pytest.fixture(params=AFFINES.values(), ids=AFFINES.keys())
def lattice(request):
    """Unequal sizes and spacings, an origin far from zero."""
    affine = np.eye(4)
    affine[:3, :3] = request.param
    affine[:3, 3] = [-31.25, 17.5, 120.75]
    return Lattice(SHAPE, affine)


def test_a_linear_map_has_its_own_determinant(lattice):
    matrix = np.array([[1.2, 0.3, -0.1], [-0.2, 0.7, 0.15], [0.05, 0.4, 1.1]])
    displacement_mm = (lattice.points() @ matrix.T - lattice.points() + [3.0, -250.0, 7.0]).astype(np.float32)
    determinant = jacobian_determinant(displacement_mm, lattice.affine)
    np.testing.assert_allclose(determinant, np.linalg.det(matrix), atol=2e-4)
    np.testing.assert_allclose(log_jacobian(displacement_mm, lattice.affine), np.log(determinant), rtol=1e-6)


def test_the_determinant_of_a_transform_does_not_depend_on_the_lattice(lattice):
    grid = Lattice((8, 9, 7), np.diag([2.0, 3.0, 1.5, 1.0]))
    linear = np.array([[1.2, 0.3, -0.1, 1.0], [-0.2, 0.7, 0.15, -2.0], [0.05, 0.4, 1.1, 0.5]])
    displacement_mm = Transform(grid, linear, None, np.eye(4)).displacement_mm(lattice)
    np.testing.assert_allclose(
        jacobian_determinant(displacement_mm, lattice.affine), np.linalg.det(linear[:, :3]), atol=1e-4
    )


@pytest.mark.parametrize("name", ["RAS", "LPS"])
def test_itk_finds_the_same(rng, name):
    affine = np.eye(4)
    affine[:3, :3] = AFFINES[name]
    displacement_mm = rng.standard_normal((*SHAPE, 3)).astype(np.float32)
    # In the frame of LPS points a field's components change sign; ITK's filter knows no direction matrix.
    along_axes = displacement_mm * np.sign(np.diag(affine)[:3])
    field = to_itk(along_axes.astype(np.float64), np.diag([-1.5, -1.0, 2.5, 1.0]))
    assert field.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    theirs = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field)).T
    ours = jacobian_determinant(displacement_mm, affine)
    inner = (slice(1, -1),) * 3  # at the border ITK repeats the outermost value
    assert theirs[inner].std() > 0.1
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-5)


def test_a_mirrored_volume_folds_everywhere(lattice):
    displacement_mm = lattice.points() * [-2.0, 0, 0]
    np.testing.assert_allclose(jacobian_determinant(displacement_mm, lattice.affine), -1, atol=2e-4)
    np.testing.assert_allclose(log_jacobian(displacement_mm, lattice.affine), np.log(SMALLEST_DETERMINANT))


def test_along_an_axis_of_one_voxel_the_transform_counts_as_constant():
    displacement_mm = np.zeros((4, 5, 1, 3), np.float32)
    displacement_mm[..., 0] = 0.5 * np.arange(4)[:, None, None]
    np.testing.assert_allclose(jacobian_determinant(displacement_mm, np.diag([2.0, 1, 3, 1])), 1.25)


def test_the_change_of_volume_is_in_percent_inside_the_labels(lattice):
    """A map that stretches by 1.2, 1.0 and 0.5 along the axes leaves 60 % of the volume."""
    stretch = np.array([1.2, 1.0, 0.5])
    displacement_mm = lattice.points() * (stretch - 1)
    labels = np.zeros(lattice.shape, np.int16)
    labels[1:], labels[:, :2] = 4, -2
    found = volume_change_percent(log_jacobian(displacement_mm, lattice.affine), labels)
    np.testing.assert_allclose(found[labels != 0], -40, atol=0.01)
    assert (found[labels == 0] == 0).all()
    assert found.dtype == np.float32
