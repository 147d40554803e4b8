"""Files of an earlier version are read, and give the numbers that they gave then."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfreg import load_run, load_transform, read_volume, register
from tfreg.config import TuningOptions, load_config
from tfreg.evaluation.results import read_evaluation
from tfreg.evaluation.write_page import write_cohort_page
from tfreg.registration.page import write_pair_page
from tfreg.registration.registration_report import RegistrationReport
from tfreg.runtime.resources import Resources
from tfreg.tuning.tune import tune

GOLDENS = Path(__file__).parent
NUMBERS = json.loads((GOLDENS / "numbers.json").read_text(encoding="utf-8"))


def files_of_the_pair():
    """`tfreg.register`'s arguments for the person whom the run was not trained on."""
    data, kinds = GOLDENS / "data", {"": "images", "_labels": "labels", "_points": "points"}
    return {
        side + kind: data / folder / f"{NUMBERS['subject']}_{phase}.{'csv' if kind == '_points' else 'nii.gz'}"
        for side, phase in (("fixed", "exhale"), ("moving", "inhale"))
        for kind, folder in kinds.items()
    }


def described(array):
    """Mean, deviation and three values of an array, as `make.py` takes them."""
    flat = np.asarray(array, np.float64).ravel()
    return [flat.mean(), flat.std(), *flat[[17, 1017, 4017]]]


@pytest.fixture
def batch():
    shape = load_run(GOLDENS / "run").config.preprocessing.network_grid.shape
    rng = np.random.default_rng(0)
    return {name: rng.random((1, *shape, 1), np.float32) for name in ("fixed", "moving")}


def test_a_transform_maps_as_it_did():
    with np.load(GOLDENS / "result" / "transform.npz") as archive:
        assert sorted(archive.files) == NUMBERS["archive"]
    transform = load_transform(GOLDENS / "result")[0]
    np.testing.assert_allclose(transform(np.array(NUMBERS["points"])), NUMBERS["mapped"], rtol=0, atol=1e-9)


def test_a_run_registers_as_it_did(batch):
    run = load_run(GOLDENS / "run")
    found = described(run.network.predict_on_batch(batch)["displacement"])
    np.testing.assert_allclose(found, NUMBERS["network_displacement"], rtol=1e-4, atol=1e-5)
    result = register(**files_of_the_pair(), model=run)
    before = RegistrationReport.read(GOLDENS / "result" / "report.json")
    assert result.report.verdict == before.verdict
    for (_, stage), (_, stage_before) in zip(result.report.metrics, before.metrics, strict=True):
        assert stage.mean_dice == pytest.approx(stage_before.mean_dice, abs=2e-3)
        assert stage.correlation == pytest.approx(stage_before.correlation, abs=1e-4)
        assert vars(stage.landmarks) == pytest.approx(vars(stage_before.landmarks), abs=1e-2)
    warped = read_volume(GOLDENS / "result" / "warped.nii.gz").array
    np.testing.assert_allclose(result.warped.array, warped, rtol=0, atol=1e-3 * np.ptp(warped))


def test_a_report_says_what_it_said():
    """In today's words, which call two fields otherwise, and of indicators that are new it knows nothing."""
    text = json.loads((GOLDENS / "result" / "report.json").read_text(encoding="utf-8"))
    report = RegistrationReport.read(GOLDENS / "result" / "report.json")
    assert (report.format, report.parts) == (RegistrationReport.FORMAT, text["transform"])
    assert json.loads(report.quality_indicators.model_dump_json()) == text["trust"] | {
        "rival": None,
        "directions_apart": None,
        "expected_error_mm": None,
        "expected_error": None,
    }
    again = RegistrationReport.parse(json.loads(report.text()), "text")
    assert again == report
    for name in ("versions", "config", "preprocessing", "background", "seconds", "verdict", "seed"):
        assert getattr(report, name) == text[name]


def test_pages_are_made_of_a_result_and_of_an_evaluation(tmp_path):
    for write, name in ((write_pair_page, "result"), (write_cohort_page, "evaluation")):
        page = tmp_path / f"{name}.html"
        write(GOLDENS / name, page)
        assert page.stat().st_size > 10_000


def test_an_evaluation_says_what_it_said():
    summary, measured = read_evaluation(GOLDENS / "evaluation")
    with open(GOLDENS / "evaluation" / "measurements.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (experiment,) = measured
    dice = {(row.pair, row.method): row.metric("dice") for row in measured[experiment]}
    assert len(dice) == len(rows) == 2
    for row in rows:
        assert dice[row["pair"], row["method"]] == pytest.approx(float(row["dice"]), abs=1e-6)
    assert set(summary.experiments[experiment].methods) == {row["method"] for row in rows}


def test_an_export_answers_as_it_did(batch):
    tf = pytest.importorskip("tensorflow")
    model = tf.saved_model.load(str(GOLDENS / "export" / "1"))
    answer = model.signatures["serving_default"](**{name: tf.constant(array) for name, array in batch.items()})
    found = described(answer["displacement"].numpy())
    np.testing.assert_allclose(found, NUMBERS["served_displacement"], rtol=1e-4, atol=1e-5)


def test_a_finished_search_is_known(tmp_path):
    shutil.copytree(GOLDENS / "tuned", tmp_path / "tuned")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "tuned" / "trials").rglob("*") if path.is_file()}
    best = load_config(tmp_path / "tuned" / "best.yaml")
    config = load_config(GOLDENS / "config.yaml")
    options, resources = TuningOptions(tuner="random", trials=2), Resources(threads=1)
    tune(config, GOLDENS / "data" / "subjects.csv", tmp_path / "tuned", options, resources)
    assert load_config(tmp_path / "tuned" / "best.yaml") == best
    assert {path: path.stat().st_mtime_ns for path in before} == before
