"""The HTML page of an evaluation: charts, tables, and the pairs worth looking at, in one file."""

import io
from collections.abc import Callable

from tfreg.evaluation.charts import distribution_chart
from tfreg.evaluation.row import Row
from tfreg.evaluation.summarise import COMPARED
from tfreg.evaluation.summary import EvaluationSummary
from tfreg.evaluation.tables import SIGNS, experiment_tables, overlap_table
from tfreg.evaluation.text import explanation, headline
from tfreg.evaluation.training_marks import training_notes
from tfreg.report.page import data_uri, render

CHART_DPI = 130
CHARTS = {"dice": 100.0, "tre_mm": None, "hd95_mm": None}  # metric to where its axis ends, see `distribution_chart`
# Pairs that are shown as pictures: those where the reference method did worst, and some from the middle.
WORST, TYPICAL = 12, 4
MISSING = "–"


def cohort_page(summary: EvaluationSummary, rows: dict[str, list[Row]], pictures: Callable[[str], bytes | None]) -> str:
    """Makes a page that needs no other file and no network.

    Args:
        summary: Of the evaluation.
        rows: Dictionary of experiment to its rows.
        pictures: Function from a pair's name to the bytes of its PNG, or None where there is none.

    Returns:
        HTML, a string.
    """
    reference = summary.reference
    experiments = [
        _experiment(name, experiment, rows[name], reference, pictures)
        for name, experiment in summary.experiments.items()
    ]
    return render(
        "cohort.html",
        title=", ".join(summary.experiments),
        reference=reference,
        methods=summary.methods,
        explanation=explanation(summary),
        overlap=overlap_table(summary.experiments),
        experiments=experiments,
        versions=summary.versions,
        version=summary.versions["tfreg"],
    )


def _experiment(name, experiment, rows, reference, pictures):
    """What the template shows of one experiment."""
    methods = list(experiment.methods)
    ours = [row for row in rows if row.method == reference and row.error is None]
    order = leading_metric(ours)
    ranked = sorted(ours, key=lambda row: _badness(row, order))[::-1]
    chosen = [("worst", row) for row in ranked[:WORST]]
    middle = ranked[WORST:]
    at = max(0, (len(middle) - TYPICAL) // 2)
    chosen += [("typical", row) for row in middle[at : at + TYPICAL]]
    gallery = [
        {
            "kind": kind,
            "pair": row.pair,
            "figures": _words(row),
            "verdict": row.verdict,
            "reasons": row.reasons,
            "picture": data_uri(picture),
        }
        for kind, row in chosen
        if (picture := pictures(row.pair)) is not None
    ]
    return {
        "headline": headline(name, experiment),
        "notes": training_notes(experiment),
        "failures": [(m, pair, e) for m, one in experiment.methods.items() for pair, e in one.failures.items()],
        "charts": _charts(experiment.methods, rows),
        "tables": experiment_tables(experiment, reference),
        "gallery": gallery,
        "badges": _badges(experiment.methods[reference], experiment.pairs) if reference in experiment.methods else [],
        "grid": _grid(methods, rows, order),
        "order": SIGNS[order][0] if order else None,
        "methods": methods,
    }


def leading_metric(rows: list[Row]) -> str | None:
    """The metric that pairs are ranked by: the first of Dice, TRE and HD95 that was measured, or None."""
    for name in CHARTS:
        if any(row.metric(name) is not None for row in rows):
            return name
    return None


def _badness(row, name):
    """Larger is worse; a pair without the metric is worst."""
    value = row.metric(name) if name else None
    if value is None:
        return float("inf")
    return -value if name == "dice" else value


def _badges(method, pairs):
    """(state, title, words) of what the reference method did on all pairs."""
    failed, folding, review = len(method.failures), method.folding, method.review
    badges = [
        ("bad" if failed else "good", f"{method.measured} of {pairs} pairs registered", f"{failed} failed"),
        ("bad" if folding else "good", f"{folding} fields fold", "by the ten determinants, as sampled"),
    ]
    if method.lost_structures:
        lost = f"{method.lost_structures} of {method.structures} structures lost"
        badges.append(("bad", lost, "missing in the fixed or the warped segmentation; they count as worst"))
    if review is not None:
        words = "verdict of figures that need no labels"
        badges.append(("fair" if review else "good", f"{review} to review", words))
    return badges


def _charts(methods, rows):
    """(title, image) of each metric that was measured; a method that lacks some pairs is named with their number."""
    charts = []
    for name, largest in CHARTS.items():
        title, scale, _ = SIGNS[name]
        values = {
            _counted(method, getattr(summary.metrics, name)): [
                value for row in rows if row.method == method and (value := row.metric(name)) is not None
            ]
            for method, summary in methods.items()
        }
        if any(values.values()):
            stream = io.BytesIO()
            chart = distribution_chart(values, title, scale, largest)
            chart.savefig(stream, format="png", dpi=CHART_DPI)
            charts.append((title, data_uri(stream.getvalue())))
    return charts


def _counted(method, distribution):
    """A method's name, with how many pairs its metric is of where it is not of all."""
    if distribution is None or distribution.pairs == distribution.of:
        return method
    return f"{method} ({distribution.pairs} of {distribution.of})"


def _grid(methods, rows, name):
    """Every pair's metric by every method: (pair, [(text, sort key, state)]) rows."""
    if name is None:
        return []
    cells = {(row.pair, row.method): row for row in rows}
    pairs = dict.fromkeys(row.pair for row in rows)
    return [(pair, [_grid_cell(cells.get((pair, method)), name) for method in methods]) for pair in pairs]


def _grid_cell(row, name):
    """(text, sort key, state) of one pair by one method; `row` is None where it was not asked for."""
    if row is None:
        return MISSING, "", ""
    if row.error:
        return "failed", "", "failed"
    _, scale, form = SIGNS[name]
    value, state = row.metric(name), "review" if row.verdict == "review" else ""
    return (MISSING, "", state) if value is None else (form.format(value * scale), f"{value * scale:.6g}", state)


def _words(row):
    """(name, number) of the metrics that were measured."""
    values = ((SIGNS[name], row.metric(name)) for name in COMPARED)
    return [(title, form.format(value * scale)) for (title, scale, form), value in values if value is not None]
