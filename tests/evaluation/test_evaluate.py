"""`tfreg evaluate`: whole runs on small pairs, with bad pairs among them."""

import csv
import json
import shutil
import sys
import warnings

import numpy as np
import pytest

from tfreg import cli
from tfreg.config import EvaluationOptions
from tfreg.errors import InputWarning
from tfreg.evaluation.evaluate import evaluate
from tfreg.evaluation.summary import EvaluationSummary, Seen
from tfreg.io.formats import read_volume, write_points
from tfreg.io.tables.manifest import PairFiles
from tfreg.io.tables.training_people import TrainingPeople
from tfreg.metrics.overlap import dice_by_label
from tfreg.metrics.quality import LabelQuality, Quality
from tfreg.runtime.resources import Resources


def test_every_method_has_its_row_in_both_experiments(evaluated):
    out, summary = evaluated
    assert set(summary.experiments) == {"within subjects, ED to ES", "all combinations, ED"}
    for part in summary.experiments.values():
        methods = part.methods
        assert list(methods) == [
            "initial",
            "tiny-linear",
            "tiny",
            "refined-linear",
            "refined",
            "demons",
            "inter-observer",
        ]
        assert methods["refined"].metrics.dice.mean > methods["initial"].metrics.dice.mean
        # The untrained network moves nothing.
        for name in ("tiny", "tiny-linear"):
            assert methods[name].metrics.dice == methods["initial"].metrics.dice
            assert methods[name].metrics.tre_mm == methods["initial"].metrics.tre_mm
        assert methods["inter-observer"].metrics.tre_mm.mean == pytest.approx(3.0)
        assert methods["inter-observer"].metrics.dy_mm.mean == pytest.approx(2.0)
        assert methods["refined"].certified == methods["refined"].measured
        assert methods["demons"].certified is None
        assert methods["refined"].metrics.round_trip_mm.max < 1e-6
        assert methods["demons"].metrics.round_trip_mm is None
        assert methods["refined"].times_reference == 1
        assert methods["demons"].times_reference > 0
        assert methods["refined"].metrics.seconds.mean > 0
    text = (out / "tables.md").read_text(encoding="utf-8")
    assert "## Table 1: overlap" in text
    assert "‡ tiny: its folder holds no subjects.json" in text
    assert "| tiny ‡ |" in text
    assert "## Table 2: landmark errors, mm (within subjects, ED to ES)" in text
    assert "| inter-observer | 1.00 | 2.00 | 2.00 | 3.00 |" in text


def test_one_unreadable_image_fails_alone(evaluated, people):
    out, summary = evaluated
    pairs = {row["pair"] for row in csv.DictReader((out / "measurements.csv").read_text(encoding="utf-8").splitlines())}
    touched = {pair for pair in pairs if "p3_ED" in pair}
    assert touched
    for part in summary.experiments.values():
        for name in ("initial", "refined", "demons"):
            failures = part.methods[name].failures
            assert set(failures) == {pair for pair in touched if pair in failures}
            assert all("p3_ED.nii.gz" in text and str(people) not in text for text in failures.values())
            assert part.methods[name].measured + len(failures) == part.pairs
    failed = sum(len(part.methods["demons"].failures) for part in summary.experiments.values())
    assert failed == len(touched)
    assert "demons failed on p3_ED_to_" in (out / "tables.md").read_text(encoding="utf-8")


def test_the_files_say_the_same(evaluated):
    out, summary = evaluated
    assert EvaluationSummary.read(out / "summary.json").text() == summary.text()
    assert summary.versions["tfreg"]
    rows = list(csv.DictReader((out / "measurements.csv").read_text(encoding="utf-8").splitlines()))
    means = [
        float(row["dice"])
        for row in rows
        if row["method"] == "refined" and row["experiment"].startswith("within") and not row["error"]
    ]
    part = summary.experiments["within subjects, ED to ES"].methods["refined"]
    assert np.mean(means) == pytest.approx(part.metrics.dice.mean, abs=1e-5)
    good = next(row for row in rows if row["method"] == "refined" and not row["error"])
    assert (out / "pictures" / f"{good['pair']}.png").stat().st_size > 5000
    assert float(good["dice_4"]) > 0.3
    assert good["verdict"] in ("pass", "review")


def test_the_initial_dice_is_that_of_the_labels_as_they_lie(evaluated, people):
    _, summary = evaluated
    part = summary.experiments["within subjects, ED to ES"]
    dice = part.methods["initial"].metrics.dice
    values = []
    for number in (1, 2, 4, 5, 3):
        labels = [read_volume(people / f"p{number}_{phase}_labels.nii.gz", labels=True).array for phase in ("ES", "ED")]
        values.append(np.mean(list(dice_by_label(*labels).values())))
    assert min(values) <= dice.min <= dice.mean <= dice.max <= max(values)


def test_again_nothing_is_measured_but_what_failed(evaluated, people):
    out, _ = evaluated
    before = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    summary = evaluate(
        people / "subjects.csv",
        out,
        EvaluationOptions(
            baselines=("demons",), pairs=("ED:ES", "all:ED"), split="validation", count=4, reference="demons"
        ),
        Resources(threads=1),
    )
    after = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert after[: len(before)] == before
    now = {(r["experiment"], r["pair"], r["method"]): r for r in after}
    assert len(now) == len(before)
    for old in before:
        new = now[old["experiment"], old["pair"], old["method"]]
        if "p3_ED" not in old["pair"]:
            assert new == old
        elif old["method"] in ("initial", "demons"):
            assert "error" not in new  # the file is whole again
    assert "refined" in summary.experiments["within subjects, ED to ES"].methods


def test_people_of_the_training_are_marked(people, evaluated, tmp_path, monkeypatch):
    """A run that saw p1's images under another name, and told of it only after a first evaluation."""
    shutil.copytree(evaluated[0].parent / "tiny", tmp_path / "run")
    quality = Quality({"1": LabelQuality(0.5)})
    monkeypatch.setattr(
        "tfreg.evaluation.evaluate.in_processes",
        lambda function, batches, *_: ((task, task.row(quality=quality)) for batch in batches for task in batch),
    )

    def again():
        out, options = tmp_path / "out", {"split": "validation", "pairs": ("ED:ES",)}
        summary = evaluate(people / "subjects.csv", out, EvaluationOptions(models=[tmp_path / "run"], **options))
        rows = list(csv.DictReader((out / "measurements.csv").read_text(encoding="utf-8").splitlines()))
        told = {row["fixed_subject"]: row["seen_in_training"] for row in rows if row["method"] == "run"}
        return next(iter(summary.experiments.values())).methods["run"].seen, told

    seen, told = again()
    assert (seen.unknown, set(told.values())) == (True, {""})
    shutil.copy(people / "p1_ED.nii.gz", tmp_path / "other.nii.gz")
    trained_on = [PairFiles("q", tmp_path / "other.nii.gz", tmp_path / "none.nii", fixed_subject="somebody")]
    TrainingPeople.of_pairs(trained_on, []).save(tmp_path / "run")
    with pytest.warns(InputWarning, match="run was trained on 1 of the 5 people here: p1;"):
        seen, told = again()
    assert seen == Seen(people=5, train=1, validation=0, unknown=False)
    assert told == {"p1": "train", "p2": "no", "p3": "no", "p4": "no", "p5": "no"}
    assert "† run was trained on 1 of the 5 people" in (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--workers", "0"], "--workers 0: give a positive number"),
        (["--init", "magic"], "--init magic: choose header, centre, moments"),
        (["--baselines", "warp9"], "--baselines warp9: choose greedy"),
        (["--refine", "--similarity", "likeness"], "--similarity likeness: give mse"),
        (["--labels", "tumours"], "column tumours is missing"),
        (["--model", "nowhere"], "nowhere: holds no trained model"),
    ],
)
def test_bad_options_get_one_line(demons_command, tmp_path, monkeypatch, capfd, options, text):
    monkeypatch.setattr(sys, "argv", ["tfreg", *demons_command(tmp_path / "out", *options)[1:]])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capfd.readouterr().err
    assert ended.value.code == 2
    assert text in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_doubtful_landmarks_are_told(people, tmp_path):
    for number in (1, 2):
        points = np.loadtxt(people / f"p{number}_ED.csv", delimiter=",", skiprows=1)
        write_points(tmp_path / f"{number}.csv", points * ([-1, -1, 1] if number == 1 else 1))
    rows = [f"a,{people}/p1_ED.nii.gz,{people}/p2_ED.nii.gz,1.csv,2.csv"]
    (tmp_path / "pairs.csv").write_text("\n".join(["id,fixed,moving,fixed_points,moving_points", *rows]) + "\n")
    with pytest.warns(InputWarning, match=r"pair a: fixed points: 4 of 4 points .* may be LPS") as caught:
        evaluate(
            tmp_path / "pairs.csv", tmp_path / "out", EvaluationOptions(baselines=("demons",)), Resources(threads=1)
        )
    assert len(caught) == 1
    with open(tmp_path / "out" / "measurements.csv", encoding="utf-8") as file:
        assert all("may be LPS" in row["warnings"] for row in csv.DictReader(file))
