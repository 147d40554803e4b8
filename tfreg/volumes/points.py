"""Landmarks: CSV files with the columns x, y, z in world RAS+ mm."""

import math
from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.volumes.tables import read_table


def read_points(path):
    """Reads points.

    Args:
        path: CSV file with the columns x, y, z in world RAS+ mm; other columns are ignored.

    Returns:
        `(n, 3)` float64, world RAS+ mm.

    Raises:
        UserError: If a column is missing, a cell is not a finite number, or there are no points.
    """
    points_world = []
    for line, row in read_table(path, ("x", "y", "z")):
        for name in "xyz":
            if not _is_finite_number(row[name]):
                raise UserError(f"{path}: line {line}: {name} is {row[name]!r}; give a number of millimetres")
        points_world.append([float(row[name]) for name in "xyz"])
    return np.array(points_world, dtype=np.float64)


def write_points(path, points):
    """Writes points, to a millionth of a millimetre.

    Args:
        path: CSV file.
        points: `(n, 3)`, world RAS+ mm.

    Raises:
        ValueError: If the points are not `(n, 3)`.
        UserError: If the file cannot be written.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"`points` must be (n, 3). Received: shape={points.shape}")
    lines = ["x,y,z", *(",".join(f"{value:.6f}" for value in point) for point in points)]
    try:
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def _is_finite_number(text):
    """True if the text is one finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
