"""Residual deformations of maps that are known, under unlike headers."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from tfreg.classification.features import (
    deformations_of,
    jacobian_features,
    residual_displacement,
    residual_log_jacobian,
    residual_mm,
)
from tfreg.config import ResidualGrid
from tfreg.errors import UserError
from tfreg.preprocessing.network_grid import network_grid
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

HEADERS = ("RAS", "LAS", "LPS", "oblique", "flipped")
SHAPE, CENTRE = (9, 10, 11), np.array([12.0, -7.0, 30.0])
GRID = ResidualGrid(spacing=(2.0, 3.0, 1.5), shape=(4, 5, 6))


@dataclass
class Subject:
    """A registered subject whose transform is known."""

    subject: str
    record: SimpleNamespace
    whole: Transform
    lattice: Lattice

    def transform(self):
        return self.whole, self.lattice


@pytest.fixture
def known(tools):
    """`known(header, world, ...)`: a subject whose whole transform is the matrix `world`."""

    def known(header, world, **record):
        lattice = Lattice(SHAPE, tools.placed(header, SHAPE, CENTRE))
        record = {"initial": np.eye(4).tolist(), "log_jacobian": {}, **record}
        return Subject("one", SimpleNamespace(**record), Transform.identity(lattice, world), lattice)

    return known


def scaling(factor):
    """About the centre of the field of view."""
    matrix = np.eye(4)
    matrix[:3, :3] *= factor
    matrix[:3, 3] = CENTRE * (1 - factor)
    return matrix


@pytest.mark.parametrize("header", HEADERS)
def test_a_shift_is_the_same_however_the_scanner_stood(known, tools, header):
    """6 mm along the patient's axes of the lattice: as many voxels as it holds spacings."""
    lattice = network_grid(Lattice(SHAPE, tools.placed(header, SHAPE, CENTRE)), "RAS", GRID.spacing, GRID.shape)
    shift = np.eye(4)
    shift[:3, 3] = lattice.affine[:3, :3] @ np.array([3.0, -2.0, 4.0])
    values = deformations_of([known(header, shift)], ("displacement",), GRID).inputs["displacement"]
    assert values.shape == (1, 4, 5, 6, 3)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, np.broadcast_to([3.0, -2.0, 4.0], values.shape), atol=1e-5)


def test_the_initial_alignment_is_not_the_persons(tools):
    rng = np.random.default_rng(0)
    initial = np.eye(4)
    initial[:3, :3] += 0.2 * rng.standard_normal((3, 3))
    initial[:3, 3] = (40.0, -30.0, 12.0)
    lattice = Lattice(SHAPE, tools.placed("oblique", SHAPE, CENTRE))
    world = scaling(1.2)
    points = lattice.points()
    expected = points @ world[:3, :3].T + world[:3, 3] - points
    np.testing.assert_allclose(residual_mm(Transform.identity(lattice, initial @ world), initial, lattice), expected)
    nothing = residual_mm(Transform.identity(lattice, initial), initial, lattice)
    np.testing.assert_allclose(nothing, 0, atol=1e-11)


@pytest.mark.parametrize("header", HEADERS)
def test_the_log_jacobian_of_a_scaling_is_thrice_its_logarithm(known, header):
    subjects = [known(header, scaling(factor)) for factor in (0.8, 1.25)]
    values = deformations_of(subjects, ("displacement", "log_jacobian"), GRID)
    assert values.inputs["log_jacobian"].shape == (2, 4, 5, 6, 1)
    for one, factor in zip(values.inputs["log_jacobian"], (0.8, 1.25), strict=True):
        np.testing.assert_allclose(one, 3 * np.log(factor), atol=1e-4)
    # From the centre outwards by a quarter of the voxel's distance to it, the other way round below.
    np.testing.assert_allclose(
        values.inputs["displacement"][1, 0, 0, 0], -0.25 * (np.array(GRID.shape) - 1) / 2, atol=1e-5
    )
    assert values.subset(np.array([False, True])).inputs["log_jacobian"].shape == (1, 4, 5, 6, 1)


def test_components_follow_the_lattices_axes(tools, rng):
    """Against a matrix product written out voxel by voxel."""
    lattice = Lattice((2, 3, 4), tools.placed("flipped", (2, 3, 4), CENTRE))
    field = rng.standard_normal((2, 3, 4, 3))
    values = residual_displacement(field, lattice)
    for place in np.ndindex(2, 3, 4):
        moved = lattice.to_voxel(lattice.to_world(np.array(place)) + field[place])
        np.testing.assert_allclose(values[place], moved - place, atol=1e-5)
    assert residual_log_jacobian(field * 0, lattice).shape == (2, 3, 4, 1)


def test_the_lattice_can_be_centred_on_the_labels(known):
    grid = GRID.model_copy(update={"centre": "labels"})
    away = CENTRE + np.array([3.0, 5.0, -2.0])
    subject = known("oblique", scaling(1.5), labels_centre=away.tolist())
    values = deformations_of([subject], ("displacement",), grid).inputs["displacement"][0]
    lattice = network_grid(subject.lattice, "RAS", GRID.spacing, GRID.shape)
    middle_mm = lattice.affine[:3, :3] @ values.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(middle_mm, 0.5 * (away - CENTRE), atol=1e-5)
    with pytest.raises(UserError, match=r"one: has no labels; set grid.centre=image"):
        deformations_of([known("RAS", np.eye(4), labels_centre=None)], ("displacement",), grid)


def test_features_are_metrics_of_each_label(known):
    metrics = SimpleNamespace(mean=0.1, sd=0.2, min=-9.0)
    others = SimpleNamespace(mean=0.3, sd=0.4)
    subjects = [
        known("RAS", np.eye(4), log_jacobian={"all": metrics, "labels": metrics, "1": metrics}),
        known("RAS", np.eye(4), log_jacobian={"all": metrics, "labels": metrics, "2": others}),
    ]
    values, names = jacobian_features(subjects)
    assert names == ("1 mean", "1 sd", "2 mean", "2 sd")
    np.testing.assert_array_equal(values, [[0.1, 0.2, np.nan, np.nan], [np.nan, np.nan, 0.3, 0.4]])
    values, names = jacobian_features(subjects[1:], ("2 sd", "3 mean"))
    np.testing.assert_array_equal(values, [[0.4, np.nan]])
    values, names = jacobian_features([known("RAS", np.eye(4), log_jacobian={"all": metrics})])
    assert names == ("all mean", "all sd")
