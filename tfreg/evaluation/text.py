"""An evaluation's tables as one Markdown text."""

from tfreg.evaluation.tables import experiment_tables, overlap_table
from tfreg.evaluation.training_marks import training_notes


def evaluation_text(found):
    """The text of an evaluation.

    Args:
        found: What summary.json says: `experiments` (see `tfreg.evaluation.summary.summarise`),
            `reference`, `init`, `workers`, `threads`, and `methods`, names and settings in words.

    Returns:
        Markdown, a string.
    """
    experiments = found["experiments"]
    lines = [
        explanation(found),
        "",
        *(f"- {name}: {text}." for name, text in found["methods"].items()),
        "",
    ]
    lines += _section("Table 1: overlap", overlap_table(experiments))
    for name, part in experiments.items():
        suffix = f" ({name})" if len(experiments) > 1 else ""
        lines += [f"{headline(name, part)}.", ""]
        lines += [line for note in training_notes(part) for line in (f"**{note}**", "")]
        for title, table in experiment_tables(part, found["reference"]).items():
            lines += _section(title + suffix, table)
        failures = [
            f"- {method} failed on {pair}: {error}"
            for method, figures in part["methods"].items()
            for pair, error in figures["failures"].items()
        ]
        lines += [*failures, ""] if failures else []
    return "\n".join(lines).rstrip() + "\n"


def explanation(found):
    """How the figures were measured, in a few sentences."""
    peaks = [
        figures["figures"]["peak_mb"]["max"]
        for part in found["experiments"].values()
        for figures in part["methods"].values()
        if figures["figures"]["peak_mb"]
    ]
    processes = "One process" if found["workers"] == 1 else f"{found['workers']} processes"
    threads = "one thread" if found["threads"] == 1 else f"{found['threads']} threads"
    return (
        f"Every method starts from the initial alignment `{found['init']}`. {processes} of {threads}"
        + (f"; the largest took {max(peaks):.0f} MB. " if peaks else ". ")
        + "All methods are measured alike, by their displacement on the fixed image's lattice: labels warped with "
        "nearest neighbour; HD95 and mean distance of the labels' surfaces; folds by the ten determinants of a digital "
        "diffeomorphism; the log Jacobian inside the fixed labels. A lost structure, one that is missing in the fixed "
        "or the warped segmentation, counts with Dice 0 and the largest distance in the fixed image. [5 of 6]: the "
        "method failed on one of six pairs, and the mean is over the others. Intervals are bootstrapped over subjects; "
        "p is of Wilcoxon's signed-rank test over subjects, adjusted by Holm's method."
    )


def headline(name, part):
    """An experiment's name and size."""
    people = "person" if part["subjects"] == 1 else "people"
    pairs = "pair" if part["pairs"] == 1 else "pairs"
    return f"{name[0].upper()}{name[1:]}: {part['pairs']} {pairs} of {part['subjects']} {people}"


def _section(title, table):
    return [f"## {title}", "", *table.markdown(), ""] if table.rows else []
