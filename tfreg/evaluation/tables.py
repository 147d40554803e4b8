"""The tables of an evaluation, after the paper's Tables 1 and 2; one without rows where nothing was measured."""

import numpy as np

from tfreg.evaluation.training_marks import marked
from tfreg.report.table import Table

SIGNS = {
    "dice": ("Dice %", 100.0, "{:.2f}"),
    "hd95_mm": ("HD95 mm", 1.0, "{:.2f}"),
    "surface_mm": ("surface mm", 1.0, "{:.2f}"),
    "tre_mm": ("TRE mm", 1.0, "{:.2f}"),
}
LANDMARKS = {
    "dx_mm": "dx",
    "dy_mm": "dy",
    "dz_mm": "dz",
    "tre_mm": "ds",
    "tre_median_mm": "median",
    "tre_p75_mm": "75 %",
    "tre_p95_mm": "95 %",
    "tre_max_mm": "largest",
}


def overlap_table(summary):
    """Table 1: Dice, surfaces, folds and seconds of every method, an experiment after the other.

    Args:
        summary: From `tfreg.evaluation.summary.summarise`.

    Returns:
        A `Table`.
    """
    experiments = {name: part for name, part in summary.items() if _any(part, "dice")}
    header = []
    for name in experiments:
        begin = f"{name}: " if len(summary) > 1 else ""
        header += [f"{begin}Dice % (mean ± sd)", "95 % interval", "HD95 mm", "surface mm", "lost structures"]
    header.append("s a pair (median)")
    rows = []
    for method in _methods(experiments, "dice"):
        cells = []
        for part in experiments.values():
            found = part["methods"].get(method, {})
            figures = found.get("figures", {})
            cells += [
                _mean_sd(figures.get("dice"), 100.0),
                _interval(figures.get("dice"), 100.0),
                _mean_sd(figures.get("hd95_mm")),
                _mean_sd(figures.get("surface_mm")),
                _share(found.get("lost_structures"), found.get("structures")),
            ]
        cells.append(_seconds(part["methods"].get(method) for part in experiments.values()))
        rows.append((method, tuple(cells)))
    return marked(_table(header, rows), experiments.values())


def experiment_tables(part, reference):
    """All tables of one experiment but the first, those without rows left out.

    Args:
        part: An experiment of the summary.
        reference: The method that the others are compared with.

    Returns:
        Dictionary of title to `Table`.
    """
    found = {
        "Table 2: landmark errors, mm": landmark_table(part),
        "Dice % of each label": label_table(part),
        f"Paired differences to {reference}": comparison_table(part),
        f"Change of volume by {reference}": volume_table(part, reference),
        "Safety": safety_table(part),
    }
    return {title: marked(table, [part]) for title, table in found.items() if table.rows}


def landmark_table(part):
    """Table 2: errors of landmarks along each axis and their length, in mm, of one experiment.

    Args:
        part: An experiment of the summary.

    Returns:
        A `Table`.
    """
    rows = [
        (
            method,
            tuple(_number(found["figures"][key], "{:.2f}") + _counted(found["figures"][key]) for key in LANDMARKS),
        )
        for method, found in part["methods"].items()
        if found["figures"]["tre_mm"] is not None
    ]
    return _table(LANDMARKS.values(), rows)


def safety_table(part):
    """How many pairs failed, fold or ask for a review, and how the volume changes, of one experiment."""
    header = ["pairs", "failed", "fold", "folded voxels", "certified", "review", "SD log J"]
    rows = []
    for method, found in part["methods"].items():
        if found["figures"]["folding_fraction"] is None and not found["failures"]:
            continue
        fraction = found["figures"]["folding_fraction"]
        cells = (
            str(found["measured"]),
            str(len(found["failures"])),
            str(found["folding"]),
            "–" if fraction is None else f"{fraction['mean']:.4%}",
            "–" if found["certified"] is None else str(found["certified"]),
            "–" if found["review"] is None else str(found["review"]),
            _mean_sd(found["figures"]["log_jacobian_sd"], form="{:.3f}"),
        )
        rows.append((method, cells))
    return _table(header, rows)


def label_table(part, name="dice"):
    """A figure of every label, one column each, of one experiment; no rows for fewer than two labels."""
    labels = sorted({label for found in part["methods"].values() for label in found["labels"]}, key=int)
    _, scale, form = SIGNS[name]
    rows = [
        (
            method,
            tuple(
                _mean_sd(found["labels"].get(label, {}).get(name), scale, form)
                + (f", {lost} lost" if (lost := found["labels"].get(label, {}).get("lost")) else "")
                for label in labels
            ),
        )
        for method, found in part["methods"].items()
        if found["labels"] and len(labels) > 1
    ]
    return _table([f"label {label}" for label in labels], rows)


def volume_table(part, method):
    """What one method says of each label's change of volume: the numbers that clinicians read."""
    found = part["methods"].get(method, {"labels": {}})
    columns = {
        "volume_ml": "fixed ml",
        "mapped_volume_ml": "moving ml",
        "volume_change_percent": "change %",
        "log_jacobian_mean": "mean log J",
        "log_jacobian_sd": "SD log J",
    }
    forms = ("{:.1f}", "{:.1f}", "{:.1f}", "{:.3f}", "{:.3f}")
    rows = [
        (label, tuple(_mean_sd(figures[key], form=form) for key, form in zip(columns, forms, strict=True)))
        for label, figures in found["labels"].items()
    ]
    return _table(columns.values(), rows, "label")


def comparison_table(part):
    """Paired differences to the reference method with their intervals and p values, of one experiment."""
    figures = list(dict.fromkeys(test["figure"] for test in part["comparisons"]))
    tests = {(test["method"], test["figure"]): test for test in part["comparisons"]}
    header = [title for name in figures for title in (SIGNS[name][0], "p")]
    rows = []
    for method in dict.fromkeys(method for method, _ in tests):
        cells = [_difference(tests.get((method, name)), *SIGNS[name][1:]) for name in figures]
        rows.append((method, tuple(cell for pair in cells for cell in pair)))
    return _table(header, rows)


def _difference(test, scale, form):
    """Two cells: a paired difference with its interval, and its adjusted p value."""
    if test is None:
        return ["–", "–"]
    interval = ""
    if test["interval"] is not None:
        interval = f" ({' to '.join(_signed(bound * scale, form) for bound in test['interval'])})"
    p = test["p_holm"]
    shown = "–" if p is None or np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
    return [_signed(test["difference"] * scale, form) + interval + _counted(test), shown]


def _any(part, name):
    return any(found["figures"][name] is not None for found in part["methods"].values())


def _methods(experiments, name):
    """The methods that have a figure in any experiment, in order."""
    found = {}
    for part in experiments.values():
        found |= {method: None for method, entry in part["methods"].items() if entry["figures"][name] is not None}
    return list(found)


def _seconds(entries):
    """The median seconds of all experiments' pairs, as a range where they differ."""
    medians = [entry["figures"]["seconds"]["median"] for entry in entries if entry and entry["figures"]["seconds"]]
    if not medians:
        return "–"
    low, high = f"{min(medians):.2f}", f"{max(medians):.2f}"
    return low if low == high else f"{low} to {high}"


def _mean_sd(distribution, scale=1.0, form="{:.2f}"):
    if distribution is None:
        return "–"
    spread = "" if distribution["sd"] is None else f" ± {form.format(distribution['sd'] * scale)}"
    return form.format(distribution["mean"] * scale) + spread + _counted(distribution)


def _counted(distribution):
    """Over how many pairs a mean is, where it is not over all that it could be."""
    if distribution is None or distribution["pairs"] == distribution["of"]:
        return ""
    return f" [{distribution['pairs']} of {distribution['of']}]"


def _share(part, whole):
    return "–" if part is None else f"{part} of {whole}"


def _interval(distribution, scale):
    if distribution is None or distribution["interval"] is None:
        return "–"
    return " to ".join(f"{bound * scale:.2f}" for bound in distribution["interval"])


def _number(distribution, form):
    return "–" if distribution is None else form.format(distribution["mean"])


def _signed(value, form):
    return form.replace("{:", "{:+").format(value)


def _table(columns, rows, corner="method"):
    return Table(tuple(columns), tuple(rows), corner)
