"""Metrics against SciPy and SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import stats
from scipy.spatial.distance import dice as dice_distance

from tfreg.metrics.overlap import (
    correlation,
    dice_by_label,
    landmark_errors_mm,
    local_correlation,
    summary_of_errors,
)

SHAPE = (5, 6, 7)


def test_dice_is_scipys_and_simpleitks(rng):
    fixed, warped = rng.integers(0, 4, (2, *SHAPE)) * 3
    result = dice_by_label(fixed, warped)
    assert list(result) == [3, 6, 9]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(sitk.GetImageFromArray(array.astype(np.uint8)) for array in (fixed, warped)))
    for label, value in result.items():
        assert value == pytest.approx(1 - dice_distance((fixed == label).ravel(), (warped == label).ravel()))
        assert value == pytest.approx(overlap.GetDiceCoefficient(label))


def test_a_label_of_one_side_only_scores_zero():
    fixed, warped = np.zeros((2, *SHAPE), np.int16)
    fixed[1:3] = 1
    warped[1:3] = 1
    warped[4, 0, 0] = -2
    assert dice_by_label(fixed, warped) == {-2: 0.0, 1: 1.0}
    assert dice_by_label(fixed * 0, fixed * 0) == {}
    assert dice_by_label(fixed, warped, [1, 5]) == {1: 1.0, 5: 0.0}


def test_labels_of_different_dtypes(rng):
    fixed = rng.integers(0, 3, SHAPE)
    assert dice_by_label(fixed.astype(np.uint8), fixed.astype(np.int32)) == {1: 1.0, 2: 1.0}


def test_landmark_errors_are_of_the_mapped_fixed_points():
    fixed_points = np.array([[0.0, 0, 0], [10, 0, 0], [0, 20, 5]])
    moving_points = np.array([[1.0, 2, 2], [11, 0, 0], [1, 24, 2]])
    differences = landmark_errors_mm(lambda points: points + np.array([1, 0, 0]), fixed_points, moving_points)
    np.testing.assert_allclose(differences, [[0, -2, -2], [0, 0, 0], [0, -4, 3]])
    summary = summary_of_errors(differences)
    distances = [np.sqrt(8), 0, 5]
    assert summary == pytest.approx(
        {
            "count": 3,
            "mean_mm": np.mean(distances),
            "sd_mm": np.std(distances),
            "median_mm": np.sqrt(8),
            "p75_mm": np.percentile(distances, 75),
            "p95_mm": np.percentile(distances, 95),
            "max_mm": 5,
            "dx_mm": 0,
            "dy_mm": 2,
            "dz_mm": 5 / 3,
        }
    )


def test_landmarks_must_be_pairs():
    with pytest.raises(ValueError, match=r"same length.*Received: 2 and 3"):
        landmark_errors_mm(lambda points: points, np.zeros((2, 3)), np.zeros((3, 3)))


def test_correlation_is_pearsons(rng):
    fixed, warped = rng.random((2, *SHAPE), np.float32)
    warped += fixed - 1000
    inside = rng.random(SHAPE) > 0.4
    expected = stats.pearsonr(fixed[inside], warped[inside].astype(np.float64))[0]
    assert correlation(fixed, warped, inside) == pytest.approx(expected, abs=1e-6)


def test_correlation_of_nothing_is_not_a_number(rng):
    fixed = rng.random(SHAPE)
    everywhere, nowhere = np.ones(SHAPE, bool), np.zeros(SHAPE, bool)
    assert np.isnan(correlation(fixed, fixed, nowhere))
    assert np.isnan(correlation(fixed, np.full(SHAPE, 3.0), everywhere))


def test_local_correlation_is_the_weighted_mean_of_pearsons(rng):
    fixed, other = rng.random((2, 7, 6, 8))
    warped = 0.6 * fixed - 0.3 * other
    weights = (rng.random(fixed.shape) > 0.3).astype(float)
    expected, total = 0.0, 0.0
    for centre in np.ndindex(fixed.shape):
        box = tuple(slice(max(c - 1, 0), c + 2) for c in centre)
        inside = weights[box] > 0
        share = fixed[box][inside].var() * inside.sum()
        expected += share * stats.pearsonr(fixed[box][inside], warped[box][inside])[0] ** 2
        total += share
    assert local_correlation(fixed, warped, weights, window=3) == pytest.approx(expected / total, rel=1e-9)


def test_local_correlation_sees_likeness_whatever_the_contrast(rng):
    fixed, noise = rng.random((2, 12, 13, 14))
    everywhere = np.ones(fixed.shape)
    assert local_correlation(fixed, 3 - 2 * fixed, everywhere) == pytest.approx(1)
    assert local_correlation(fixed, noise, everywhere) < 0.02
    assert local_correlation(fixed, np.full(fixed.shape, 0.1), everywhere) == 0
    assert np.isnan(local_correlation(np.full(fixed.shape, 0.1), noise, everywhere))
    assert np.isnan(local_correlation(fixed, noise, 0 * everywhere))
