"""What an evaluation says of networks that were trained on the people they are measured on."""

from collections.abc import Iterable
from dataclasses import replace

from tfreg.evaluation.summary import Experiment
from tfreg.report.table import Table

MARK, ASK = "†", "‡"


def marked(table: Table, experiments: Iterable[Experiment]) -> Table:
    """A table with marks at the networks that have seen some of the people, or of which it is not known.

    Args:
        table: A `Table` with methods as rows.
        experiments: Those that it shows.
    """
    marks = {}
    for experiment in experiments:
        for name, method in experiment.methods.items():
            if method.seen and (method.seen.train or method.seen.validation):
                marks[name] = MARK
            elif method.seen and method.seen.unknown:
                marks.setdefault(name, ASK)
    return replace(table, marks=marks)


def training_notes(experiment: Experiment) -> list[str]:
    """What the marks mean in one experiment, sentences; none where no network has seen anybody."""
    notes = []
    for name, method in experiment.methods.items():
        seen = method.seen
        if not seen:
            continue
        parts = []
        if seen.train:
            parts.append(f"was trained on {seen.train} of the {seen.people} people measured here")
        if seen.validation:
            parts.append(f"had its best epoch chosen on {seen.validation} of the {seen.people} people")
        if parts:
            notes.append(
                f"{MARK} {name} {' and '.join(parts)}; its figures are not those of people that it has not seen."
            )
        elif seen.unknown:
            notes.append(
                f"{ASK} {name}: its folder holds no subjects.json, so that it is not known whether it was trained on "
                "people measured here."
            )
    return notes
