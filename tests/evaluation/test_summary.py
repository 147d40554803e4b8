"""From rows made by hand to the figures and tables that they must give."""

import csv

import numpy as np
import pytest

from tfreg.evaluation import tables as evaluation_tables
from tfreg.evaluation.results import measurements
from tfreg.evaluation.summary import summarise
from tfreg.io.tables.manifest import PairFiles

NAMES = "abcdef"


def row(pair, method, dice=None, tre=None, experiment="hearts", **more):
    """A row with two labels and the landmarks' errors along the axes."""
    quality = {"folding_fraction": more.pop("folds", 0.0), "log_jacobian": {}}
    if "lost" in more:
        quality["lost_labels"] = more.pop("lost")
    if dice is not None:
        quality |= {"dice": {"1": dice - 0.1, "10": dice + 0.1}, "mean_dice": dice}
        change = {"mean": 0.1, "sd": 0.2, "volume_ml": 40.0, "mapped_volume_ml": 50.0, "volume_change_percent": 25.0}
        quality["log_jacobian"] = {"all": change, "labels": change, "1": change, "10": change}
    if tre is not None:
        quality["landmarks"] = {"mean_mm": tre, "dx_mm": tre / 2, "dy_mm": tre / 3, "dz_mm": tre / 4}
    return {"experiment": experiment, "pair": pair, "method": method, "quality": quality, "seconds": 2.0} | more


@pytest.fixture
def experiments():
    return {"hearts": [PairFiles(name, None, None, fixed_subject=name, moving_subject=name) for name in NAMES]}


@pytest.fixture
def summary(experiments):
    rows = [row(name, "old", 0.6 + 0.01 * i, tre=2.0 + i) for i, name in enumerate(NAMES)]
    rows += [row(name, "new", 0.7 + 0.01 * i, tre=1.0 + i) for i, name in enumerate(NAMES[:-1])]
    rows[-1] |= {"verdict": "review", "certified": False}
    rows[-2] |= {"verdict": "pass", "certified": True}
    rows.append({"experiment": "hearts", "pair": "f", "method": "new", "error": "f.nii: is empty"})
    rows.append(row("elsewhere", "new", 0.1))
    rows.append(row("a", "new", 0.1, experiment="lungs"))
    return summarise(rows, experiments, ["old", "new", "none"], "new")


def test_means_and_spreads_over_pairs(summary):
    methods = summary["hearts"]["methods"]
    assert list(methods) == ["old", "new"]
    dice = methods["old"]["figures"]["dice"]
    values = 0.6 + 0.01 * np.arange(6)
    assert dice == {
        "pairs": 6,
        "of": 6,
        "mean": pytest.approx(values.mean()),
        "sd": pytest.approx(values.std(ddof=1)),
        "median": pytest.approx(np.median(values)),
        "min": pytest.approx(0.6),
        "max": pytest.approx(0.65),
        "interval": pytest.approx([values.mean() - 0.0137, values.mean() + 0.0137], abs=0.003),
    }
    assert methods["old"]["labels"]["10"]["dice"]["mean"] == pytest.approx(values.mean() + 0.1)
    assert list(methods["old"]["labels"]) == ["1", "10"]
    assert methods["old"]["figures"]["hd95_mm"] is None
    assert (methods["new"]["measured"], methods["new"]["failures"]) == (5, {"f": "f.nii: is empty"})
    assert (methods["new"]["figures"]["dice"]["pairs"], methods["new"]["figures"]["dice"]["of"]) == (5, 6)
    assert (methods["new"]["review"], methods["new"]["certified"]) == (1, 1)
    assert methods["old"]["review"] is None
    assert (summary["hearts"]["pairs"], summary["hearts"]["subjects"]) == (6, 6)


def test_differences_are_of_the_pairs_that_both_registered(summary):
    tests = {test["figure"]: test for test in summary["hearts"]["comparisons"]}
    assert tests["dice"]["method"] == "old"
    assert (tests["dice"]["pairs"], tests["dice"]["of"]) == (5, 6)
    assert tests["dice"]["difference"] == pytest.approx(-0.1)
    assert tests["dice"]["interval"] == pytest.approx([-0.1, -0.1])
    assert tests["tre_mm"]["difference"] == pytest.approx(1.0)
    assert tests["dice"]["p"] == pytest.approx(2 / 2**5)


def test_tables(summary):
    def cells(table, method):
        return [method, *dict(table.rows)[method]]

    overlap = evaluation_tables.overlap_table(summary)
    assert overlap.markdown()[0].startswith("| method | Dice % (mean ± sd) | 95 % interval |")
    assert overlap.markdown()[1] == "| --- | --- | --- | --- | --- | --- | --- |"
    assert overlap.markdown()[2].startswith("| old | 62.50 ± 1.87 |")
    assert cells(overlap, "old")[-1] == "2.00"
    part = summary["hearts"]
    assert cells(evaluation_tables.landmark_table(part), "new")[1:5] == [
        f"{mean} [5 of 6]" for mean in ("1.50", "1.00", "0.75", "3.00")
    ]
    assert cells(overlap, "new")[1] == "72.00 ± 1.58 [5 of 6]"
    assert cells(evaluation_tables.label_table(part), "old") == ["old", "52.50 ± 1.87", "72.50 ± 1.87"]
    assert cells(evaluation_tables.safety_table(part), "new")[1:7] == ["5", "1", "0", "0.0000%", "1", "1"]
    assert cells(evaluation_tables.volume_table(part, "new"), "10")[1:4] == [
        f"{mean} ± 0.0 [5 of 6]" for mean in ("40.0", "50.0", "25.0")
    ]
    assert cells(evaluation_tables.comparison_table(part), "old")[1:3] == [
        "-10.00 (-10.00 to -10.00) [5 of 6]",
        "0.062",
    ]


def test_lost_structures_are_counted(experiments):
    rows = [row(name, "one", 0.6, lost=["10"] if name in "ab" else []) for name in NAMES]
    rows += [row(name, "two", 0.6, lost=[]) for name in NAMES]
    summary = summarise(rows, experiments, ["one", "two"], "one")
    methods = summary["hearts"]["methods"]
    assert (methods["one"]["structures"], methods["one"]["lost_structures"]) == (12, 2)
    assert (methods["one"]["labels"]["10"]["lost"], methods["one"]["labels"]["1"]["lost"]) == (2, 0)
    overlap = dict(evaluation_tables.overlap_table(summary).rows)
    assert [overlap[method][4] for method in ("one", "two")] == ["2 of 12", "0 of 12"]
    by_label = dict(evaluation_tables.label_table(summary["hearts"]).rows)
    assert by_label["one"][1].endswith(", 2 lost")
    text = measurements([r | {"fixed_subject": r["pair"], "moving_subject": r["pair"]} for r in rows])
    lines = list(csv.DictReader(text.splitlines()))
    assert [line["lost_labels"] for line in lines if line["method"] == "one"] == ["10", "10", "", "", "", ""]
    assert {line["labels"] for line in lines} == {"2"}


def test_a_pair_that_every_method_fails_on_is_missing_in_all_means(experiments):
    rows = [row(name, "one", 0.6) for name in NAMES[:4]]
    rows += [{"experiment": "hearts", "pair": name, "method": "one", "error": "unreadable"} for name in "ef"]
    labelled = [PairFiles(name, None, None, "f", "m", fixed_subject=name, moving_subject=name) for name in NAMES]
    found = summarise(rows, {"hearts": labelled}, ["one"], "one")["hearts"]["methods"]["one"]["figures"]
    assert (found["dice"]["pairs"], found["dice"]["of"]) == (4, 6)
    assert (found["seconds"]["pairs"], found["seconds"]["of"]) == (4, 6)


def test_what_was_not_measured_has_no_table(experiments):
    summary = summarise([row("a", "one", tre=2.0)], experiments, ["one"], "one")
    part = summary["hearts"]
    assert evaluation_tables.overlap_table(summary).markdown() == []
    assert evaluation_tables.label_table(part).rows == ()
    assert evaluation_tables.comparison_table(part).rows == ()
    assert len(evaluation_tables.landmark_table(part).rows) == 1
