"""The verdict on a registration, and the quality indicators that it is drawn from."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tfreg.metrics.intensity_correlation import local_correlation
from tfreg.preprocessing.aligned_pair import AlignedPair, voxel_map
from tfreg.preprocessing.pyramid import structure
from tfreg.registration.expected_error import ExpectedError
from tfreg.transforms.transform import Transform
from tfreg.volumes.resampling import anti_aliased, is_inside, sample

# A volume is taken to change implausibly where it grows or shrinks by more than this factor.
LARGEST_VOLUME_RATIO = 4.0

# Beyond its limit an indicator asks for a review; set by `benchmarks/trust.py` on the half of the pairs for it.
LIMITS = {
    "inverse_consistency": 0.075,
    "local_correlation": 0.72,
    "outside_fraction": 0.25,
    "implausible_volume_fraction": 0.011,
    # Not set there: left atria of different people, well aligned, take up to 2.2.
    "linear_volume_ratio": 2.5,
    "rival": 0.9,
    "directions_apart": 1.2,
    # Set on a part of those pairs, of both halves, as is `LIMITS_OF_PREDICTION`.
    "expected_error": 0.037,
}

# The limits that hold instead where it is known that both directions agree: left atria of different people, well
# aligned, take as much.
LIMITS_OF_AGREEMENT = {"local_correlation": 0.45, "outside_fraction": 0.45, "implausible_volume_fraction": 0.04}

# The limits that hold instead where a network says how far it may be off: what it leaves undone makes images less alike
# than a refinement's, and is no failure. Hippocampi of different people, well aligned, take nearly as much.
LIMITS_OF_PREDICTION = {
    "inverse_consistency": 0.065,
    "local_correlation": 0.3,
    "implausible_volume_fraction": 0.04,
}

# Where local correlation is higher, hardly anything needs to move, and it does not matter how.
ALIKE = 0.95

REASONS = {
    "inverse_consistency": "from fixed to moving and back it misses by {inverse_consistency_mm[mean]:.3g} mm on "
    "average",
    "local_correlation": "the aligned images hardly resemble each other (local correlation {local_correlation:.2f})",
    "outside_fraction": "{outside_fraction:.0%} of the fixed image's structure is mapped outside the moving image",
    "implausible_volume_fraction": "{implausible_volume_fraction:.1%} of the structure grows or shrinks more than "
    f"{LARGEST_VOLUME_RATIO:g}-fold",
    "linear_volume_ratio": "the linear part alone changes the volume {linear_volume_ratio:.2f}-fold",
    "directions_apart": "the deformations of the two directions lie {directions_apart:.2f} times as far apart as they "
    "move",
    "expected_error": "the network expects to be off by {expected_error_mm[mean]:.3g} mm on average",
    "rival": "quite another linear alignment makes the images {rival:.0%} as alike as the one chosen",
}


def quality_indicators(
    pair: AlignedPair,
    transform: Transform,
    backward: Transform | None = None,
    refinement: Mapping[str, Any] | None = None,
    expected_error: ExpectedError | None = None,
) -> dict[str, Any]:
    """Indicators that need no labels, weighted by the fixed image's structure, the length of its gradient.

    Args:
        pair: A `tfreg.preprocessing.aligned_pair.AlignedPair`.
        transform: The pair's `Transform`.
        backward: The `Transform` of moving <- fixed, or None.
        refinement: What `tfreg.refinement.refine.refine_pair` reports, or None.
        expected_error: The `ExpectedError` of a network's transform, or None.

    Returns:
        A dictionary: `local_correlation_before`, of the initial alignment, and `local_correlation`, both from 0 to 1;
        `outside_fraction`, the share of the fixed structure that is mapped outside the moving image;
        `implausible_volume_fraction`, the share that grows or shrinks by a factor of `LARGEST_VOLUME_RATIO`;
        `linear_volume_ratio`, by which the linear part enlarges; `rival` and `directions_apart`, of the refinement;
        `inverse_consistency_mm`, mean, median and 95th percentile of the distance by which forward and backward
        transform together miss the identity, and `inverse_consistency`, its mean relative to the field of view's size;
        None without `backward`; `expected_error_mm` and `expected_error`, likewise of the distance from the truth that
        the network expects, None where it says nothing.
    """
    fixed, moving, init, mask = pair.fixed, pair.moving, pair.init, pair.moving_mask
    lattice, values, counts, fixed_structure = structure(fixed, pair.fixed_mask)
    points = lattice.points()
    mapped = transform(points)
    smooth = anti_aliased(moving.array, np.linalg.norm(voxel_map(moving, lattice, init)[:3, :3], axis=1))

    def seen(places_world):
        """The moving image at fixed voxels' places, how much each counts, and whether the image reaches there."""
        voxels = moving.lattice.to_voxel(places_world)
        inside = is_inside(voxels, moving.shape)
        considered = inside if mask is None else sample((mask.array != 0).astype(np.float32), voxels)
        return sample(smooth, voxels), counts * considered, inside

    before, before_counts, _ = seen(Transform.identity(fixed.lattice, init)(points))
    warped, warped_counts, inside = seen(mapped)
    inside_structure = fixed_structure * inside
    indicators = {
        "local_correlation_before": local_correlation(values, before, before_counts),
        "local_correlation": local_correlation(values, warped, warped_counts),
        "outside_fraction": _share(fixed_structure - inside_structure, fixed_structure),
        "implausible_volume_fraction": _share(inside_structure * _implausible(mapped, lattice), inside_structure),
        "linear_volume_ratio": float(np.linalg.det(transform.linear_world[:3, :3]) / np.linalg.det(init[:3, :3])),
        **{name: None if refinement is None else refinement[name] for name in ("rival", "directions_apart")},
    }
    distances_mm = {
        "inverse_consistency": None if backward is None else np.linalg.norm(backward(mapped) - points, axis=-1),
        "expected_error": None if expected_error is None else expected_error(points),
    }
    for name, distance_mm in distances_mm.items():
        distribution = None if distance_mm is None else _distribution(distance_mm, inside_structure)
        indicators[f"{name}_mm"] = distribution
        indicators[name] = None if distribution is None else distribution["mean"] / fixed.lattice.mean_size_mm
    return indicators


def exceedance(indicators: Mapping[str, Any]) -> dict[str, float]:
    """How many times its limit each indicator is; what is above 1 asks for a review.

    Args:
        indicators: From `quality_indicators`.

    Returns:
        A dictionary of the names in `LIMITS` to floats; an indicator that is None is left out, and so is
        `directions_apart` of images that are all alike; one that is not a number counts as infinite.
    """
    limits = dict(LIMITS)
    if indicators["directions_apart"] is not None:
        limits |= LIMITS_OF_AGREEMENT
    if indicators["expected_error"] is not None:
        limits |= LIMITS_OF_PREDICTION
    result = {}
    for name, limit in limits.items():
        value = indicators[name]
        if value is None:
            continue
        if name == "directions_apart" and indicators["local_correlation"] > ALIKE:
            continue
        if name == "local_correlation":
            value, limit = 1.0 - value, 1.0 - limit
        if name == "linear_volume_ratio":
            value = max(value, 1.0 / value) if value > 0 else np.inf  # a mirror image is no image
        result[name] = value / limit if np.isfinite(value) else np.inf
    return result


def verdict(
    indicators: Mapping[str, Any], certified: bool = True, ignored: Collection[str] = ()
) -> tuple[str, list[str]]:
    """What a person should do with a result.

    Args:
        indicators: From `quality_indicators`.
        certified: Whether the written field passed the certificate.
        ignored: Names of indicators that say nothing, such as the correlation of images of different kinds.

    Returns:
        "pass" or "review", and the reasons for a review, one sentence each.
    """
    reasons = [
        REASONS[name].format(**indicators)
        for name, times in exceedance(indicators).items()
        if times > 1 and name not in ignored
    ]
    if not certified:
        reasons.append("the written field folds")
    return ("review" if reasons else "pass"), reasons


def _share(part, whole):
    """The sum of a part over that of the whole; 1 of nothing."""
    return float(part.sum() / whole.sum()) if whole.any() else 1.0


def _implausible(mapped, lattice):
    """Where the volume changes by more than `LARGEST_VOLUME_RATIO`, `(i, j, k)` of bool."""
    jacobian = np.stack([np.stack(np.gradient(mapped[..., d]), axis=-1) for d in range(3)], axis=-2)
    ratio = np.linalg.det(jacobian) / np.linalg.det(lattice.affine[:3, :3])
    return ~((ratio > 1 / LARGEST_VOLUME_RATIO) & (ratio < LARGEST_VOLUME_RATIO))


def _distribution(values, weights):
    """Weighted mean, median and 95th percentile."""
    if not weights.any():
        return dict.fromkeys(("mean", "median", "p95"), float("nan"))
    order = np.argsort(values, axis=None)
    values, weights = values.ravel()[order], weights.ravel()[order]
    shares = np.cumsum(weights) / weights.sum()
    quantiles = values[np.minimum(np.searchsorted(shares, (0.5, 0.95)), values.size - 1)]
    return {
        "mean": float((values * weights).sum() / weights.sum()),
        "median": float(quantiles[0]),
        "p95": float(quantiles[1]),
    }
