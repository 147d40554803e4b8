"""Landmark errors: the target registration error (TRE), and its summary."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LandmarkErrors:
    """Landmark errors in mm; None where there are no landmarks.

    Args:
        count: How many landmarks.
        mean_mm, sd_mm, median_mm, p75_mm, p95_mm, max_mm: Of their distances.
        dx_mm, dy_mm, dz_mm: Mean absolute error along each axis.

    Example:
        >>> errors = tfreg.metrics.summary_of_errors(np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]))
        >>> errors.count, errors.mean_mm, errors.max_mm
        (2, 3.0, 5.0)
        >>> tfreg.metrics.LandmarkErrors().mean_mm is None
        True
    """

    count: int | None = None
    mean_mm: float | None = None
    sd_mm: float | None = None
    median_mm: float | None = None
    p75_mm: float | None = None
    p95_mm: float | None = None
    max_mm: float | None = None
    dx_mm: float | None = None
    dy_mm: float | None = None
    dz_mm: float | None = None


def landmark_errors_mm(
    transform: Callable[[np.ndarray], np.ndarray], fixed_points: np.ndarray, moving_points: np.ndarray
) -> np.ndarray:
    """Target registration error of each landmark, |T(x_fixed) - x_moving|.

    Args:
        transform: Callable from fixed to moving world points.
        fixed_points, moving_points: `(n, 3)` world RAS+ mm, in the same order.

    Returns:
        `(n, 3)` differences along x, y, z in mm.

    Raises:
        ValueError: If the two lists differ in length.

    Example:
        >>> transform, _, _ = tfreg.load_transform("result")
        >>> fixed_points = tfreg.read_points("chests/points/s003_exhale.csv")
        >>> moving_points = tfreg.read_points("chests/points/s003_inhale.csv")
        >>> differences_mm = tfreg.metrics.landmark_errors_mm(transform, fixed_points, moving_points)
        >>> differences_mm.shape == fixed_points.shape
        True
    """
    if len(fixed_points) != len(moving_points):
        raise ValueError(
            "`fixed_points` and `moving_points` must have the same length. "
            f"Received: {len(fixed_points)} and {len(moving_points)}"
        )
    return transform(fixed_points) - moving_points


def summary_of_errors(differences_mm: np.ndarray) -> LandmarkErrors:
    """Mean, spread and percentiles of landmark errors, and the mean absolute error along each axis.

    Args:
        differences_mm: `(n, 3)` from `landmark_errors_mm`.

    Returns:
        The `LandmarkErrors`.

    Example:
        >>> errors = tfreg.metrics.summary_of_errors(np.array([[3.0, 4.0, 0.0], [0.0, 0.0, -1.0]]))
        >>> errors.mean_mm, errors.dz_mm
        (3.0, 0.5)
    """
    distances = np.linalg.norm(differences_mm, axis=1)
    dx_mm, dy_mm, dz_mm = (float(value) for value in np.abs(differences_mm).mean(axis=0))
    return LandmarkErrors(
        count=len(distances),
        mean_mm=float(distances.mean()),
        sd_mm=float(distances.std()),
        median_mm=float(np.median(distances)),
        p75_mm=float(np.percentile(distances, 75)),
        p95_mm=float(np.percentile(distances, 95)),
        max_mm=float(distances.max()),
        dx_mm=dx_mm,
        dy_mm=dy_mm,
        dz_mm=dz_mm,
    )
