"""Distances of landmarks."""

import numpy as np
import pytest

from tfreg.metrics.landmarks import landmark_errors_mm, summary_of_errors


def test_landmark_errors_are_of_the_mapped_fixed_points():
    fixed_points = np.array([[0.0, 0, 0], [10, 0, 0], [0, 20, 5]])
    moving_points = np.array([[1.0, 2, 2], [11, 0, 0], [1, 24, 2]])
    differences = landmark_errors_mm(lambda points: points + np.array([1, 0, 0]), fixed_points, moving_points)
    np.testing.assert_allclose(differences, [[0, -2, -2], [0, 0, 0], [0, -4, 3]])
    summary = summary_of_errors(differences)
    distances = [np.sqrt(8), 0, 5]
    assert vars(summary) == pytest.approx(
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
