"""What a registration achieved, in figures."""

import numpy as np

from tfreg.transforms.transform import Transform
from tfreg.volumes.intensity import filled
from tfreg.workflows.metrics import correlation, dice_by_label, landmark_errors_mm, summary_of_errors


def log_jacobian_summary(logarithm, labels):
    """Mean, spread and range over the fixed field of view, and inside each label.

    Args:
        logarithm: `(i, j, k)`, the log Jacobian.
        labels: A segmentation `Volume` on the same lattice, or None.

    Returns:
        A dictionary of region to a dictionary of figures.
    """
    regions = {"all": np.ones(logarithm.shape, bool)}
    if labels is not None:
        regions |= {str(label): labels.array == label for label in np.unique(labels.array[labels.array != 0])}
    return {
        name: {
            "mean": float(logarithm[region].mean()),
            "sd": float(logarithm[region].std()),
            "min": float(logarithm[region].min()),
            "max": float(logarithm[region].max()),
        }
        for name, region in regions.items()
    }


def agreement(case, init, transform, displacement_mm, warped):
    """Agreement by the headers alone, after the initial alignment, and after registration.

    Args:
        case: A `Case`.
        init: `(4, 4)`, the initial alignment, fixed world to moving world.
        transform: The `Transform` found.
        displacement_mm: `(i, j, k, 3)`, its displacement on the fixed lattice.
        warped: The moving image on the fixed lattice, a `Volume`.

    Returns:
        A dictionary of stage to a dictionary of figures.
    """
    lattice = case.fixed.lattice
    array = filled(case.moving.array)[0]
    background = float(array.min())
    result = {}
    for name, candidate, field_mm, image in (
        ("before", Transform.identity(lattice), None, None),
        ("after_init", Transform.identity(lattice, init), None, None),
        ("after", transform, displacement_mm, warped),
    ):
        if image is None:
            field_mm = candidate.displacement_mm(lattice)
            image = candidate.warp(case.moving.with_array(array), lattice, "linear", background, field_mm)
        points = case.moving.lattice.to_voxel(lattice.points() + field_mm)
        inside = np.all((points >= -0.5) & (points <= np.array(case.moving.shape) - 0.5), axis=-1)
        considered = inside & np.isfinite(case.fixed.array)
        if case.fixed_mask is not None:
            considered &= case.fixed_mask.array != 0
        entry = {
            "correlation": correlation(case.fixed.array, image.array, considered),
            "outside_fraction": float(1 - inside.mean()),
        }
        if case.fixed_labels is not None and case.moving_labels is not None:
            labels = candidate.warp(case.moving_labels, lattice, "nearest", 0, field_mm)
            overlap = dice_by_label(case.fixed_labels.array, labels.array)
            entry["dice"] = {str(label): value for label, value in overlap.items()}
            entry["mean_dice"] = float(np.mean(list(overlap.values())))
        if case.fixed_points is not None:
            differences = landmark_errors_mm(candidate, case.fixed_points, case.moving_points)
            entry["landmarks"] = summary_of_errors(differences)
        result[name] = entry
    return result
