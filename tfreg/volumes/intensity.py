"""Brings intensities to [0, 1], and values that are not measurements to the floor."""

import numpy as np

# What CT scanners and viewers write where nothing was measured, lowest first.
CT_PADDING = (-3024.0, -2000.0, -1024.0)


def normalise(array, window=None, percentiles=None):
    """Maps intensities linearly to [0, 1], clipping beyond.

    Voxels that are not finite or hold CT padding become 0, the window's floor. Percentiles are taken over
    the other voxels.

    Args:
        array: `(i, j, k)`, any real dtype.
        window: (low, high) in the array's units, or None.
        percentiles: (low, high) in percent, or None. Exactly one of the two is given.

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
    name, limits = ("window", window) if percentiles is None else ("percentiles", percentiles)
    if not limits[0] < limits[1] or not np.isfinite(limits).all():
        raise ValueError(f"`{name}` must be two ascending numbers. Received: {name}={limits}")
    measured, notes = measured_voxels(array)
    if not measured.any():
        raise ValueError("no voxel holds a measurement: all are not finite or CT padding")
    if percentiles is not None:
        limits = np.percentile(array[measured], percentiles)
    floor, ceiling = float(limits[0]), float(limits[1])
    if floor == ceiling:
        raise ValueError(f"all voxels come out equal: the percentiles {percentiles} are both {floor:g}")
    if ceiling - floor > float(np.finfo(np.float32).max):
        raise ValueError(f"intensities from {floor:g} to {ceiling:g} are beyond float32")
    # A float32 array stays float32 throughout. NaN passes and is replaced after.
    result = ((np.clip(array, floor, ceiling) - floor) / (ceiling - floor)).astype(np.float32, copy=False)
    result[~measured] = 0
    np.clip(result, 0, 1, out=result)
    if result.min() == result.max():
        raise ValueError(f"all voxels come out equal, as {result.min():g}, from {floor:g} to {ceiling:g}")
    return result, (floor, ceiling), notes


def measured_voxels(array):
    """Tells the voxels that hold a measurement from those that hold NaN, infinity or CT padding.

    A value of -3024, -2000 or -1024 is padding only where no other measured value lies below it: an image with
    signed values may well hold -1024.

    Args:
        array: `(i, j, k)`, any real dtype.

    Returns:
        `(i, j, k)` bool, and a tuple of notes, one sentence for each kind of voxel left out.
    """
    measured = np.isfinite(array)
    notes = []
    missing = measured.size - np.count_nonzero(measured)
    if missing:
        notes.append(f"{missing} voxels that are not finite were set to the window's floor.")
    for value in CT_PADDING:
        if measured.any() and array.min(where=measured, initial=_largest(array.dtype)) == value:
            padding = array == value
            measured &= ~padding
            count = np.count_nonzero(padding)
            notes.append(f"{count} voxels of CT padding ({value:g}) were set to the window's floor.")
    return measured, tuple(notes)


def filled(array):
    """Replaces values that are not finite by the smallest finite one.

    Args:
        array: `(i, j, k)`, any real dtype.

    Returns:
        The array (the same object where all is finite), and how many values were replaced.

    Raises:
        ValueError: If no value is finite.
    """
    finite = np.isfinite(array)
    count = int(finite.size - np.count_nonzero(finite))
    if count == finite.size:
        raise ValueError("`array` must have finite values.")
    if count == 0:
        return array, 0
    return np.where(finite, array, array.min(where=finite, initial=np.inf)), count


def _largest(dtype):
    """The largest value of a dtype."""
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max
