"""The HTML page of an evaluation: charts, tables, and the pairs worth looking at, in one file."""

import io
from dataclasses import dataclass

from tfreg.evaluation.charts import distribution_chart
from tfreg.evaluation.tables import SIGNS, experiment_tables, overlap_table
from tfreg.evaluation.text import explanation, headline
from tfreg.evaluation.training_marks import training_notes
from tfreg.report.page import data_uri, render

CHART_DPI = 130
CHARTS = {"dice": 100.0, "tre_mm": None, "hd95_mm": None}  # figure to where its axis ends, see `distribution_chart`
# Pairs that are shown as pictures: those where the reference method did worst, and some from the middle.
WORST, TYPICAL = 12, 4
MISSING = "–"


@dataclass(frozen=True)
class Measured:
    """A figure of one pair by one method.

    Args:
        pair: The pair's name.
        method: The method's name.
        figures: Dictionary of a name in `SIGNS` to a float or None.
        verdict: "pass", "review" or None.
        reasons: Of a review, sentences.
        error: What went wrong, or None.
    """

    pair: str
    method: str
    figures: dict
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    error: str | None = None


def cohort_page(found, measured, pictures):
    """Makes a page that needs no other file and no network.

    Args:
        found: What summary.json says (see `tfreg.evaluation.text.evaluation_text`).
        measured: Dictionary of experiment to a list of `Measured`.
        pictures: Function from a pair's name to the bytes of its PNG, or None where there is none.

    Returns:
        HTML, a string.
    """
    reference = found["reference"]
    experiments = [
        _experiment(name, part, measured.get(name, []), reference, pictures)
        for name, part in found["experiments"].items()
    ]
    return render(
        "cohort.html",
        title=", ".join(found["experiments"]),
        reference=reference,
        methods=found["methods"],
        explanation=explanation(found),
        overlap=overlap_table(found["experiments"]),
        experiments=experiments,
        versions=found["versions"],
        version=found["versions"]["tfreg"],
    )


def _experiment(name, part, measured, reference, pictures):
    """What the template shows of one experiment."""
    methods = list(part["methods"])
    ours = [entry for entry in measured if entry.method == reference and entry.error is None]
    order = leading_figure(ours)
    ranked = sorted(ours, key=lambda entry: _badness(entry, order))[::-1]
    shown = [("worst", entry) for entry in ranked[:WORST]]
    middle = ranked[WORST:]
    at = max(0, (len(middle) - TYPICAL) // 2)
    shown += [("typical", entry) for entry in middle[at : at + TYPICAL]]
    gallery = [
        {
            "kind": kind,
            "pair": entry.pair,
            "figures": _words(entry.figures),
            "verdict": entry.verdict,
            "reasons": entry.reasons,
            "picture": data_uri(picture),
        }
        for kind, entry in shown
        if (picture := pictures(entry.pair)) is not None
    ]
    return {
        "headline": headline(name, part),
        "notes": training_notes(part),
        "failures": [(m, pair, e) for m, f in part["methods"].items() for pair, e in f["failures"].items()],
        "charts": _charts(part["methods"], measured),
        "tables": experiment_tables(part, reference),
        "gallery": gallery,
        "badges": _badges(part["methods"].get(reference), part["pairs"]),
        "grid": _grid(methods, measured, order),
        "order": SIGNS[order][0] if order else None,
        "methods": methods,
    }


def leading_figure(entries):
    """The figure that pairs are ranked by: the first of Dice, TRE and HD95 that was measured, or None."""
    for name in CHARTS:
        if any(entry.figures.get(name) is not None for entry in entries):
            return name
    return None


def _badness(entry, name):
    """Larger is worse; a pair without the figure is worst."""
    value = entry.figures.get(name) if name else None
    if value is None:
        return float("inf")
    return -value if name == "dice" else value


def _badges(figures, pairs):
    """(state, title, words) of what the reference method did on all pairs."""
    if figures is None:
        return []
    failed, folding, review = len(figures["failures"]), figures["folding"], figures["review"]
    badges = [
        ("bad" if failed else "good", f"{figures['measured']} of {pairs} pairs registered", f"{failed} failed"),
        ("bad" if folding else "good", f"{folding} fields fold", "by the ten determinants, as sampled"),
    ]
    if figures["lost_structures"]:
        lost = f"{figures['lost_structures']} of {figures['structures']} structures lost"
        badges.append(("bad", lost, "missing in the fixed or the warped segmentation; they count as worst"))
    if review is not None:
        words = "verdict of figures that need no labels"
        badges.append(("fair" if review else "good", f"{review} to review", words))
    return badges


def _charts(methods, measured):
    """(title, image) of each figure that was measured; a method that lacks some pairs is named with their number."""
    charts = []
    for name, largest in CHARTS.items():
        title, scale, _ = SIGNS[name]
        values = {
            _counted(method, part["figures"].get(name)): [
                entry.figures[name]
                for entry in measured
                if entry.method == method and entry.figures.get(name) is not None
            ]
            for method, part in methods.items()
        }
        if any(values.values()):
            stream = io.BytesIO()
            figure = distribution_chart(values, title, scale, largest)
            figure.savefig(stream, format="png", dpi=CHART_DPI)
            charts.append((title, data_uri(stream.getvalue())))
    return charts


def _counted(method, distribution):
    """A method's name, with how many pairs its figure is of where it is not of all."""
    if distribution is None or distribution["pairs"] == distribution["of"]:
        return method
    return f"{method} ({distribution['pairs']} of {distribution['of']})"


def _grid(methods, measured, name):
    """Every pair's figure by every method: (pair, [(text, sort key, state)]) rows."""
    if name is None:
        return []
    _, scale, form = SIGNS[name]
    cells = {(entry.pair, entry.method): entry for entry in measured}
    rows = []
    for pair in dict.fromkeys(entry.pair for entry in measured):
        row = []
        for method in methods:
            entry = cells.get((pair, method))
            value = None if entry is None else entry.figures.get(name)
            state = "" if entry is None else "failed" if entry.error else "review" if entry.verdict == "review" else ""
            text = "failed" if state == "failed" else MISSING if value is None else form.format(value * scale)
            row.append((text, "" if value is None else f"{value * scale:.6g}", state))
        rows.append((pair, row))
    return rows


def _words(figures):
    """(name, number) of the figures that were measured."""
    return [
        (SIGNS[name][0], SIGNS[name][2].format(value * SIGNS[name][1]))
        for name, value in figures.items()
        if value is not None
    ]
