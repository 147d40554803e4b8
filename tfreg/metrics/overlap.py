"""How well two volumes agree: overlap and surfaces of labels, distance of landmarks, similarity of intensities."""

import numpy as np
from scipy import ndimage

# A window whose variance is up to this is flat but for rounding, and says nothing.
FLAT = 1e-7


def labels_in(*volumes):
    """The labels that occur in any of several integer arrays, background 0 left out, ascending."""
    return sorted({int(value) for volume in volumes for value in np.unique(volume)} - {0})


def lost_labels(fixed, warped, labels):
    """Which labels have nothing to be compared with: those that are missing on one side or on both.

    Args:
        fixed, warped: `(i, j, k)` integer arrays on the same lattice.
        labels: Those that there should be.

    Returns:
        A list of labels.
    """
    return [label for label in labels if not ((fixed == label).any() and (warped == label).any())]


def dice_by_label(fixed, warped, labels=None):
    """Dice coefficient of every label.

    Args:
        fixed, warped: `(i, j, k)` integer arrays on the same lattice; 0 is background.
        labels: Those to compare; None takes those that occur in either array. A label that `warped` lost must not
            drop out of a mean: name those of the segmentations before they were warped.

    Returns:
        Dictionary of label to 2 |A ∩ B| / (|A| + |B|), in [0, 1]; 0 for a label that is on neither side.
    """
    result = {}
    for label in labels_in(fixed, warped) if labels is None else labels:
        a, b = fixed == label, warped == label
        size = np.count_nonzero(a) + np.count_nonzero(b)
        result[label] = 2 * np.count_nonzero(a & b) / size if size else 0.0
    return result


def surface_distances_by_label(fixed, warped, spacing, labels=None):
    """How far the surfaces of every label lie from each other.

    A surface is made of the label's voxels that share a face with another value; distances are between centres. A label
    that is missing on one side counts as far away as the image allows, the distance between its opposite corner
    voxels: a structure that a registration loses must never make the mean better.

    Args:
        fixed, warped: `(i, j, k)` integer arrays on the same lattice; 0 is background.
        spacing: Three numbers, mm.
        labels: Those to compare; None takes those that occur in either array.

    Returns:
        Dictionary of label to a dictionary: `hd95_mm`, the larger of the two directed 95th percentiles of the
        distance from one surface to the other (Hausdorff), and `mean_mm`, the larger of the two directed means
        (modified Hausdorff).

    Reference:
        Maier-Hein et al., Metrics reloaded (Nature Methods 2024): the worst value for what is missing.
    """
    from grand_challenge_metrics.stats import hausdorff_distance_measures

    labels = labels_in(fixed, warped) if labels is None else labels
    farthest_mm = float(np.linalg.norm((np.array(fixed.shape) - 1) * spacing))
    lost = lost_labels(fixed, warped, labels)
    result = {}
    for label in labels:
        if label in lost:
            result[label] = {"hd95_mm": farthest_mm, "mean_mm": farthest_mm}
            continue
        masks = fixed == label, warped == label
        # Both lie in this box, and what is outside of it is background to both.
        (box,) = ndimage.find_objects((masks[0] | masks[1]).astype(np.uint8))
        found = hausdorff_distance_measures(*(mask[box] for mask in masks), spacing)
        result[label] = {"hd95_mm": float(found.percentile_distance), "mean_mm": float(found.modified_distance)}
    return result


def landmark_errors_mm(transform, fixed_points, moving_points):
    """Target registration error of each landmark, |T(x_fixed) - x_moving|.

    Args:
        transform: Callable from fixed to moving world points.
        fixed_points, moving_points: `(n, 3)` world RAS+ mm, in the same order.

    Returns:
        `(n, 3)` differences along x, y, z in mm.

    Raises:
        ValueError: If the two lists differ in length.
    """
    if len(fixed_points) != len(moving_points):
        raise ValueError(
            "`fixed_points` and `moving_points` must have the same length. "
            f"Received: {len(fixed_points)} and {len(moving_points)}"
        )
    return transform(fixed_points) - moving_points


def summary_of_errors(differences_mm):
    """Mean, spread and percentiles of landmark errors, and the mean absolute error along each axis.

    Args:
        differences_mm: `(n, 3)` from `landmark_errors_mm`.

    Returns:
        Dictionary of floats in mm.
    """
    distances = np.linalg.norm(differences_mm, axis=1)
    return {
        "count": len(distances),
        "mean_mm": float(distances.mean()),
        "sd_mm": float(distances.std()),
        "median_mm": float(np.median(distances)),
        "p75_mm": float(np.percentile(distances, 75)),
        "p95_mm": float(np.percentile(distances, 95)),
        "max_mm": float(distances.max()),
        **{f"d{axis}_mm": float(value) for axis, value in zip("xyz", np.abs(differences_mm).mean(axis=0), strict=True)},
    }


def correlation(fixed, warped, inside):
    """Pearson correlation of two arrays over the voxels where `inside` is true; NaN if one is constant there."""
    a, b = fixed[inside].astype(np.float64), warped[inside].astype(np.float64)
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def local_correlation(fixed, warped, weights, window=9):
    """Squared correlation within windows, averaged over all windows by the fixed image's variance in them.

    Args:
        fixed, warped: `(i, j, k)` intensities in [0, 1] on the same lattice.
        weights: `(i, j, k)`, how much every voxel counts, in [0, 1].
        window: Side of the cubic windows in voxels.

    Returns:
        A float from 0 to 1; NaN if the fixed image is constant.
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
