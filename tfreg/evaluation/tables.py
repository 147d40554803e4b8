"""The tables of an evaluation, after the paper's Tables 1 and 2; one without rows where nothing was measured."""

from tfreg.evaluation.summary import Distribution, Experiment
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
NONE = "–"


def sign_of(metric: str) -> tuple[str, float, str]:
    """What a metric's column says, what its values are multiplied with, and how they are written."""
    if metric.startswith("dice of "):
        return f"Dice % {metric.removeprefix('dice ')}", *SIGNS["dice"][1:]
    return SIGNS[metric]


def overlap_table(experiments: dict[str, Experiment]) -> Table:
    """Table 1: Dice, surfaces, lost structures and seconds of every method, an experiment after the other.

    Args:
        experiments: Dictionary of name to `Experiment`.
    """
    several = len(experiments) > 1
    experiments = {
        name: experiment
        for name, experiment in experiments.items()
        if any(method.metrics.dice for method in experiment.methods.values())
    }
    header = []
    for name in experiments:
        begin = f"{name}: " if several else ""
        header += [f"{begin}Dice % (mean ± sd)", "95 % interval", "HD95 mm", "surface mm", "lost structures"]
    header.append("s a pair (median)")
    names = {
        name: None
        for experiment in experiments.values()
        for name, method in experiment.methods.items()
        if method.metrics.dice
    }
    rows = []
    for name in names:
        methods = [experiment.methods.get(name) for experiment in experiments.values()]
        cells = [cell for method in methods for cell in ([NONE] * 5 if method is None else _overlap(method))]
        rows.append((name, (*cells, _seconds([method for method in methods if method is not None]))))
    return marked(_table(header, rows), experiments.values())


def _overlap(method):
    """The cells of one method in one experiment."""
    lost = NONE if method.lost_structures is None else f"{method.lost_structures} of {method.structures}"
    return [*_overlap_numbers(method.metrics), lost]


def _overlap_numbers(metrics):
    return [
        _mean_sd(metrics.dice, 100.0),
        _interval(metrics.dice, 100.0),
        _mean_sd(metrics.hd95_mm),
        _mean_sd(metrics.surface_mm),
    ]


def experiment_tables(experiment: Experiment, reference: str) -> dict[str, Table]:
    """All tables of one experiment but the first, those without rows left out.

    Args:
        experiment: The experiment.
        reference: The method that the others are compared with.

    Returns:
        Dictionary of title to `Table`.
    """
    columns = dict.fromkeys(column for method in experiment.methods.values() for column in method.segmentations)
    tables = {
        **{f"Overlap of {column}": segmentation_table(experiment, column) for column in columns},
        "Table 2: landmark errors, mm": landmark_table(experiment),
        "Dice % of each label": label_table(experiment),
        f"Paired differences to {reference}": comparison_table(experiment),
        f"Change of volume by {reference}": volume_table(experiment, reference),
        "Safety": safety_table(experiment),
        "Time and memory": cost_table(experiment, reference),
    }
    return {title: marked(table, [experiment]) for title, table in tables.items() if table.rows}


def segmentation_table(experiment: Experiment, column: str) -> Table:
    """Table 1 of the segmentations of another column than the first, of one experiment."""
    header = ["Dice % (mean ± sd)", "95 % interval", "HD95 mm", "surface mm", "lost structures"]
    rows = []
    for name, method in experiment.methods.items():
        if column in method.segmentations and method.segmentations[column].dice:
            summary = method.segmentations[column]
            lost = f"{summary.lost_structures} of {summary.structures}"
            rows.append((name, (*_overlap_numbers(summary), lost)))
    return _table(header, rows)


def cost_table(experiment: Experiment, reference: str) -> Table:
    """Seconds of every method and by the reference's in the same run, those of a first call, and memory.

    A first call, and the memory of a method alone, are measured where each method has processes of its own.
    """
    rows = []
    for name, method in experiment.methods.items():
        metrics = method.metrics
        if method.times_reference is None and metrics.own_peak_mb is None:
            continue
        cells = (
            _seconds([method]),
            NONE if method.times_reference is None else f"{method.times_reference:.2f}",
            NONE if metrics.first_seconds is None else f"{metrics.first_seconds.median:.2f}",
            NONE if metrics.own_peak_mb is None else f"{metrics.own_peak_mb.max:.0f}",
        )
        rows.append((name, cells))
    return _table(["s a pair (median)", f"× {reference}", "s of a first call", "peak MB"], rows)


def landmark_table(experiment: Experiment) -> Table:
    """Table 2: errors of landmarks along each axis and their length, in mm, of one experiment."""
    rows = []
    for name, method in experiment.methods.items():
        if method.metrics.tre_mm is not None:
            errors = [getattr(method.metrics, key) for key in LANDMARKS]
            rows.append((name, tuple(_mean(error) + _counted(error) for error in errors)))
    return _table(LANDMARKS.values(), rows)


def safety_table(experiment: Experiment) -> Table:
    """How many pairs failed, fold or ask for a review, and how the volume changes, of one experiment."""
    header = ["pairs", "failed", "fold", "folded voxels", "certified", "review", "SD log J"]
    back = any(method.metrics.round_trip_mm for method in experiment.methods.values())
    rows = []
    for name, method in experiment.methods.items():
        fraction = method.metrics.folding_fraction
        if fraction is None and not method.failures:
            continue
        cells = (
            str(method.measured),
            str(len(method.failures)),
            str(method.folding),
            NONE if fraction is None else f"{fraction.mean:.4%}",
            NONE if method.certified is None else str(method.certified),
            NONE if method.review is None else str(method.review),
            _mean_sd(method.metrics.log_jacobian_sd, form="{:.3f}"),
        )
        rows.append((name, (*cells, _largest(method.metrics.round_trip_mm)) if back else cells))
    return _table([*header, "there and back mm"] if back else header, rows)


def label_table(experiment: Experiment) -> Table:
    """Dice of every label, one column each, of one experiment; no rows for fewer than two labels."""
    labels = sorted({label for method in experiment.methods.values() for label in method.labels}, key=int)
    rows = [
        (name, tuple(_of_label(method.labels.get(label)) for label in labels))
        for name, method in experiment.methods.items()
        if method.labels and len(labels) > 1
    ]
    return _table([f"label {label}" for label in labels], rows)


def _of_label(metrics):
    """The cell of one label."""
    if metrics is None:
        return NONE
    _, scale, form = SIGNS["dice"]
    return _mean_sd(metrics.dice, scale, form) + (f", {metrics.lost} lost" if metrics.lost else "")


def volume_table(experiment: Experiment, name: str) -> Table:
    """What one method says of each label's change of volume: the numbers that clinicians read."""
    columns = {
        "volume_ml": "fixed ml",
        "mapped_volume_ml": "moving ml",
        "volume_change_percent": "change %",
        "log_jacobian_mean": "mean log J",
        "log_jacobian_sd": "SD log J",
    }
    forms = ("{:.1f}", "{:.1f}", "{:.1f}", "{:.3f}", "{:.3f}")
    labels = experiment.methods[name].labels if name in experiment.methods else {}
    rows = [
        (
            label,
            tuple(_mean_sd(getattr(metrics, key), form=form) for key, form in zip(columns, forms, strict=True)),
        )
        for label, metrics in labels.items()
    ]
    return _table(columns.values(), rows, "label")


def comparison_table(experiment: Experiment) -> Table:
    """Paired differences to the reference method with their intervals and p values, of one experiment."""
    metrics = list(dict.fromkeys(test.metric for test in experiment.comparisons))
    tests = {(test.method, test.metric): test for test in experiment.comparisons}
    header = [title for name in metrics for title in (sign_of(name)[0], "p")]
    rows = []
    for method in dict.fromkeys(method for method, _ in tests):
        cells = [_difference(tests.get((method, name)), *sign_of(name)[1:]) for name in metrics]
        rows.append((method, tuple(cell for pair in cells for cell in pair)))
    return _table(header, rows)


def _difference(test, scale, form):
    """Two cells: a paired difference with its interval, and its adjusted p value."""
    if test is None:
        return [NONE, NONE]
    interval = ""
    if test.interval is not None:
        interval = f" ({' to '.join(_signed(bound * scale, form) for bound in test.interval)})"
    p = test.p_holm
    words = NONE if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
    return [_signed(test.difference * scale, form) + interval + _counted(test), words]


def _seconds(methods):
    """The median seconds of all experiments' pairs, as a range where they differ."""
    medians = [method.metrics.seconds.median for method in methods if method.metrics.seconds]
    if not medians:
        return NONE
    low, high = f"{min(medians):.2f}", f"{max(medians):.2f}"
    return low if low == high else f"{low} to {high}"


def _mean_sd(distribution: Distribution | None, scale: float = 1.0, form: str = "{:.2f}") -> str:
    if distribution is None:
        return NONE
    spread = "" if distribution.sd is None else f" ± {form.format(distribution.sd * scale)}"
    return form.format(distribution.mean * scale) + spread + _counted(distribution)


def _counted(distribution):
    """Over how many pairs a mean or a difference is, where it is not over all that it could be."""
    if distribution is None or distribution.pairs == distribution.of:
        return ""
    return f" [{distribution.pairs} of {distribution.of}]"


def _interval(distribution, scale):
    if distribution is None or distribution.interval is None:
        return NONE
    return " to ".join(f"{bound * scale:.2f}" for bound in distribution.interval)


def _mean(distribution):
    return NONE if distribution is None else f"{distribution.mean:.2f}"


def _largest(distribution):
    return NONE if distribution is None else f"{distribution.max:.1e}"


def _signed(value, form):
    return form.replace("{:", "{:+").format(value)


def _table(columns, rows, corner="method"):
    return Table(tuple(columns), tuple(rows), corner)
