"""From rows made by hand to the figures and tables that they must give."""

import csv
import json
from dataclasses import fields

import numpy as np
import pytest

from tfreg.evaluation import tables as evaluation_tables
from tfreg.evaluation.results import measurements
from tfreg.evaluation.row import LABEL_METRICS, METRICS, Row
from tfreg.evaluation.summarise import summarise
from tfreg.evaluation.summary import LabelMetrics, Metrics
from tfreg.io.tables.manifest import PairFiles
from tfreg.metrics.landmarks import LandmarkErrors
from tfreg.metrics.quality import LabelQuality, Quality
from tfreg.metrics.volume_change import VolumeChange

NAMES = "abcdef"


def row(pair, method, dice=None, tre=None, folds=0.0, lost=(), **more):
    """A row with two labels and the landmarks' errors along the axes."""
    change = VolumeChange(mean=0.1, sd=0.2, volume_ml=40.0, mapped_volume_ml=50.0, volume_change_percent=25.0)
    labels = {"1": -0.1, "10": 0.1}
    quality = Quality(
        labels=None
        if dice is None
        else {label: LabelQuality(dice + by, lost=label in lost, volume=change) for label, by in labels.items()},
        landmarks=LandmarkErrors()
        if tre is None
        else LandmarkErrors(mean_mm=tre, dx_mm=tre / 2, dy_mm=tre / 3, dz_mm=tre / 4),
        folding_fraction=folds,
        labelled=VolumeChange() if dice is None else change,
    )
    values = {"experiment": "hearts", "digest": "0", "seconds": 2.0, "quality": quality} | more
    return Row(pair=pair, method=method, **values)


def failed(pair, method, error):
    return Row(experiment="hearts", pair=pair, method=method, digest="0", error=error)


@pytest.fixture
def pairs():
    return [PairFiles(name, None, None, fixed_subject=name, moving_subject=name) for name in NAMES]


def summarised(rows, pairs, *methods, reference):
    return summarise(rows, pairs, dict.fromkeys(methods), reference)


@pytest.fixture
def summary(pairs):
    rows = [row(name, "old", 0.6 + 0.01 * i, tre=2.0 + i) for i, name in enumerate(NAMES)]
    judged = {"d": {"verdict": "pass", "certified": True}, "e": {"verdict": "review", "certified": False}}
    rows += [row(n, "new", 0.7 + 0.01 * i, tre=1.0 + i, **judged.get(n, {})) for i, n in enumerate(NAMES[:-1])]
    rows += [failed("f", "new", "f.nii: is empty"), row("elsewhere", "new", 0.1)]
    return summarised(rows, pairs, "old", "new", "none", reference="new")


def test_means_and_spreads_over_pairs(summary):
    methods = summary.methods
    assert list(methods) == ["old", "new"]
    dice = methods["old"].metrics.dice
    values = 0.6 + 0.01 * np.arange(6)
    assert (dice.pairs, dice.of) == (6, 6)
    assert (dice.mean, dice.sd) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert (dice.median, dice.min, dice.max) == pytest.approx((np.median(values), 0.6, 0.65))
    assert dice.interval == pytest.approx([values.mean() - 0.0137, values.mean() + 0.0137], abs=0.003)
    assert methods["old"].labels["10"].dice.mean == pytest.approx(values.mean() + 0.1)
    assert list(methods["old"].labels) == ["1", "10"]
    assert methods["old"].metrics.hd95_mm is None
    assert (methods["new"].measured, methods["new"].failures) == (5, {"f": "f.nii: is empty"})
    assert (methods["new"].metrics.dice.pairs, methods["new"].metrics.dice.of) == (5, 6)
    assert (methods["new"].review, methods["new"].certified) == (1, 1)
    assert methods["old"].review is None
    assert (summary.pairs, summary.subjects) == (6, 6)


def test_differences_are_of_the_pairs_that_both_registered(summary):
    tests = {test.metric: test for test in summary.comparisons}
    assert tests["dice"].method == "old"
    assert (tests["dice"].pairs, tests["dice"].of) == (5, 6)
    assert tests["dice"].difference == pytest.approx(-0.1)
    assert tests["dice"].interval == pytest.approx([-0.1, -0.1])
    assert tests["tre_mm"].difference == pytest.approx(1.0)
    assert tests["dice"].p == pytest.approx(2 / 2**5)


def test_tables(summary):
    def cells(table, method):
        return [method, *dict(table.rows)[method]]

    overlap = evaluation_tables.overlap_table({"hearts": summary})
    assert overlap.markdown()[0].startswith("| method | Dice % (mean ± sd) | 95 % interval |")
    assert overlap.markdown()[1] == "| --- | --- | --- | --- | --- | --- | --- |"
    assert overlap.markdown()[2].startswith("| old | 62.50 ± 1.87 |")
    assert cells(overlap, "old")[-1] == "2.00"
    assert cells(evaluation_tables.landmark_table(summary), "new")[1:5] == [
        f"{mean} [5 of 6]" for mean in ("1.50", "1.00", "0.75", "3.00")
    ]
    assert cells(overlap, "new")[1] == "72.00 ± 1.58 [5 of 6]"
    assert cells(evaluation_tables.label_table(summary), "old") == ["old", "52.50 ± 1.87", "72.50 ± 1.87"]
    assert cells(evaluation_tables.safety_table(summary), "new")[1:7] == ["5", "1", "0", "0.0000%", "1", "1"]
    assert cells(evaluation_tables.volume_table(summary, "new"), "10")[1:4] == [
        f"{mean} ± 0.0 [5 of 6]" for mean in ("40.0", "50.0", "25.0")
    ]
    assert cells(evaluation_tables.comparison_table(summary), "old")[1:3] == [
        "-10.00 (-10.00 to -10.00) [5 of 6]",
        "0.062",
    ]


def test_lost_structures_are_counted(pairs):
    rows = [
        row(name, "one", 0.6, lost=["10"] if name in "ab" else [], fixed_subject=name, moving_subject=name)
        for name in NAMES
    ]
    rows += [row(name, "two", 0.6, fixed_subject=name, moving_subject=name) for name in NAMES]
    summary = summarised(rows, pairs, "one", "two", reference="one")
    methods = summary.methods
    assert (methods["one"].structures, methods["one"].lost_structures) == (12, 2)
    assert (methods["one"].labels["10"].lost, methods["one"].labels["1"].lost) == (2, 0)
    overlap = dict(evaluation_tables.overlap_table({"hearts": summary}).rows)
    assert [overlap[method][4] for method in ("one", "two")] == ["2 of 12", "0 of 12"]
    by_label = dict(evaluation_tables.label_table(summary).rows)
    assert by_label["one"][1].endswith(", 2 lost")
    text = measurements(rows)
    lines = list(csv.DictReader(text.splitlines()))
    assert [line["lost_labels"] for line in lines if line["method"] == "one"] == ["10", "10", "", "", "", ""]
    assert {line["labels"] for line in lines} == {"2"}


def test_a_pair_that_every_method_fails_on_is_missing_in_all_means(pairs):
    rows = [row(name, "one", 0.6) for name in NAMES[:4]]
    rows += [failed(name, "one", "unreadable") for name in "ef"]
    labelled = [PairFiles(name, None, None, "f", "m", fixed_subject=name, moving_subject=name) for name in NAMES]
    metrics = summarised(rows, labelled, "one", reference="one").methods["one"].metrics
    assert (metrics.dice.pairs, metrics.dice.of) == (4, 6)
    assert (metrics.seconds.pairs, metrics.seconds.of) == (4, 6)


def test_what_was_not_measured_has_no_table(pairs):
    part = summarised([row("a", "one", tre=2.0)], pairs, "one", reference="one")
    assert evaluation_tables.overlap_table({"hearts": part}).markdown() == []
    assert evaluation_tables.label_table(part).rows == ()
    assert evaluation_tables.comparison_table(part).rows == ()
    assert len(evaluation_tables.landmark_table(part).rows) == 1


def test_every_metric_has_its_place_in_the_summary():
    assert [field.name for field in fields(Metrics)] == list(METRICS)
    assert [field.name for field in fields(LabelMetrics)] == [*LABEL_METRICS, "lost"]
    empty = Row(experiment="e", pair="p", method="m", digest="0")
    assert [empty.metric(name) for name in METRICS] == [None] * len(METRICS)
    assert [empty.label_metric(name, "1") for name in LABEL_METRICS] == [None] * len(LABEL_METRICS)


def test_a_row_comes_back_from_its_line():
    whole = row("a", "one", 0.6, tre=2.0, lost=["10"], verdict="review", reasons=("odd",), seen={"a": "train"})
    assert Row.parse(json.loads(whole.line()), "rows.jsonl") == whole
    lost = row("a", "one", tre=float("nan"))
    assert Row.parse(json.loads(lost.line()), "rows.jsonl").metric("tre_mm") is None
