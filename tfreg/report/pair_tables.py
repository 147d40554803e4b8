"""What report.json says, as words and tables for a page. Whatever is missing is left out."""

import json
import math

from tfreg.report.table import Table

STAGES = {"before": "by the headers", "after_init": "initially aligned", "after": "registered"}
NOTHING = "–"

# Key in report.json: what to call it, and how many digits to show.
OVERALL = {
    "correlation": ("Correlation", "{:.3f}"),
    "outside_fraction": ("Outside the moving image", "{:.1%}"),
    "mean_dice": ("Dice, mean over labels", "{:.3f}"),
    "mean_hd95_mm": ("95 % Hausdorff distance, mean over labels (mm)", "{:.2f}"),
    "mean_surface_mm": ("Surface distance, mean over labels (mm)", "{:.2f}"),
}
BY_LABEL = {
    "dice": ("Dice", "{:.3f}"),
    "hd95_mm": ("95 % Hausdorff distance (mm)", "{:.2f}"),
    "surface_mm": ("Mean surface distance (mm)", "{:.2f}"),
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
TRUST = {
    "local_correlation_before": ("Local correlation, initially aligned", "{:.3f}"),
    "local_correlation": ("Local correlation, registered", "{:.3f}"),
    "outside_fraction": ("Structure mapped outside the moving image", "{:.2%}"),
    "implausible_volume_fraction": ("Structure with implausible change of volume", "{:.3%}"),
    "linear_volume_ratio": ("Volume ratio of the linear part", "{:.3f}"),
    "inverse_consistency": ("Inverse consistency, relative to the field of view", "{:.4f}"),
}
REGIONS = {"all": "whole field of view", "labels": "all labels"}
REGION_FIGURES = {
    "sd": "SD",
    "p5": "5 %",
    "p95": "95 %",
    "volume_ml": "volume (ml)",
    "mapped_volume_ml": "mapped volume (ml)",
    "volume_change_percent": "change of volume (%)",
}


def agreement_table(report):
    """The metrics before and after: correlation, outside fraction, overlap and TRE, as a `Table`."""
    stages = _stages(report)
    rows = [
        (name, [_number(stage.get(key), form) for stage in stages.values()]) for key, (name, form) in OVERALL.items()
    ]
    landmarks = [_dictionary(stage, "landmarks") for stage in stages.values()]
    rows.append(("Structures lost, which count with Dice 0", [_lost(stage) for stage in stages.values()]))
    rows += [(name, [_number(errors.get(key), "{:.2f}") for errors in landmarks]) for key, name in LANDMARKS.items()]
    rows.append(("Landmarks", [_number(errors.get("count"), "{:.0f}") for errors in landmarks]))
    return _table([STAGES[name] for name in stages], rows)


def label_table(report):
    """The same for what is measured label by label."""
    stages, rows = _stages(report), []
    for key, (name, form) in BY_LABEL.items():
        measured = [_dictionary(stage, key) for stage in stages.values()]
        labels = dict.fromkeys(label for found in measured for label in found)
        rows += [
            (f"{name}, label {label}", [_number(found.get(label), form) for found in measured]) for label in labels
        ]
    return _table([STAGES[name] for name in stages], rows)


def headline(report):
    """The figures to be seen first: (name, initially aligned, registered) in words."""
    before, after = (_stages(report).get(name, {}) for name in ("after_init", "after"))
    errors_before, errors_after = (_dictionary(stage, "landmarks") for stage in (before, after))
    candidates = (
        ("Correlation", before.get("correlation"), after.get("correlation"), "{:.3f}"),
        ("Mean Dice", before.get("mean_dice"), after.get("mean_dice"), "{:.3f}"),
        ("Mean TRE, mm", errors_before.get("mean_mm"), errors_after.get("mean_mm"), "{:.2f}"),
    )
    return [
        (name, _number(first, form), _number(last, form)) for name, first, last, form in candidates if _is_number(last)
    ]


def jacobian_table(report):
    """The log Jacobian's figures in every region, whichever there are, as a `Table`."""
    regions = _dictionary(report, "log_jacobian")
    regions = {name: figures for name, figures in regions.items() if isinstance(figures, dict)}
    keys = dict.fromkeys(key for figures in regions.values() for key in figures)
    rows = [
        (REGIONS.get(name, f"label {name}"), tuple(_figure(key, figures.get(key)) for key in keys))
        for name, figures in regions.items()
    ]
    return Table(tuple(REGION_FIGURES.get(key, key.replace("_", " ")) for key in keys), tuple(rows))


def trust_table(report):
    """The figures that need no labels, as a `Table`."""
    figures = _dictionary(report, "trust")
    rows = [(name, [_number(figures.get(key), form)]) for key, (name, form) in TRUST.items()]
    distances = _dictionary(figures, "inverse_consistency_mm")
    rows += [(f"Inverse consistency, {key} (mm)", [_number(value, "{:.2f}")]) for key, value in distances.items()]
    residual = _dictionary(report, "inverse_residual_voxels")
    rows += [(f"Residual of the inverse, {key} (voxels)", [_number(value)]) for key, value in residual.items()]
    return _table(["value"], rows)


def certificate_words(report):
    """A title, the state ("good", "fair" or "bad") and a sentence on what the certificate proves."""
    certificate = _dictionary(report, "certificate")
    share, damping = certificate.get("folding_fraction"), certificate.get("damping")
    proof = (
        "All ten finite-difference determinants are positive at every voxel of the written displacement field, as "
        "sampled on the fixed grid: there it does not fold. This is no statement on how well the images agree."
    )
    if certificate.get("certified") is True:
        if _is_number(damping) and damping < 1:
            first = f"The deformation was damped to {damping:.3f}"
            first += f", because {share:.2%} of the voxels would have folded" if _is_number(share) and share else ""
            return "Certified, damped", "fair", f"{first}. {proof}"
        rounds = certificate.get("smoothing_rounds")
        first = f"Smoothed near its folds, {rounds} times. " if _is_number(rounds) and rounds else ""
        return "Certified: no fold", "good", first + proof
    if certificate.get("certified") is False:
        voxels = f"at {share:.2%} of its voxels" if _is_number(share) else "somewhere"
        return (
            "Not certified",
            "bad",
            f"The written displacement field, as sampled on the fixed grid, folds {voxels}: there it has no inverse.",
        )
    return "No certificate", "fair", "The report does not say whether the written displacement field folds."


def provenance(report):
    """How the result came about: (name, words) pairs, and (name, text) pairs of what is long."""
    model, refinement = _dictionary(report, "model"), _dictionary(report, "refinement")
    grid, versions = _dictionary(report, "network_grid"), _dictionary(report, "versions")
    short = [
        ("Model", str(model["name"]) if model.get("name") else "none"),
        ("Model SHA-256", model.get("sha256")),
        ("Refinement", _settings(refinement.get("settings")) if refinement else "none"),
        ("Transform parts", report.get("transform")),
        ("Interpolation", report.get("interpolation")),
        ("Background", _number(report.get("background"), "{:g}")),
        (
            "Network grid",
            " × ".join(map(str, grid["shape"])) + " voxels" if isinstance(grid.get("shape"), list) else None,
        ),
        ("Seed", report.get("seed")),
        ("Seconds", _settings(report.get("seconds"))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        *((f"File: {name.replace('_', ' ')}", path) for name, path in _dictionary(report, "paths").items()),
    ]
    long = [
        ("Initial alignment, fixed to moving world (RAS mm)", _matrix(report.get("init"))),
        ("Linear transform with it, fixed to moving world (RAS mm)", _matrix(report.get("linear"))),
        ("Affine of the network grid", _matrix(grid.get("affine"))),
        ("Refinement, level by level", _json(refinement.get("levels"))),
        ("Preprocessing", _json(report.get("preprocessing"))),
        ("Config of the model", _json(report.get("config"))),
    ]
    return [(name, str(value)) for name, value in short if value not in (None, "", NOTHING)], [
        pair for pair in long if pair[1]
    ]


def words(report, key):
    """A list of sentences in the report, empty where there is none."""
    found = report.get(key)
    return [str(text) for text in found] if isinstance(found, list) else []


def _lost(stage):
    """How many labels are missing in the fixed or the warped segmentation, of how many, and which."""
    lost, labels = stage.get("lost_labels"), _dictionary(stage, "dice")
    if not isinstance(lost, list):
        return NOTHING
    which = f" (label {', '.join(map(str, lost))})" if lost else ""
    return f"{len(lost)} of {len(labels)}{which}"


def _stages(report):
    metrics = _dictionary(report, "metrics")
    return {name: metrics[name] for name in STAGES if isinstance(metrics.get(name), dict)}


def _dictionary(parent, key):
    """A dictionary inside another one, empty if it is not there."""
    found = parent.get(key)
    return found if isinstance(found, dict) else {}


def _table(columns, rows):
    """A `Table` without the rows that say nothing."""
    return Table(
        tuple(columns), tuple((name, tuple(cells)) for name, cells in rows if any(cell != NOTHING for cell in cells))
    )


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(value, form="{:.3f}"):
    """A number in words, with a true minus."""
    return form.format(value).replace("-", "−").replace("%", " %") if _is_number(value) else NOTHING


def _figure(key, value):
    """A figure of a region: millilitres and percents need fewer digits than logarithms."""
    if isinstance(value, str):
        return value
    return _number(value, "{:.1f}" if key.endswith(("_ml", "_percent")) else "{:.3f}")


def _settings(settings):
    """A flat dictionary in one line."""
    if not isinstance(settings, dict):
        return None
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())


def _matrix(rows):
    """A matrix in aligned columns."""
    if not isinstance(rows, list):
        return None
    try:
        return "\n".join(" ".join(f"{value:12.6f}" for value in row) for row in rows)
    except (TypeError, ValueError):
        return _json(rows)


def _json(value):
    return None if value is None else json.dumps(value, indent=2, ensure_ascii=False)
