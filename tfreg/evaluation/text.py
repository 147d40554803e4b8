"""An evaluation's tables as one Markdown text."""

from tfreg.evaluation.summary import EvaluationSummary, Experiment
from tfreg.evaluation.tables import experiment_tables, overlap_table
from tfreg.evaluation.training_marks import training_notes


def evaluation_text(summary: EvaluationSummary) -> str:
    """The text of an evaluation, Markdown."""
    experiments = summary.experiments
    lines = [
        explanation(summary),
        "",
        *(f"- {name}: {text}." for name, text in summary.methods.items()),
        "",
    ]
    lines += _section("Table 1: overlap", overlap_table(experiments))
    for name, experiment in experiments.items():
        suffix = f" ({name})" if len(experiments) > 1 else ""
        lines += [f"{headline(name, experiment)}.", ""]
        lines += [line for note in training_notes(experiment) for line in (f"**{note}**", "")]
        for title, table in experiment_tables(experiment, summary.reference).items():
            lines += _section(title + suffix, table)
        failures = [
            f"- {name} failed on {pair}: {error}"
            for name, method in experiment.methods.items()
            for pair, error in method.failures.items()
        ]
        lines += [*failures, ""] if failures else []
    return "\n".join(lines).rstrip() + "\n"


def explanation(summary: EvaluationSummary) -> str:
    """How the metrics were measured, in a few sentences."""
    peaks = [
        method.metrics.peak_mb.max
        for experiment in summary.experiments.values()
        for method in experiment.methods.values()
        if method.metrics.peak_mb
    ]
    processes = "One process" if summary.workers == 1 else f"{summary.workers} processes"
    threads = "one thread" if summary.threads == 1 else f"{summary.threads} threads"
    return (
        f"Every method starts from the initial alignment `{summary.init}`. {processes} of {threads}"
        + (f"; the largest took {max(peaks):.0f} MB. " if peaks else ". ")
        + "All methods are measured alike, by their displacement on the fixed image's lattice: labels warped with "
        "nearest neighbour; HD95 and mean distance of the labels' surfaces; folds by the ten determinants of a digital "
        "diffeomorphism; the log Jacobian inside the fixed labels. A lost structure, one that is missing in the fixed "
        "or the warped segmentation, counts with Dice 0 and the largest distance in the fixed image. [5 of 6]: the "
        "method failed on one of six pairs, and the mean is over the others. Intervals are bootstrapped over subjects; "
        "p is of Wilcoxon's signed-rank test over subjects, adjusted by Holm's method."
    )


def headline(name: str, experiment: Experiment) -> str:
    """An experiment's name and size."""
    people = "person" if experiment.subjects == 1 else "people"
    pairs = "pair" if experiment.pairs == 1 else "pairs"
    return f"{name[0].upper()}{name[1:]}: {experiment.pairs} {pairs} of {experiment.subjects} {people}"


def _section(title, table):
    return [f"## {title}", "", *table.markdown(), ""] if table.rows else []
