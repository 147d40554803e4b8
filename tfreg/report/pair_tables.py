"""Tables of one pair: what report.json says, in words for a page."""

import json
import math
from typing import Any

from tfreg.report.table import Table
from tfreg.transforms.certificate import Certificate

STAGES = {"before": "by the headers", "after_init": "initially aligned", "after": "registered"}
NOTHING = "–"

# Name in the report: what to call it, and how many digits to show.
OVERALL = {
    "correlation": ("Correlation", "{:.3f}"),
    "outside_fraction": ("Outside the moving image", "{:.1%}"),
    "mean_dice": ("Dice, mean over labels", "{:.3f}"),
}
LANDMARKS = {
    "mean_mm": "TRE, mean (mm)",
    "sd_mm": "TRE, standard deviation (mm)",
    "median_mm": "TRE, median (mm)",
    "p95_mm": "TRE, 95th percentile (mm)",
    "max_mm": "TRE, largest (mm)",
    "dx_mm": "mean |dx|, right-left (mm)",
    "dy_mm": "mean |dy|, front-back (mm)",
    "dz_mm": "mean |dz|, head-foot (mm)",
}
INDICATORS = {
    "local_correlation_before": ("Local correlation, initially aligned", "{:.3f}"),
    "local_correlation": ("Local correlation, registered", "{:.3f}"),
    "outside_fraction": ("Structure mapped outside the moving image", "{:.2%}"),
    "implausible_volume_fraction": ("Structure with implausible change of volume", "{:.3%}"),
    "linear_volume_ratio": ("Volume ratio of the linear part", "{:.3f}"),
    "rival": ("Likeness under another linear alignment, relative to this one's", "{:.2f}"),
    "directions_apart": ("Distance of the two directions' deformations, relative to what they move", "{:.2f}"),
    "inverse_consistency": ("Inverse consistency, relative to the field of view", "{:.4f}"),
    "expected_error": ("Error that the network expects, relative to the field of view", "{:.4f}"),
}
REGIONS = {"all": "whole field of view", "labels": "all labels"}
REGION_METRICS = {
    "sd": "SD",
    "p5": "5 %",
    "p95": "95 %",
    "volume_ml": "volume (ml)",
    "mapped_volume_ml": "mapped volume (ml)",
    "volume_change_percent": "change of volume (%)",
}


def agreement_table(report: Any) -> Table:
    """The metrics before and after: correlation, outside fraction, overlap and TRE, as a `Table`."""
    stages = dict(report.metrics)
    rows = [
        (name, [_number(getattr(stage, key), form) for stage in stages.values()])
        for key, (name, form) in OVERALL.items()
    ]
    landmarks = [stage.landmarks for stage in stages.values()]
    rows.append(("Structures lost, which count with Dice 0", [_lost(stage) for stage in stages.values()]))
    rows += [
        (name, [_number(errors and getattr(errors, key), "{:.2f}") for errors in landmarks])
        for key, name in LANDMARKS.items()
    ]
    rows.append(("Landmarks", [_number(errors and errors.count, "{:.0f}") for errors in landmarks]))
    return _table([STAGES[name] for name in stages], rows)


def label_table(report: Any) -> Table:
    """Dice label by label, as a `Table`."""
    stages = dict(report.metrics)
    overlaps = [stage.dice or {} for stage in stages.values()]
    labels = dict.fromkeys(label for dice in overlaps for label in dice)
    rows = [(f"Dice, label {label}", [_number(dice.get(label)) for dice in overlaps]) for label in labels]
    return _table([STAGES[name] for name in stages], rows)


def headline(report: Any) -> list[tuple[str, str, str]]:
    """The metrics to be seen first: (name, initially aligned, registered) in words."""
    before, after = report.metrics.after_init, report.metrics.after
    candidates = (
        ("Correlation", before.correlation, after.correlation, "{:.3f}"),
        ("Mean Dice", before.mean_dice, after.mean_dice, "{:.3f}"),
        (
            "Mean TRE, mm",
            before.landmarks and before.landmarks.mean_mm,
            after.landmarks and after.landmarks.mean_mm,
            "{:.2f}",
        ),
    )
    return [
        (name, _number(first, form), _number(last, form)) for name, first, last, form in candidates if last is not None
    ]


def jacobian_table(report: Any) -> Table:
    """The log Jacobian's metrics in every region, as a `Table`."""
    regions = {name: vars(metrics) for name, metrics in report.log_jacobian.items()}
    names: dict[str, Any] = next(iter(regions.values()), {})
    measured = [name for name in names if any(metrics[name] is not None for metrics in regions.values())]
    rows = [
        (REGIONS.get(name, f"label {name}"), tuple(_of_region(key, metrics[key]) for key in measured))
        for name, metrics in regions.items()
    ]
    return Table(tuple(REGION_METRICS.get(key, key) for key in measured), tuple(rows))


def quality_table(report: Any) -> Table:
    """The indicators that need no labels, as a `Table`."""
    indicators, residual = report.quality_indicators, report.inverse_residual_voxels
    rows = [(name, [_number(getattr(indicators, key), form)]) for key, (name, form) in INDICATORS.items()]
    rows += [
        (f"{name}, {key} (mm)", [_number(value, "{:.2f}")])
        for name, distances in (
            ("Inverse consistency", indicators.inverse_consistency_mm),
            ("Error that the network expects", indicators.expected_error_mm),
        )
        for key, value in distances or ()
    ]
    rows += [(f"Residual of the inverse, {key} (voxels)", [_number(value)]) for key, value in residual or ()]
    return _table(["value"], rows)


def certificate_words(certificate: Certificate) -> tuple[str, str, str]:
    """A title, the state ("good", "fair" or "bad") and a sentence on what a `Certificate` proves."""
    proof = (
        "All ten finite-difference determinants are positive at every voxel of the written displacement field, as "
        "sampled on the fixed grid: there it does not fold. This is no statement on how well the images agree."
    )
    share = certificate.folding_fraction
    if not certificate.certified:
        return (
            "Not certified",
            "bad",
            f"The written displacement field, as sampled on the fixed grid, folds at {share:.2%} of its voxels: there "
            "it has no inverse.",
        )
    if certificate.damping < 1:
        because = f", because {share:.2%} of the voxels would have folded" if share else ""
        return "Certified, damped", "fair", f"The deformation was damped to {certificate.damping:.3f}{because}. {proof}"
    rounds = certificate.smoothing_rounds
    return "Certified: no fold", "good", (f"Smoothed near its folds, {rounds} times. " if rounds else "") + proof


def provenance(report: Any) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """How the result came about: (name, words) pairs, and (name, text) pairs of what is long."""
    model, refinement, grid = report.model, report.refinement, report.network_grid
    short = [
        ("Model", "none" if model is None else model.name),
        ("Model SHA-256", model and model.sha256),
        ("Refinement", "none" if refinement is None else _settings(refinement.settings)),
        ("Transform parts", report.parts),
        ("Interpolation", report.interpolation),
        ("Background", _number(report.background, "{:g}")),
        ("Network grid", " × ".join(map(str, grid.shape)) + " voxels"),
        ("Seed", report.seed),
        ("Seconds", _settings(report.seconds)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
        *((f"File: {name.replace('_', ' ')}", path) for name, path in (report.paths or {}).items()),
    ]
    levels = refinement and [level.model_dump(mode="json") for level in refinement.levels]
    long = [
        ("Initial alignment, fixed to moving world (RAS mm)", _matrix(report.init)),
        ("Linear transform with it, fixed to moving world (RAS mm)", _matrix(report.linear)),
        ("Affine of the network grid", _matrix(grid.affine)),
        ("Refinement, level by level", levels and _json(levels)),
        ("Preprocessing", _json(report.preprocessing)),
        ("Config of the model", report.config and _json(report.config)),
    ]
    return [(name, str(value)) for name, value in short if value not in (None, "")], [pair for pair in long if pair[1]]


def _lost(stage):
    """How many labels are missing in the fixed or the warped segmentation, of how many, and which."""
    if stage.lost_labels is None:
        return NOTHING
    which = f" (label {', '.join(stage.lost_labels)})" if stage.lost_labels else ""
    return f"{len(stage.lost_labels)} of {len(stage.dice)}{which}"


def _table(columns, rows):
    """A `Table` without the rows that say nothing."""
    return Table(
        tuple(columns), tuple((name, tuple(cells)) for name, cells in rows if any(cell != NOTHING for cell in cells))
    )


def _number(value, form="{:.3f}"):
    """A number in words, with a true minus."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return form.format(value).replace("-", "−").replace("%", " %")


def _of_region(key, value):
    """A metric of a region: millilitres and percents need fewer digits than logarithms."""
    return _number(value, "{:.1f}" if key.endswith(("_ml", "_percent")) else "{:.3f}")


def _settings(settings):
    """A flat dictionary in one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())


def _matrix(rows):
    """A matrix in aligned columns."""
    return "\n".join(" ".join(f"{value:12.6f}" for value in row) for row in rows)


def _json(value):
    return json.dumps(value, indent=2, ensure_ascii=False)
