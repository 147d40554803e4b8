"""From the rows of an evaluation to the metrics of its tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tfreg.evaluation.methods import OBSERVERS, Definition
from tfreg.evaluation.row import LABEL_METRICS, METRICS, SEGMENTATION_METRICS, Row
from tfreg.evaluation.summary import (
    Comparison,
    Distribution,
    Experiment,
    LabelMetrics,
    MethodSummary,
    Metrics,
    Seen,
    SegmentationSummary,
)
from tfreg.io.tables.manifest import PairFiles
from tfreg.io.tables.training_people import TRAIN, VALIDATION, people_of
from tfreg.metrics.statistics import bootstrap_interval, holm, paired_test

COMPARED = ("dice", "hd95_mm", "tre_mm")


def summarise(
    rows: list[Row], pairs: list[PairFiles], methods: Mapping[str, Definition | None], reference: str
) -> Experiment:
    """The metrics of one experiment's tables.

    Args:
        rows: Its rows; those of other pairs are left out.
        pairs: Its pairs.
        methods: Dictionary of name to definition, in the tables' order.
        reference: The method that the others are compared with.

    Returns:
        An `Experiment`, with the methods of which there are rows.
    """
    people = {pair.id: pair.subjects for pair in pairs}
    by_method = {
        method: {row.pair: row for row in rows if row.method == method and row.pair in people} for method in methods
    }
    by_method = {method: own for method, own in by_method.items() if own}
    summaries = {}
    for method, own in by_method.items():
        # Two observers' landmarks are compared where there are two, the other methods everywhere.
        measurable = _Measurable(by_method, [pair for pair in pairs if method != OBSERVERS or pair.id in own])
        summaries[method] = replace(
            _of_method(own, measurable, people),
            seen=_people_seen(own, pairs, methods[method]),
            times_reference=_times(own, by_method.get(reference, {})),
        )
    subjects = {subject for names in people.values() for subject in names}
    return Experiment(len(pairs), len(subjects), summaries, tuple(_comparisons(by_method, reference, people)))


class _Measurable:
    """On how many pairs a metric could be measured.

    Args:
        by_method: Dictionary of method to a dictionary of pair to row.
        pairs: The pairs that count.
    """

    def __init__(self, by_method, pairs):
        self.rows = [row for rows in by_method.values() for row in rows.values()]
        self.read = {row.pair for row in self.rows if row.error is None}
        self.pairs = pairs

    def count(self, value):
        """Of a `_Value`."""
        measured = {row.pair for row in self.rows if value.get(row) is not None}
        return sum(pair.id in measured or (pair.id not in self.read and value.has_files(pair)) for pair in self.pairs)


@dataclass(frozen=True)
class _Value:
    """What a distribution is of.

    Args:
        get: Function of a row to a float, or None.
        has_files: Function of a pair that every method failed on to whether it has the files for it.
    """

    get: Callable[[Row], float | None]
    has_files: Callable[[PairFiles], bool]


def _of_pair(name):
    place = METRICS[name]

    def has_files(pair):
        if not place.startswith("quality") or "folding_fraction" in place:
            return True
        return (pair.fixed_points if "landmarks" in place else pair.fixed_labels) is not None

    return _Value(lambda row: row.metric(name), has_files)


def _of_label(name, label):
    return _Value(lambda row: row.label_metric(name, label), lambda pair: False)


def _of_segmentation(name, column):
    return _Value(lambda row: row.segmentation_metric(name, column), lambda pair: pair.fixed_labels is not None)


def _of_method(own, measurable, people):
    """The `MethodSummary` of one method's rows by pair."""
    good = {pair: row for pair, row in own.items() if row.error is None}
    labels = sorted({label for row in good.values() for label in row.labels}, key=int)
    columns = dict.fromkeys(column for row in good.values() for column in row.segmentations)
    lost = [label for row in good.values() for label in row.quality.lost_labels]
    warped = any(row.quality.labels is not None for row in good.values())
    return MethodSummary(
        measured=len(good),
        failures={pair: row.error for pair, row in own.items() if row.error is not None},
        folding=sum(bool(row.metric("folding_fraction")) for row in good.values()),
        certified=_count([row.certified for row in good.values()], True),
        review=_count([row.verdict for row in good.values()], "review"),
        structures=sum(len(row.labels) for row in good.values()) if warped else None,
        lost_structures=len(lost) if warped else None,
        metrics=Metrics(**{name: _distribution(good, measurable, people, _of_pair(name)) for name in METRICS}),
        labels={
            label: LabelMetrics(
                **{name: _distribution(good, measurable, people, _of_label(name, label)) for name in LABEL_METRICS},
                lost=lost.count(label),
            )
            for label in labels
        },
        segmentations={column: _segmentation(good, measurable, people, column) for column in columns},
    )


def _count(values, value):
    """How many rows say so; None where the method does not tell."""
    values = [one for one in values if one is not None]
    return values.count(value) if values else None


def _people_seen(own, pairs, definition):
    """The `Seen` of one method's rows by pair; None where there is no network."""
    if definition is None or not definition.model_sha256:
        return None
    splits = {person: split for row in own.values() for person, split in (row.seen or {}).items()}
    return Seen(
        people=len({person for pair in pairs if pair.id in own for person, _ in people_of(pair)}),
        train=list(splits.values()).count(TRAIN),
        validation=list(splits.values()).count(VALIDATION),
        unknown=any(row.seen is None for row in own.values()),
    )


def _segmentation(good, measurable, people, column):
    """The `SegmentationSummary` of one method's rows by pair."""
    qualities = [row.segmentations[column] for row in good.values() if column in row.segmentations]
    return SegmentationSummary(
        structures=sum(len(quality.labels or ()) for quality in qualities),
        lost_structures=sum(len(quality.lost_labels) for quality in qualities),
        **{
            name: _distribution(good, measurable, people, _of_segmentation(name, column))
            for name in SEGMENTATION_METRICS
        },
    )


def _times(own, reference):
    """One method's median seconds by the reference's, on the pairs that both registered in one run, or None."""
    seconds = [
        (row.seconds, reference[pair].seconds)
        for pair, row in own.items()
        if pair in reference and row.run is not None and row.run == reference[pair].run
    ]
    seconds = [both for both in seconds if None not in both]
    return float(np.divide(*np.median(seconds, axis=0))) if seconds else None


def _distribution(rows, measurable, people, value):
    """The `Distribution` of a `_Value` over pairs; None where no pair has it."""
    values = {pair: value.get(row) for pair, row in rows.items()}
    values = {pair: number for pair, number in values.items() if number is not None}
    if not values:
        return None
    array = np.array(list(values.values()))
    return Distribution(
        pairs=len(array),
        of=measurable.count(value),
        mean=float(array.mean()),
        sd=float(array.std(ddof=1)) if len(array) > 1 else None,
        median=float(np.median(array)),
        min=float(array.min()),
        max=float(array.max()),
        interval=_interval(array, [people[pair] for pair in values]),
    )


def _interval(values, subjects):
    low, high = bootstrap_interval(values, subjects)
    return None if np.isnan(low) else (low, high)


def _comparisons(by_method, reference, people):
    """The `Comparison`s of every method to the reference, on the pairs that both registered."""
    if reference not in by_method:
        return
    theirs = by_method[reference]
    columns = dict.fromkeys(
        column for rows in by_method.values() for row in rows.values() for column in row.segmentations
    )
    values_of = {name: _of_pair(name) for name in COMPARED}
    values_of |= {f"dice of {column}": _of_segmentation("dice", column) for column in columns}
    for name, value in values_of.items():
        tests, p_values = [], []
        for method, rows in by_method.items():
            both = {pair: (value.get(rows[pair]), value.get(theirs[pair])) for pair in rows if pair in theirs}
            differences = {pair: a - b for pair, (a, b) in both.items() if a is not None and b is not None}
            if method == reference or not differences:
                continue
            subjects = [people[pair] for pair in differences]
            values = np.array(list(differences.values()))
            of = len(rows.keys() | theirs.keys())
            interval = _interval(values, subjects)
            p_values.append(paired_test(values, subjects))
            tests.append(Comparison(name, method, reference, len(values), of, float(values.mean()), interval))
        for test, p, p_holm in zip(tests, p_values, holm(p_values), strict=True):
            yield test if np.isnan(p) else replace(test, p=p, p_holm=p_holm)
