"""Evaluations that were begun before files had a format number."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tfreg.config import EvaluationOptions
from tfreg.evaluation.evaluate import evaluate
from tfreg.evaluation.store import ROWS, SETTINGS, read_rows
from tfreg.evaluation.summary import EvaluationSummary
from tfreg.runtime.resources import Resources

GOLDENS = Path(__file__).parents[1] / "goldens"


@pytest.fixture
def golden(tmp_path):
    shutil.copytree(GOLDENS / "evaluation", tmp_path / "evaluation")
    return tmp_path / "evaluation"


def table(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_an_evaluation_goes_on_with_the_rows_that_it_has(golden, monkeypatch):
    """Nothing is measured again, and the tables say what they said."""
    monkeypatch.setattr("tfreg.evaluation.evaluate.in_processes", lambda *_: pytest.fail("measured again"))
    before, tables = read_rows(golden), (golden / "tables.md").read_text(encoding="utf-8")
    measurements = table(golden / "measurements.csv")
    options = EvaluationOptions(models=[GOLDENS / "run"], pairs=["inhale:exhale"], split="test")
    summary = evaluate(GOLDENS / "data" / "subjects.csv", golden, options, Resources(threads=1))
    assert read_rows(golden) == before
    assert (golden / "tables.md").read_text(encoding="utf-8") == tables
    assert [{name: row[name] for name in measurements[0]} for row in table(golden / "measurements.csv")] == measurements
    assert summary.experiments == EvaluationSummary.read(GOLDENS / "evaluation" / "summary.json").experiments
    assert all(json.loads(line)["format"] for line in (golden / ROWS).read_text(encoding="utf-8").splitlines())


def test_what_a_picture_could_not_be_is_a_warning(golden):
    row = json.loads((golden / ROWS).read_text(encoding="utf-8").splitlines()[0])
    (golden / ROWS).write_text(json.dumps(row | {"warning": "p.png could not be drawn"}) + "\n", encoding="utf-8")
    assert read_rows(golden)[0].warnings == ("p.png could not be drawn",)


def test_definitions_of_before_are_those_of_today(golden):
    settings = json.loads((golden / SETTINGS).read_text(encoding="utf-8"))
    settings["methods"]["inter-observer"] = settings["methods"]["initial"] | {"kind": "readers"}
    assert "format" not in settings
    (golden / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
    options = EvaluationOptions(models=[GOLDENS / "run"], refine=True, pairs=["inhale:exhale"], split="test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tfreg.evaluation.evaluate.in_processes",
            lambda function, batches, resources: ((task, task.row(error="-")) for batch in batches for task in batch),
        )
        evaluate(GOLDENS / "data" / "subjects.csv", golden, options, Resources(threads=1))
    settings = json.loads((golden / SETTINGS).read_text(encoding="utf-8"))
    assert settings["methods"]["inter-observer"]["kind"] == "observers"
    assert settings["methods"]["refined"]["options"]["preset"] == "quality"
