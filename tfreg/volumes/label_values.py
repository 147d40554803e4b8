"""What the values of a volume tell of it as a segmentation."""

import numpy as np

# Whether values are whole numbers is looked at in about this many voxels before all are.
LOOKED_AT = 100_000


def look_like_labels(array: np.ndarray) -> bool:
    """Whether an image seems to be a segmentation: whole numbers, most of them equal to their neighbours'.

    The lowest value and zero are left out of account, since large parts of an image may hold them too.

    Args:
        array: `(i, j, k)`, any real dtype.

    Returns:
        A bool; False of an array that holds zero and one more value at most everywhere, and so nothing to tell by.
    """
    if array.dtype.kind == "f":
        for part in (array.ravel()[:: max(1, array.size // LOOKED_AT)], array):
            if not np.isfinite(part).all() or (part != np.rint(part)).any():
                return False
    structure = (array != 0) & (array != array.min())
    pairs = equal = 0
    for axis in range(3):
        here, beside = (np.moveaxis(part, axis, 0) for part in (structure, array))
        both = here[1:] & here[:-1]
        pairs += np.count_nonzero(both)
        equal += np.count_nonzero(both & (beside[1:] == beside[:-1]))
    return bool(structure.any()) and 2 * equal >= pairs


def lost_labels(before: np.ndarray, after: np.ndarray) -> tuple[dict[int, int], int]:
    """The labels that are in one segmentation and not in another.

    Args:
        before, after: `(i, j, k)` integer arrays; 0 is background.

    Returns:
        Dictionary of each lost label to its number of voxels before, and the number of labels before.
    """
    values, counts = np.unique(before, return_counts=True)
    remaining = set(np.unique(after).tolist()) | {0}
    counts = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return {value: count for value, count in counts.items() if value not in remaining}, len(counts.keys() - {0})
