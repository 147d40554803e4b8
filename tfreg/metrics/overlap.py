"""Overlap (Dice) and surface distances (Hausdorff) of segmentations."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import ndimage


def labels_in(*volumes: np.ndarray) -> list[int]:
    """The labels that occur in any of several integer arrays, background 0 left out, ascending.

    Example:
        >>> fixed = np.array([[[0, 1, 1, 2]]])
        >>> warped = np.array([[[0, 1, 3, 0]]])
        >>> tfreg.metrics.labels_in(fixed, warped)
        [1, 2, 3]
    """
    return sorted({int(value) for volume in volumes for value in np.unique(volume)} - {0})


def lost_labels(fixed: np.ndarray, warped: np.ndarray, labels: Iterable[int]) -> list[int]:
    """Which labels have nothing to be compared with: those that are missing on one side or on both.

    Args:
        fixed, warped: `(i, j, k)` integer arrays on the same lattice.
        labels: Those that there should be.

    Returns:
        A list of labels.
    """
    return [label for label in labels if not ((fixed == label).any() and (warped == label).any())]


def dice_by_label(fixed: np.ndarray, warped: np.ndarray, labels: Iterable[int] | None = None) -> dict[int, float]:
    """Dice coefficient of every label.

    Args:
        fixed, warped: `(i, j, k)` integer arrays on the same lattice; 0 is background.
        labels: Those to compare; None takes those that occur in either array. A label that `warped` lost must not
            drop out of a mean: name those of the segmentations before they were warped.

    Returns:
        Dictionary of label to 2 |A ∩ B| / (|A| + |B|), in [0, 1]; 0 for a label that is on neither side.

    Example:
        >>> fixed = np.array([[[0, 1, 1, 2]]])
        >>> warped = np.array([[[0, 1, 1, 1]]])
        >>> tfreg.metrics.dice_by_label(fixed, warped)
        {1: 0.8, 2: 0.0}
    """
    result = {}
    for label in labels_in(fixed, warped) if labels is None else labels:
        a, b = fixed == label, warped == label
        size = np.count_nonzero(a) + np.count_nonzero(b)
        result[label] = 2 * np.count_nonzero(a & b) / size if size else 0.0
    return result


def surface_distances_by_label(
    fixed: np.ndarray, warped: np.ndarray, spacing: Sequence[float] | np.ndarray, labels: Sequence[int] | None = None
) -> dict[int, dict[str, float]]:
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

    Example:
        >>> fixed, warped = np.zeros((2, 12, 12, 12), int)
        >>> fixed[3:7, 3:7, 3:7] = 1
        >>> warped[5:9, 3:7, 3:7] = 1
        >>> tfreg.metrics.surface_distances_by_label(fixed, warped, spacing=(1.5, 1.0, 1.0))[1]["hd95_mm"]
        3.0
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
        distances = hausdorff_distance_measures(*(mask[box] for mask in masks), spacing)
        result[label] = {"hd95_mm": float(distances.percentile_distance), "mean_mm": float(distances.modified_distance)}
    return result
