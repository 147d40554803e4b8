"""Which voxels of a volume hold a measurement, and which hold padding."""

import math

import numpy as np

# Values at which something was measured, though there was nothing: no signal, and air on the Hounsfield scale, which
# has other values below zero too. Nothing above zero is padding below all else either.
NO_SIGNAL, AIR = 0.0, -1000.0

# Padding lies this share of the other values' spread below all of them, and fills this share of the voxels.
MIN_GAP, MIN_FILLED = 0.1, 1e-4

# Resampling mixes padding with its neighbours. Below what the Hounsfield scale can hold this many mixtures, as a share
# of the voxels of padding, may lie in the gap.
LOWEST_CT, MIXED = -1024.0, 0.2

# Above all other values only what integers of 16 and more bits end with, and beyond, is padding: bone, metal and
# contrast agent may well be alone up there. The gap must be as large as the other values' spread.
HIGH_PADDING = (2.0**15 - 1, 2.0**16 - 1)
BEYOND_MEASUREMENT = 2.0**31 - 1
MIN_HIGH_GAP = 1.0

# With fewer values beside it, as in a drawing, an extreme one is a tissue like the others.
MIN_VALUES = 16

# The spread of the other values is taken from about this many of them.
LOOKED_AT = 1_000_000


def padding_values(array: np.ndarray) -> tuple[float, ...]:
    """Finds the values that mark voxels in which nothing was measured.

    What scanners, viewers and other tools write there differs (-1024, -2000, -3024, -32768, -9999, -3.4e38), so
    it is recognised by its place: one value below zero, shared by many voxels, below all others and far from them
    (`MIN_GAP`), or the only value below zero. There may be several, each far below the next. Zero and the -1000 of
    air are measurements, and so is a lowest value that others follow closely, as in an image that was clipped. Above
    all others, only the largest values of integers are padding.

    Args:
        array: `(i, j, k)`, any real dtype.

    Returns:
        Tuple of floats, the low ones first, each as it stands in the array.
    """
    padding, rest = [], np.isfinite(array)
    for sign, is_candidate, min_gap in ((1, _may_be_low, MIN_GAP), (-1, _may_be_high, MIN_HIGH_GAP)):
        while (value := _isolated_extreme(array, rest, sign, is_candidate, min_gap)) is not None:
            padding.append(value)
            rest &= array != value
    return tuple(padding)


def measured_voxels(array: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Tells the voxels that hold a measurement from those that hold NaN, infinity or padding.

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
    for value in padding_values(array):
        padding = array == value
        measured &= ~padding
        notes.append(f"{np.count_nonzero(padding)} voxels of padding ({value:g}) were set to the window's floor.")
    return measured, tuple(notes)


def left_out_note(array: np.ndarray, background: float) -> tuple[str, ...]:
    """What a person should know of an image that is warped without the voxels that hold no measurement.

    Args:
        array: `(i, j, k)`, the image's values.
        background: What is written in their place.

    Returns:
        A tuple of one sentence, or of none.
    """
    measured, _ = measured_voxels(array)
    count = measured.size - np.count_nonzero(measured)
    if not count:
        return ()
    return (
        f"{count} voxels that hold padding or are not finite have no part in the warped image, which is "
        f"{background:g} there.",
    )


def outside_value(array: np.ndarray) -> float:
    """What an image says where it does not reach: its padding, else its smallest finite value.

    Args:
        array: `(i, j, k)`, any real dtype.

    Returns:
        A float.

    Raises:
        ValueError: If no value is finite.
    """
    padding = padding_values(array)
    return padding[0] if padding else _smallest(array, np.isfinite(array))


def holds_background(background: float | None) -> bool:
    """Whether an image, which is written as float32, can hold a value outside it."""
    return background is None or not math.isfinite(background) or abs(background) <= float(np.finfo(np.float32).max)


def filled(array: np.ndarray) -> tuple[np.ndarray, int]:
    """Replaces values that are not finite and padding by the smallest measured value.

    Args:
        array: `(i, j, k)`, any real dtype.

    Returns:
        The array (the same object where all is measured), and how many values were replaced.

    Raises:
        ValueError: If no value is finite.
    """
    measured, _ = measured_voxels(array)
    count = int(measured.size - np.count_nonzero(measured))
    smallest = _smallest(array, measured)
    if count == 0:
        return array, 0
    return np.where(measured, array, array.dtype.type(smallest)), count


def _smallest(array, where):
    """The smallest value where a condition holds, a float."""
    if not where.any():
        raise ValueError("`array` must have finite values.")
    return float(array.min(where=where, initial=_largest(array.dtype)))


def _isolated_extreme(array, rest, sign, is_candidate, min_gap):
    """The lowest value (`sign` 1) or the highest (-1) where `rest` is true, if it is padding, else None."""
    if not rest.any():
        return None
    extreme, initial = (np.min, _largest(array.dtype)) if sign > 0 else (np.max, _lowest(array.dtype))
    value = extreme(array, where=rest, initial=initial)
    if not is_candidate(float(value)):
        return None
    others = rest & (array != value)
    left = np.count_nonzero(others)
    count = np.count_nonzero(rest) - left
    if not left or count < max(2, MIN_FILLED * array.size):
        return None
    values = array[others]
    values = values[:: max(1, values.size // LOOKED_AT)].astype(np.float64)
    low, high = np.percentile(values, (1, 99))
    nearest = float(extreme(array, where=others, initial=initial))
    alone = sign > 0 and nearest >= NO_SIGNAL
    if float(value) == AIR and low < NO_SIGNAL:
        return None
    if float(value) < LOWEST_CT:
        nearest = np.percentile(values, 100 * min(1, MIXED * count / left))
    apart = alone or sign * (nearest - float(value)) > min_gap * (high - low)
    return float(value) if apart and len(np.unique(values)) >= MIN_VALUES else None


def _may_be_low(value):
    """Whether a lowest value can be padding."""
    return value < NO_SIGNAL


def _may_be_high(value):
    """Whether a highest value can be padding."""
    return value in HIGH_PADDING or value >= BEYOND_MEASUREMENT


def _largest(dtype):
    """The largest value of a dtype."""
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


def _lowest(dtype):
    """The lowest value of a dtype."""
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
