"""Correlation of intensities, over whole images and within windows."""

import numpy as np
from scipy import ndimage

# A window whose variance is up to this is flat but for rounding, and says nothing.
FLAT = 1e-7


def correlation(fixed: np.ndarray, warped: np.ndarray, inside: np.ndarray) -> float:
    """Pearson correlation of two arrays over the voxels where `inside` is true; NaN if one is constant there.

    Example:
        >>> fixed = np.linspace(0, 1, 60).reshape(3, 4, 5)
        >>> inside = fixed > 0.1
        >>> round(tfreg.metrics.correlation(fixed, 1 - 2 * fixed, inside), 3)
        -1.0
    """
    a, b = fixed[inside].astype(np.float64), warped[inside].astype(np.float64)
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def local_correlation(fixed: np.ndarray, warped: np.ndarray, weights: np.ndarray, window: int = 9) -> float:
    """Squared correlation within windows, averaged over all windows by the fixed image's variance in them.

    Args:
        fixed, warped: `(i, j, k)` intensities in [0, 1] on the same lattice.
        weights: `(i, j, k)`, how much every voxel counts, in [0, 1].
        window: Side of the cubic windows in voxels.

    Returns:
        A float from 0 to 1; NaN if the fixed image is constant.

    Example:
        >>> fixed = np.random.default_rng(0).random((12, 12, 12))
        >>> inverted = 1 - fixed
        >>> round(tfreg.metrics.local_correlation(fixed, inverted, np.ones(fixed.shape)), 3)
        1.0
    """

    def mean(array):
        return ndimage.uniform_filter(array, window, mode="constant")

    fixed, warped, weights = (np.asarray(array, np.float64) for array in (fixed, warped, weights))
    count = mean(weights)
    counted = count > 1e-3
    a, b, aa, bb, ab = (
        np.divide(mean(weights * array), count, where=counted, out=np.zeros_like(count))
        for array in (fixed, warped, fixed**2, warped**2, fixed * warped)
    )
    variance, other = np.maximum(aa - a**2, 0), np.maximum(bb - b**2, 0)
    total = count * np.where(variance > FLAT, variance, 0)
    explained = np.divide((ab - a * b) ** 2, variance * other, where=(total > 0) & (other > FLAT), out=0 * count)
    return float((total * explained).sum() / total.sum()) if total.any() else float("nan")
