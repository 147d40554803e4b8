"""Brings intensities to [0, 1], and values that are not measurements to the floor."""

import numpy as np

from tfreg.volumes.padding import measured_voxels


def normalise(
    array: np.ndarray,
    window: tuple[float, float] | None = None,
    percentiles: tuple[float, float] | None = None,
    inverted: bool = False,
) -> tuple[np.ndarray, tuple[float, float], tuple[str, ...]]:
    """Maps intensities linearly to [0, 1], clipping beyond.

    Voxels that are not finite or hold padding (see `padding_values`) become 0, the window's floor. Percentiles are
    taken over the other voxels.

    Args:
        array: `(i, j, k)`, any real dtype.
        window: (low, high) in the array's units, or None.
        percentiles: (low, high) in percent, or None. Exactly one of the two is given.
        inverted: The ceiling becomes 0 and the floor 1; what is no measurement becomes 0 nevertheless.

    Returns:
        `(i, j, k)` float32 in [0, 1]; the (floor, ceiling) used; a tuple of notes, one sentence each.

    Raises:
        ValueError: If not exactly one of `window` and `percentiles` is given, it is not ascending, no voxel
            holds a measurement, or all voxels come out equal.
    """
    if (window is None) == (percentiles is None):
        raise ValueError(
            f"Give exactly one of `window` and `percentiles`. Received: window={window}, percentiles={percentiles}"
        )
    name, limits = "percentiles" if window is None else "window", np.array(percentiles if window is None else window)
    if not limits[0] < limits[1] or not np.isfinite(limits).all():
        raise ValueError(f"`{name}` must be two ascending numbers. Received: {name}={tuple(limits.tolist())}")
    measured, notes = measured_voxels(array)
    if not measured.any():
        raise ValueError("no voxel holds a measurement: all are not finite")
    if percentiles is not None:
        limits = np.percentile(array[measured], percentiles)
    floor, ceiling = float(limits[0]), float(limits[1])
    if floor == ceiling:
        raise ValueError(f"all voxels come out equal: the percentiles {percentiles} are both {floor:g}")
    if ceiling - floor > float(np.finfo(np.float32).max):
        raise ValueError(f"intensities from {floor:g} to {ceiling:g} are beyond float32")
    # A float32 array stays float32 throughout. NaN passes and is replaced after.
    result = ((np.clip(array, floor, ceiling) - floor) / (ceiling - floor)).astype(np.float32, copy=False)
    if inverted:
        result = 1 - result
    result[~measured] = 0
    np.clip(result, 0, 1, out=result)
    if result.min() == result.max():
        raise ValueError(f"all voxels come out equal, as {result.min():g}, from {floor:g} to {ceiling:g}")
    return result, (floor, ceiling), notes
