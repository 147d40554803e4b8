"""Agreement of a pair before registration, after the initial alignment, and after registration."""

from tfreg.metrics.correlation import correlation
from tfreg.metrics.landmarks import landmark_errors_mm, summary_of_errors
from tfreg.metrics.overlap import dice_by_label, labels_in, lost_labels
from tfreg.metrics.quality import over_labels
from tfreg.transforms.transform import Transform, voxels_reached
from tfreg.volumes.padding import measured_voxels
from tfreg.volumes.resampling import is_inside, sample


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
            entry |= over_labels("dice", dice_by_label(*both, labels))
            entry["lost_labels"] = [str(label) for label in lost_labels(*both, labels)]
        if case.fixed_points is not None:
            differences = landmark_errors_mm(candidate, case.fixed_points, case.moving_points)
            entry["landmarks"] = summary_of_errors(differences)
        result[name] = entry
    return result
