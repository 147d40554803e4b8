"""What a registration achieved, in figures."""

import numpy as np

from tfreg.metrics.landmarks import landmark_errors_mm, summary_of_errors
from tfreg.metrics.overlap import dice_by_label, labels_in, lost_labels, surface_distances_by_label
from tfreg.metrics.volume_change import log_jacobian_summary
from tfreg.transforms.certificate import folding_fraction
from tfreg.transforms.jacobian import log_jacobian
from tfreg.transforms.transform import Transform
from tfreg.volumes.resampling import sample


def displacement_quality(pair, displacement_mm):
    """How well a displacement aligns a pair, and how it treats space, whatever tool found it.

    Labels are warped with nearest neighbour; landmarks are moved by the displacement interpolated linearly, outside
    the lattice by its border's. Every label of either segmentation counts: one that is missing after warping has Dice
    0 and the largest distance that the fixed image allows (see `surface_distances_by_label`).

    Args:
        pair: An `ImagePair`.
        displacement_mm: `(i, j, k, 3)` on the fixed lattice, RAS+ mm, the whole transform.

    Returns:
        A dictionary: with labels `dice`, `hd95_mm` and `surface_mm`, each a dictionary of label to figure, their
        means over the labels, `mean_dice`, `mean_hd95_mm`, `mean_surface_mm`, and `lost_labels`, those of them that
        are missing in the fixed or in the warped segmentation; with landmarks `landmarks`
        (see `summary_of_errors`); `folding_fraction`; `log_jacobian` (see `log_jacobian_summary`). And the warped
        labels, a `Volume`, or None.
    """
    lattice, result, warped = pair.fixed.lattice, {}, None
    if pair.fixed_labels is not None:
        warped = Transform.identity(lattice).warp(pair.moving_labels, lattice, "nearest", 0, displacement_mm)
        both = pair.fixed_labels.array, warped.array
        labels = labels_in(pair.fixed_labels.array, pair.moving_labels.array)
        surfaces = surface_distances_by_label(*both, pair.fixed.spacing, labels)
        result |= over_labels("dice", dice_by_label(*both, labels))
        result |= over_labels("hd95_mm", {label: found["hd95_mm"] for label, found in surfaces.items()})
        result |= over_labels("surface_mm", {label: found["mean_mm"] for label, found in surfaces.items()})
        result["lost_labels"] = [str(label) for label in lost_labels(*both, labels)]
    if pair.fixed_points is not None:
        differences = landmark_errors_mm(
            lambda points: points + _at_points(displacement_mm, lattice, points), pair.fixed_points, pair.moving_points
        )
        result["landmarks"] = summary_of_errors(differences)
    result["folding_fraction"] = folding_fraction(displacement_mm, lattice.affine)
    logarithm = log_jacobian(displacement_mm, lattice.affine)
    result["log_jacobian"] = log_jacobian_summary(logarithm, lattice.affine, pair.fixed_labels)
    return result, warped


def over_labels(name, values):
    """A figure of every label, and its mean over all of them.

    Args:
        name: What the figure is called.
        values: Dictionary of label to figure.

    Returns:
        A dictionary of `name` to the dictionary, its labels as strings, and of `mean_` and the name to the mean.
    """
    mean = float(np.mean(list(values.values()))) if values else float("nan")
    return {name: {str(label): value for label, value in values.items()}, f"mean_{name}": mean}


def _at_points(displacement_mm, lattice, points_world):
    """A displacement at points `(n, 3)`, interpolated linearly."""
    voxels = np.clip(lattice.to_voxel(points_world), 0, np.array(lattice.shape) - 1)
    return np.stack([sample(np.ascontiguousarray(displacement_mm[..., d]), voxels) for d in range(3)], axis=-1)
