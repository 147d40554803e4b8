"""What an evaluation compares besides overlap: other segmentations, time, memory, and the round trip."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from tfreg.config import EvaluationOptions, RegistrationOptions
from tfreg.errors import UserError
from tfreg.evaluation import measure as measuring
from tfreg.evaluation.evaluate import evaluate
from tfreg.evaluation.experiments import plan_experiments
from tfreg.evaluation.measure import Task, digest_of_all, measure
from tfreg.evaluation.methods import Method
from tfreg.evaluation.round_trip import round_trip
from tfreg.runtime.resources import Resources
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

TWO = EvaluationOptions(
    baselines=("headers", "demons"), pairs=("ED:ES",), count=2, labels=("labels", "core"), isolate=True
)


@pytest.fixture(scope="module")
def compared(people, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    return out, evaluate(people / "subjects.csv", out, TWO, Resources(threads=1))


def test_more_segmentations_are_measured_by_the_same_registration(compared):
    out, summary = compared
    (experiment,) = summary.experiments.values()
    for method in (experiment.methods[name] for name in ("headers", "initial", "demons")):
        core = method.segmentations["core"]
        assert core.dice == method.labels["4"].dice
        assert core.hd95_mm == method.labels["4"].hd95_mm
        assert (core.structures, core.lost_structures) == (2, method.labels["4"].lost)
    tests = {(test.metric, test.method): test for test in experiment.comparisons}
    dice = {name: experiment.methods[name].segmentations["core"].dice.mean for name in ("headers", "demons")}
    assert tests["dice of core", "headers"].difference == pytest.approx(dice["headers"] - dice["demons"])
    text = (out / "tables.md").read_text(encoding="utf-8")
    assert "## Overlap of core" in text
    assert "| Dice % of core | p |" in text
    with open(out / "measurements.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] != "inter-observer"]
    assert all(row["dice_of_core"] == row["dice_4"] != "" for row in rows)


def test_changed_segmentations_of_another_column_are_measured_again(people):
    data, whole = people / "subjects.csv", EvaluationOptions(pairs=("ED:ES",), labels=("labels",))
    ((pair, *_),) = plan_experiments(data, whole, 0).values()
    ((other, *_),) = plan_experiments(data, whole.model_copy(update={"labels": ("core",)}), 0).values()
    assert len({digest_of_all(pair, {}), digest_of_all(pair, {"core": other}), digest_of_all(other, {})}) == 3


def test_a_folder_keeps_to_its_segmentations(people, compared):
    with pytest.raises(UserError, match="was begun with labels 'labels,core', not 'labels'"):
        evaluate(people / "subjects.csv", compared[0], TWO.model_copy(update={"labels": ("labels",)}))


def test_headers_move_nothing_and_initial_is_its_equal_here(compared):
    (experiment,) = compared[1].experiments.values()
    assert list(experiment.methods)[:2] == ["headers", "initial"]
    assert experiment.methods["headers"].metrics.dice == experiment.methods["initial"].metrics.dice
    assert experiment.methods["headers"].metrics.log_jacobian_sd.max == 0


def test_time_and_memory_of_each_method(compared):
    out, summary = compared
    (experiment,) = summary.experiments.values()
    demons = experiment.methods["demons"]
    assert summary.reference == "demons"
    assert demons.times_reference == 1
    assert 50 < demons.metrics.own_peak_mb.max < 5000
    assert demons.metrics.first_seconds is None
    assert experiment.methods["headers"].times_reference is None
    assert "| method | s a pair (median) | × demons | s of a first call | peak MB |" in (out / "tables.md").read_text(
        encoding="utf-8"
    )


def test_the_first_call_of_a_process_is_told_apart(people, monkeypatch):
    calls = []

    def register_pair(pair, options, run):
        calls.append(options)
        report = SimpleNamespace(verdict="pass", reasons=(), certificate=SimpleNamespace(certified=False, damping=1.0))
        return SimpleNamespace(displacement_mm=np.zeros((*pair.fixed.shape, 3), np.float32), report=report)

    monkeypatch.setattr("tfreg.registration.register.register_pair", register_pair)
    monkeypatch.setattr(measuring, "set_up_once", lambda resources: None)
    monkeypatch.setattr(measuring, "_called", set())
    ((pair, *_),) = plan_experiments(people / "subjects.csv", EvaluationOptions(pairs=("ED:ES",)), 0).values()
    method = Method("refined", "tfreg", RegistrationOptions(refine=True, init="header"))
    task = Task("e", pair, method, digest_of_all(pair, {}), isolated=True)
    rows = [measure(task, Resources()) for _ in range(2)]
    assert [row.error for row in rows] == [None, None]
    assert rows[0].first_seconds > 0
    assert rows[1].first_seconds is None
    assert len(calls) == 3
    assert all(row.own_peak_mb > 0 for row in rows)


def test_a_shift_comes_back_and_what_leaves_the_lattice_does_not_count():
    lattice = Lattice((12, 14, 16), np.diag([2.0, 1.5, 3, 1]))
    shift = np.eye(4)
    shift[0, 3] = 2.5
    trip = round_trip(Transform.identity(lattice, shift), lattice, lattice)
    assert trip["round_trip_mm"] < 1e-9
    assert trip["round_trip_voxels"] < 1e-9
    elsewhere = Lattice(lattice.shape, np.array(lattice.affine) + 900.0 * np.eye(4, k=3))
    assert round_trip(Transform.identity(lattice, shift), elsewhere, lattice) == {}
