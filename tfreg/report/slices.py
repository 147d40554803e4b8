"""The slice of a volume that a picture shows."""

from collections.abc import Sequence

import numpy as np

from tfreg.preprocessing.intensity import normalise
from tfreg.volumes.volume import Volume

THICK = 2.0  # from this ratio of spacings on, a stack is shown in the plane of its slices
# The axis of R, A, S to look along, those across and up, and the letters at left, right, top and bottom.
PLANES = {
    "coronal": (1, (0, 2), ("R", "L", "S", "I")),
    "axial": (2, (0, 1), ("R", "L", "A", "P")),
    "sagittal": (0, (1, 2), ("A", "P", "S", "I")),
}


def plane_to_show(spacing: Sequence[float] | np.ndarray) -> str:
    """The name in `PLANES` of the plane of thick slices, else "coronal"; `spacing` along the axes R, A, S, mm."""
    thickest = int(np.argmax(spacing))
    if spacing[thickest] < THICK * np.median(spacing):
        return "coronal"
    return next(name for name, (axis, _, _) in PLANES.items() if axis == thickest)


def upright_slice(volume: Volume, plane: str, number: int | None = None) -> np.ndarray:
    """A slice in the patient's orientation.

    Args:
        volume: A `Volume` in any orientation.
        plane: A name in `PLANES`.
        number: Of the slice, counted towards R, A or S; None is the middle one.

    Returns:
        `(rows, columns)`: rows from top to bottom, columns from the patient's right (or front) on.
    """
    axis, _, _ = PLANES[plane]
    array = volume.reoriented("RAS").array
    return array.take(array.shape[axis] // 2 if number is None else number, axis)[::-1, ::-1].T


def contrast(array: np.ndarray) -> np.ndarray:
    """Intensities `(i, j, k)` in [0, 1], from the 0.5th to the 99.5th percentile; what is not finite becomes NaN."""
    missing = ~np.isfinite(array)
    try:
        grey = normalise(array, percentiles=(0.5, 99.5))[0]
    except ValueError:  # nothing of the moving image lies on the fixed lattice
        grey = np.zeros(array.shape, np.float32)
    return np.where(missing, np.nan, grey)
