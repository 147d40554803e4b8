"""How tables, page and measurements say which people a network has seen."""

import numpy as np
import pytest

from tfreg.evaluation.methods import Definition
from tfreg.evaluation.page import cohort_page
from tfreg.evaluation.results import measurements
from tfreg.evaluation.row import Row
from tfreg.evaluation.summarise import summarise
from tfreg.evaluation.summary import EvaluationSummary, Experiment, MethodSummary, Seen
from tfreg.evaluation.text import evaluation_text
from tfreg.evaluation.training_marks import marked
from tfreg.io.tables.manifest import PairFiles
from tfreg.metrics.quality import LabelQuality, Quality
from tfreg.report.table import Table

METHODS = {
    "initial": Definition("initial"),
    "run": Definition("tfreg", model_sha256="1"),
    "old": Definition("tfreg", model_sha256="2"),
}


@pytest.fixture
def rows():
    """Four people by a network that has seen two of them, and by one of which that is not known."""
    seen = {"a": {"a": "train"}, "c": {"c": "validation"}, "d": {}, "e": {}}
    quality = Quality({"1": LabelQuality(0.5)})
    return [
        Row(
            experiment="pairs",
            pair=f"{name}_pair",
            method=method,
            digest="0",
            fixed_subject=name,
            moving_subject=name,
            quality=quality,
            seen=people if method == "run" else None,
        )
        for name, people in seen.items()
        for method in METHODS
    ]


@pytest.fixture
def summary(rows):
    pairs = [PairFiles(f"{name}_pair", None, None, fixed_subject=name, moving_subject=name) for name in "acde"]
    return EvaluationSummary(
        experiments={"pairs": summarise(rows, pairs, METHODS, "run")},
        reference="run",
        init="header",
        workers=1,
        threads=1,
        methods={},
        versions={"tfreg": "0"},
    )


def test_the_summary_counts_who_was_seen(summary):
    methods = summary.experiments["pairs"].methods
    assert methods["initial"].seen is None
    assert methods["run"].seen == Seen(people=4, train=1, validation=1, unknown=False)
    assert methods["old"].seen == Seen(people=4, train=0, validation=0, unknown=True)


def test_the_tables_mark_what_was_seen(summary):
    text = evaluation_text(summary)
    assert "\n| run † | 50.00" in text
    assert "\n| old ‡ | 50.00" in text
    assert "\n| initial | 50.00" in text
    assert "† run was trained on 1 of the 4 people measured here and had its best epoch chosen on 1 of the 4" in text
    assert "‡ old: its folder holds no subjects.json" in text


def test_the_page_marks_what_was_seen(summary):
    page = cohort_page(summary, {"pairs": []}, lambda pair: None)
    assert "<li>† run was trained on 1 of the 4 people measured here" in page
    assert '<th scope="row">run †</th>' in page


def test_the_measurements_say_who_was_seen(rows):
    table = {tuple(line.split(",")[1:3]): line for line in measurements(rows).splitlines()}
    column = table["method", "pair"].split(",").index("seen_in_training")
    cells = {key: line.split(",")[column] for key, line in table.items()}
    assert [cells["run", f"{name}_pair"] for name in "acde"] == ["train", "validation", "no", "no"]
    assert {cells[method, f"{name}_pair"] for name in "acde" for method in ("initial", "old")} == {""}


def test_marks_stand_in_tables_alone():
    experiment = Experiment(1, 1, {name: MethodSummary(1, {}, 0) for name in ("run", "other")})
    table = marked(Table(("Dice",), (("run", ("1",)), ("other", ("2",)))), [experiment])
    assert table.markdown()[2:] == ["| run | 1 |", "| other | 2 |"]
    assert np.all([table.marked(name) == name for name in ("run", "other")])
