"""What a registration achieved, in figures."""

import numpy as np

from tfreg.metrics.overlap import (
    correlation,
    dice_by_label,
    labels_in,
    landmark_errors_mm,
    lost_labels,
    summary_of_errors,
    surface_distances_by_label,
)
from tfreg.transforms.certificate import folding_fraction
from tfreg.transforms.jacobian import log_jacobian
from tfreg.transforms.transform import Transform, voxels_reached
from tfreg.volumes.padding import measured_voxels
from tfreg.volumes.resampling import is_inside, sample


def log_jacobian_summary(logarithm, affine, labels):
    """How the volume changes from fixed to moving, over the fixed field of view and inside each label.

    Args:
        logarithm: `(i, j, k)`, the log Jacobian.
        affine: `(4, 4)`, of its lattice.
        labels: A segmentation `Volume` on the same lattice, or None.

    Returns:
        A dictionary of region ("all", each label and, beside labels, "labels" for all of them together) to a
        dictionary: `mean`, `sd`, `min`, `max`, `p5`, `median` and `p95` of the log Jacobian; `volume_ml` of the
        region, `mapped_volume_ml` of what it is mapped to in the moving image, and `volume_change_percent`.
    """
    regions = {"all": np.ones(logarithm.shape, bool)}
    if labels is not None:
        inside = labels.array != 0
        regions |= {"labels": inside}
        regions |= {str(label): labels.array == label for label in np.unique(labels.array[inside])}
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    return {name: _volume_change(logarithm[region].astype(np.float64), voxel_ml) for name, region in regions.items()}


def _volume_change(values, voxel_ml):
    """The figures of the log Jacobian of one region's voxels, `(n,)`."""
    low, median, high = np.percentile(values, (5, 50, 95))
    mean_ratio = float(np.exp(values).mean())
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "p5": float(low),
        "median": float(median),
        "p95": float(high),
        "volume_ml": values.size * voxel_ml,
        "mapped_volume_ml": values.size * voxel_ml * mean_ratio,
        "volume_change_percent": 100 * (mean_ratio - 1),
    }


def displacement_quality(case, displacement_mm):
    """How well a displacement aligns a pair, and how it treats space, whatever tool found it.

    Labels are warped with nearest neighbour; landmarks are moved by the displacement interpolated linearly, outside
    the lattice by its border's. Every label of either segmentation counts: one that is missing after warping has Dice
    0 and the largest distance that the fixed image allows (see `surface_distances_by_label`).

    Args:
        case: A `Case`.
        displacement_mm: `(i, j, k, 3)` on the fixed lattice, RAS+ mm, the whole transform.

    Returns:
        A dictionary: with labels `dice`, `hd95_mm` and `surface_mm`, each a dictionary of label to figure, their
        means over the labels, `mean_dice`, `mean_hd95_mm`, `mean_surface_mm`, and `lost_labels`, those of them that
        are missing in the fixed or in the warped segmentation; with landmarks `landmarks`
        (see `summary_of_errors`); `folding_fraction`; `log_jacobian` (see `log_jacobian_summary`). And the warped
        labels, a `Volume`, or None.
    """
    lattice, result, warped = case.fixed.lattice, {}, None
    if case.fixed_labels is not None:
        warped = Transform.identity(lattice).warp(case.moving_labels, lattice, "nearest", 0, displacement_mm)
        both = case.fixed_labels.array, warped.array
        labels = labels_in(case.fixed_labels.array, case.moving_labels.array)
        surfaces = surface_distances_by_label(*both, case.fixed.spacing, labels)
        result |= _over_labels("dice", dice_by_label(*both, labels))
        result |= _over_labels("hd95_mm", {label: found["hd95_mm"] for label, found in surfaces.items()})
        result |= _over_labels("surface_mm", {label: found["mean_mm"] for label, found in surfaces.items()})
        result["lost_labels"] = [str(label) for label in lost_labels(*both, labels)]
    if case.fixed_points is not None:
        differences = landmark_errors_mm(
            lambda points: points + _at_points(displacement_mm, lattice, points), case.fixed_points, case.moving_points
        )
        result["landmarks"] = summary_of_errors(differences)
    result["folding_fraction"] = folding_fraction(displacement_mm, lattice.affine)
    logarithm = log_jacobian(displacement_mm, lattice.affine)
    result["log_jacobian"] = log_jacobian_summary(logarithm, lattice.affine, case.fixed_labels)
    return result, warped


def _over_labels(name, values):
    """A figure of every label, and its mean over all of them."""
    mean = float(np.mean(list(values.values()))) if values else float("nan")
    return {name: {str(label): value for label, value in values.items()}, f"mean_{name}": mean}


def _at_points(displacement_mm, lattice, points_world):
    """A displacement at points `(n, 3)`, interpolated linearly."""
    voxels = np.clip(lattice.to_voxel(points_world), 0, np.array(lattice.shape) - 1)
    return np.stack([sample(np.ascontiguousarray(displacement_mm[..., d]), voxels) for d in range(3)], axis=-1)


def agreement(case, init, transform, displacement_mm, warped):
    """Agreement by the headers alone, after the initial alignment, and after registration.

    Args:
        case: A `Case`.
        init: `(4, 4)`, the initial alignment, fixed world to moving world.
        transform: The `Transform` found.
        displacement_mm: `(i, j, k, 3)`, its displacement on the fixed lattice.
        warped: The moving image on the fixed lattice, a `Volume`.

    Returns:
        A dictionary of stage to a dictionary of figures; `lost_labels` are those that count with Dice 0, because
        they are missing in the fixed or in the warped segmentation.
    """
    lattice = case.fixed.lattice
    # What was not measured in either image is not compared.
    fixed_measured, moving_measured = (measured_voxels(image.array)[0] for image in (case.fixed, case.moving))
    result = {}
    for name, candidate, field_mm, values in (
        ("before", Transform.identity(lattice), None, None),
        ("after_init", Transform.identity(lattice, init), None, None),
        ("after", transform, displacement_mm, warped.array),
    ):
        if field_mm is None:
            field_mm = candidate.displacement_mm(lattice)
        reached = voxels_reached(case.moving.lattice, lattice, field_mm)
        if values is None:
            values = sample(case.moving.array, reached, "linear", measured=moving_measured)
        inside = is_inside(reached, case.moving.shape)
        considered = inside & fixed_measured & sample(moving_measured, reached, "nearest", False)
        if case.fixed_mask is not None:
            considered &= case.fixed_mask.array != 0
        entry = {
            "correlation": correlation(case.fixed.array, values, considered),
            "outside_fraction": float(1 - inside.mean()),
        }
        if case.fixed_labels is not None and case.moving_labels is not None:
            both = case.fixed_labels.array, candidate.warp(case.moving_labels, lattice, "nearest", 0, field_mm).array
            labels = labels_in(case.fixed_labels.array, case.moving_labels.array)
            entry |= _over_labels("dice", dice_by_label(*both, labels))
            entry["lost_labels"] = [str(label) for label in lost_labels(*both, labels)]
        if case.fixed_points is not None:
            differences = landmark_errors_mm(candidate, case.fixed_points, case.moving_points)
            entry["landmarks"] = summary_of_errors(differences)
        result[name] = entry
    return result
