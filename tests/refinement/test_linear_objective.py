"""What the linear stage minimises, against other libraries, finite differences and its symmetries."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import normalized_mutual_info_score

from tfreg.refinement.linear_objective import (
    BINS,
    STRETCH_WEIGHT,
    VARIANCE_FLOOR,
    WINDOW,
    LinearObjective,
    _information,
    _local_correlation,
)
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

FIXED, MOVING = (
    Lattice(shape, np.array([[0, -2.0, 0.2, 10], [2.0, 0, 0, -4], [0, 0.2, 2.0, 5], [0, 0, 0, 1]]))
    for shape in ((10, 12, 9), (13, 9, 11))
)


def texture(rng, lattice):
    """A volume with intensities in [0, 1]."""
    array = ndimage.gaussian_filter(rng.normal(size=lattice.shape), 1.2)
    return Volume(((array - array.min()) / np.ptp(array)).astype(np.float32), lattice.affine)


def mask(lattice):
    """All but one end."""
    array = np.ones(lattice.shape, np.uint8)
    array[:3] = 0
    return Volume(array, lattice.affine)


def somewhere(rng, scale=0.04):
    """A matrix between the two lattices' extended voxels, about their centres, away from any voxel."""
    matrix = np.eye(4)
    matrix[:3, :3] += scale * rng.normal(size=(3, 3))
    centres = [(np.array(lattice.shape) + 1) / 2 for lattice in (FIXED, MOVING)]
    matrix[:3, 3] = centres[1] - matrix[:3, :3] @ centres[0] + rng.uniform(0.1, 0.4, 3)
    return matrix


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("measure", ["lncc", "mi"])
def test_gradient_is_that_of_finite_differences(rng, measure, masked):
    masks = (mask(FIXED), mask(MOVING)) if masked else (None, None)
    objective = LinearObjective(texture(rng, FIXED), texture(rng, MOVING), (FIXED, MOVING), masks, measure)
    matrix = somewhere(rng)
    value, gradient = objective(matrix)
    assert np.isfinite(value)
    found = np.empty((3, 4))
    for place in np.ndindex(3, 4):
        change = np.zeros((4, 4))
        change[place] = 1e-7
        found[place] = (objective(matrix + change)[0] - objective(matrix - change)[0]) / 2e-7
    np.testing.assert_allclose(found, gradient, atol=2e-3 * np.abs(gradient).max())


@pytest.mark.parametrize("measure", ["lncc", "mi"])
def test_neither_image_is_favoured(rng, measure):
    fixed, moving = texture(rng, FIXED), texture(rng, MOVING)
    matrix = somewhere(rng)
    there = LinearObjective(fixed, moving, (FIXED, MOVING), (mask(FIXED), None), measure)
    back = LinearObjective(moving, fixed, (MOVING, FIXED), (None, mask(FIXED)), measure)
    assert there(matrix)[0] == pytest.approx(back(np.linalg.inv(matrix))[0], abs=1e-12)


@pytest.mark.parametrize("measure", ["lncc", "mi"])
def test_identity_is_a_minimum_of_identical_images(rng, measure):
    image = texture(rng, FIXED)
    objective = LinearObjective(image, image, (FIXED, FIXED), (None, None), measure)
    value, gradient = objective(np.eye(4))
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    for _ in range(20):
        assert objective(np.eye(4) + 0.02 * np.pad(rng.normal(size=(3, 4)), ((0, 1), (0, 0))))[0] > value


@pytest.mark.parametrize("measure", ["lncc", "mi"])
def test_what_was_not_measured_says_nothing(rng, measure):
    """Other values behind a mask make no difference; beyond a field of view there are none."""
    fixed, moving = texture(rng, FIXED), texture(rng, MOVING)
    spoilt = np.array(moving.array)
    spoilt[:3] = rng.uniform(size=spoilt[:3].shape)
    matrix, masks = somewhere(rng), (None, mask(MOVING))
    values = [
        LinearObjective(fixed, moving.with_array(array), (FIXED, MOVING), masks, measure)(matrix)[0]
        for array in (moving.array, spoilt)
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-3)
    smaller = Volume(moving.array[3:], moving.lattice.extended((-3, 0, 0), 0).affine)
    cut = LinearObjective(fixed, smaller, (FIXED, MOVING), (None, None), measure)(matrix)[0]
    assert cut == pytest.approx(values[0], abs=1e-3)


def test_local_correlation_is_that_of_loops(rng):
    fixed, warped = (rng.uniform(size=(6, 7, 5)) for _ in range(2))
    weights = rng.uniform(size=(6, 7, 5)) * (rng.uniform(size=(6, 7, 5)) > 0.3)
    total, half = 0.0, WINDOW // 2
    for voxel in np.ndindex(*weights.shape):
        part = tuple(slice(max(n - half, 0), n + half + 1) for n in voxel)
        a, b, w = fixed[part], warped[part], weights[part] / weights[part].sum()
        a, b = a - (w * a).sum(), b - (w * b).sum()
        covariance, variances = (w * a * b).sum(), [(w * x * x).sum() + VARIANCE_FLOOR for x in (a, b)]
        total += weights[voxel] * covariance * abs(covariance) / (variances[0] * variances[1])
    found, _, _ = _local_correlation(fixed, warped, weights)
    assert found == pytest.approx(total / weights.sum(), rel=1e-6)


def test_information_is_that_of_scikit_learn(rng):
    """On intensities that lie on the bins; a voxel that counts twice is two voxels."""
    first = rng.integers(0, BINS + 1, size=(9, 8, 7))
    second = np.where(rng.uniform(size=first.shape) < 0.6, BINS - first, rng.integers(0, BINS + 1, size=first.shape))
    counts = rng.integers(0, 3, size=first.shape)
    found, _, _ = _information(first / BINS, second / BINS, counts.astype(float))
    repeated = [np.repeat(image.ravel(), counts.ravel()) for image in (first, second)]
    assert found == pytest.approx(normalized_mutual_info_score(*repeated), abs=1e-9)


def test_hiding_what_differs_does_not_pay(rng):
    """Where nothing overlaps the value is that of images that have nothing in common."""
    moving = texture(rng, MOVING)
    array = np.array(moving.array)
    array[7:] = rng.uniform(size=array[7:].shape)
    objective = LinearObjective(moving, moving.with_array(array), (MOVING, MOVING))
    aside = np.eye(4)
    aside[0, 3] = MOVING.shape[0] + 2
    assert objective(np.eye(4))[0] < 0.6
    assert objective(aside)[0] == pytest.approx(1, abs=1e-3)


def test_stretch_costs_the_same_either_way(rng):
    flat = Volume(np.zeros(FIXED.shape, np.float32), FIXED.affine)
    objective = LinearObjective(flat, flat, (FIXED, FIXED))
    double, half = (np.diag([s, 1, 1, 1.0]) for s in (2, 0.5))
    assert objective(double)[0] == pytest.approx(objective(half)[0])
    assert objective(double)[0] == pytest.approx(1 + STRETCH_WEIGHT * (4 + 0.25 - 2) / 2)
