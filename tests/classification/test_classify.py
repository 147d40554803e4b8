"""`tfreg classify` on simulated chests: registered once, trained, judged on others, and fed bad input."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tfreg.classification.cohort import read_cohort
from tfreg.classification.evaluate import JUDGEMENT, cross_validate, evaluate_classifier
from tfreg.classification.features import residual_mm
from tfreg.classification.predict import predict_health
from tfreg.classification.summary import ClassificationSummary, ClassifierReport
from tfreg.classification.train import train_classifier
from tfreg.classification.trained_classifier import CLASSIFIER
from tfreg.config import Classification, JudgementOptions, SimulationOptions, load_config, parse_section
from tfreg.errors import UserError
from tfreg.io.formats import read_volume, write_volume
from tfreg.io.tables.manifest import read_subjects
from tfreg.io.transform_archive import load_transform
from tfreg.registration import cohort as deformations
from tfreg.registration.cohort import register_subjects
from tfreg.runtime.resources import Resources
from tfreg.simulation.data_set import DATA_SET, simulate

SMALL = {"shape": (30, 24, 28), "spacing": (12.0, 11.5, 12.5), "subjects": 16, "diseased": 0.5}
CONFIG = """
pairs: {moving: inhale, fixed: exhale}
healthy: [healthy]
ill: [fibrosis]
grid: {spacing: 18.0, shape: [20, 16, 20]}
network: {epochs: 40, filters: 4, learning_rate: 1.0e-3}
registration: {parts: deformable, preset: fast}
folds: 3
"""
ONE, TWO = ({"resources": Resources(threads=1, workers=count)} for count in (1, 2))


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    """A training cohort, and two cohorts of the same other people: the ill as stiff as can be, and not at all.

    All are registered at once, by processes that start once.
    """
    folder = tmp_path_factory.mktemp("chests")
    (folder / "classify.yaml").write_text(CONFIG)
    simulate(folder / "train", SimulationOptions(severity=(0.5, 1), seed=1, **SMALL))
    for name, severity in (("strong", 1.0), ("none", 0.0)):
        simulate(folder / name, SimulationOptions(severity=(severity, severity), seed=2, **SMALL))
    people = [
        replace(person, id=f"{name}_{person.id}", subject=f"{name}_{person.subject}")
        for name in ("train", "strong", "none")
        for person in read_subjects(folder / name / "subjects.csv")
    ]
    config = load_config(folder / "classify.yaml", section=Classification)
    register_subjects(people, config.pairs, config.registration, folder / "cache", **TWO)
    return folder


@pytest.fixture(scope="module")
def config(chests):
    return load_config(chests / "classify.yaml", section=Classification)


@pytest.fixture(scope="module")
def classifier(chests, config):
    """A classifier's folder, trained on the training cohort."""
    train_classifier(config, chests / "train" / "subjects.csv", chests / "classifier", chests / "cache", **TWO)
    return chests / "classifier"


def rows_of(path):
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def judged(chests, classifier, name, out, **options):
    """A trained classifier's summary on one of the cohorts."""
    data, cache = chests / name / "subjects.csv", chests / "cache"
    return evaluate_classifier(classifier, data, out, cache, JudgementOptions(**options), **ONE)


def cross_validated(chests, out, *overrides, **options):
    """The summary of a cross-validation of the training cohort."""
    config = load_config(chests / "classify.yaml", overrides, section=Classification)
    data, cache = chests / "train" / "subjects.csv", chests / "cache"
    return cross_validate(config, data, out, cache, JudgementOptions(**options), **ONE)


def test_strong_illness_is_seen_in_people_not_seen_before(chests, classifier, tmp_path):
    summary = judged(chests, classifier, "strong", tmp_path / "strong")
    assert set(summary.methods) == {"network, displacement", "network, log Jacobian", "logistic regression"}
    for method, metrics in summary.methods.items():
        assert metrics.subjects == 16
        assert metrics.auc >= 0.95, method
        assert metrics.p < 0.01
    assert summary.methods["network, displacement"].accuracy >= 0.8
    assert summary.groups["fibrosis"].mean_probability > 0.5 > summary.groups["healthy"].mean_probability
    rows = rows_of(tmp_path / "strong" / "predictions.csv")
    assert len(rows) == 16
    assert {row["ill"] for row in rows if row["group"] == "fibrosis"} == {"1"}
    text = (tmp_path / "strong" / "tables.md").read_text(encoding="utf-8")
    assert "logistic regression" in text
    assert "16 subjects, 8 of them ill; a trained classifier" in text
    assert (tmp_path / "strong" / "report.png").stat().st_size > 10_000
    assert ClassificationSummary.read(tmp_path / "strong" / "summary.json") == summary


def test_no_illness_is_not_seen(chests, classifier, tmp_path):
    summary = judged(chests, classifier, "none", tmp_path / "none")
    for method, metrics in summary.methods.items():
        # Eight and eight people: the area of a guess lies within 0.12 to 0.88 in 99 % of cohorts.
        assert 0.12 < metrics.auc < 0.88, method
        assert metrics.auc_interval[0] < 0.5 < metrics.auc_interval[1]


def test_shuffled_groups_teach_nothing(chests, tmp_path):
    areas = []
    for seed in range(3):
        overrides = (f"seed={seed}", "inputs=[displacement]", "network.epochs=15", "folds=2")
        summary = cross_validated(chests, tmp_path / str(seed), *overrides, shuffled=True)
        assert summary.shuffled
        areas.append([metrics.auc for metrics in summary.methods.values()])
    # Of guesses, the mean of three areas has a deviation of 0.09.
    assert (np.abs(np.mean(areas, axis=0) - 0.5) < 0.25).all()
    assert "control" in (tmp_path / "0" / "tables.md").read_text(encoding="utf-8")


def test_cross_validation_sees_what_is_there(chests, tmp_path):
    summary = cross_validated(chests, tmp_path / "out", "inputs=[log_jacobian]")
    assert summary.source == "3-fold cross-validation"
    assert summary.methods["network, log Jacobian"].auc > 0.8
    assert summary.methods["logistic regression"].auc > 0.8
    assert {row["fold"] for row in rows_of(tmp_path / "out" / "predictions.csv")} == {"1", "2", "3"}


def test_deformations_are_cached_by_content(chests, config, classifier, tmp_path, monkeypatch):
    """Renamed files are known; a changed voxel, other labels and other options are not."""
    registered = []
    monkeypatch.setattr(
        deformations,
        "in_processes",
        lambda function, batches, *_: (
            registered.extend(task for batch in batches for task in batch)
            or [(task, {"error": "not registered here"}) for task in registered]
        ),
    )
    shutil.copytree(chests / "train", tmp_path / "moved")
    table = (tmp_path / "moved" / "subjects.csv").read_text()
    for kind in ("images", "labels"):
        for file in (tmp_path / "moved" / kind).iterdir():
            file.rename(file.with_name(f"x_{file.name}"))
    (tmp_path / "moved" / "subjects.csv").write_text(
        table.replace("images/", "images/x_").replace("labels/", "labels/x_")
    )
    data = tmp_path / "moved" / "subjects.csv"
    cohort = read_cohort(config, data, chests / "cache")
    assert (len(cohort.registered), len(registered)) == (16, 0)
    first = read_subjects(data)[0]
    volume = read_volume(first.image)
    array = volume.array.copy()
    array[3, 4, 5] += 1
    write_volume(first.image, volume.with_array(array))
    cohort = read_cohort(config, data, chests / "cache")
    assert [task.pair.moving_subject for task in registered] == [first.subject]
    assert cohort.failures == {first.subject: "not registered here"}
    for change in ({"preset": "quality"}, {"smoothness": 1.0}, {"parts": "linear"}):
        registered.clear()
        other = config.model_copy(update={"registration": config.registration.model_copy(update=change)})
        with pytest.raises(UserError, match="no pair could be registered; the first: not registered here"):
            read_cohort(other, data, chests / "cache")
        assert len(registered) == 16


def test_a_deformation_is_that_of_the_chest(chests, config, classifier):
    """Against the simulated truth: the residual inside the lungs points as the tissue moved."""
    cohort = read_cohort(config, chests / "train" / "subjects.csv", chests / "cache")
    subject = cohort.registered[0]
    transform, lattice, _ = load_transform(subject.folder)
    residual = residual_mm(transform, np.array(subject.record.initial), lattice)
    labels = read_volume(subject.pair.fixed_labels, labels=True).array > 0
    truth = chests / "train" / "displacement" / f"{subject.subject}_exhale_to_inhale.nii.gz"
    import SimpleITK as sitk

    lps = sitk.GetArrayFromImage(sitk.ReadImage(str(truth))).transpose(2, 1, 0, 3)
    expected = lps * (-1, -1, 1)
    away = np.linalg.norm(residual - expected, axis=-1)[labels]
    moved = np.linalg.norm(expected, axis=-1)[labels]
    assert away.mean() < 0.6 * moved.mean()


def test_one_bad_subject_costs_itself_alone(chests, config, classifier, tmp_path):
    """A truncated image, and one whose phase is missing."""
    data = tmp_path / "some"
    shutil.copytree(chests / "train", data)
    rows = read_subjects(data / "subjects.csv")
    broken = next(row for row in rows if row.group == "healthy")
    broken.image.write_bytes(broken.image.read_bytes()[:500])
    cohort = read_cohort(config, data / "subjects.csv", chests / "cache", **TWO)
    assert list(cohort.failures) == [broken.subject]
    assert broken.image.name in cohort.failures[broken.subject]
    assert len(cohort.registered) == len(cohort.targets) == 15


def tfreg(*words):
    command = [str(Path(sys.executable).with_name("tfreg")), "classify", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def test_the_commands(chests, classifier, tmp_path):
    """What a user types: register, predict and its table, which needs no groups."""
    cached = ("--deformations", chests / "cache", "--threads", "2")
    done = tfreg("register", chests / "classify.yaml", "--data", chests / "train" / "subjects.csv", *cached)
    assert done.returncode == 0, done.stderr
    assert "16 deformations, " in done.stdout
    data = tmp_path / "new.csv"
    lines = rows_of(chests / "strong" / "subjects.csv")
    with data.open("w") as file:
        file.write("id,subject,phase,image,labels\n")
        for row in lines:
            paths = ",".join(str(chests / "strong" / row[name]) for name in ("image", "labels"))
            file.write(f"{row['id']},{row['subject']},{row['phase']},{paths}\n")
    out = tmp_path / "predictions.csv"
    done = tfreg("predict", classifier, "--data", data, "--out", out, *cached)
    assert done.returncode == 0, done.stderr
    predicted = {row["subject"]: row for row in rows_of(out)}
    truth = {row["subject"]: row["group"] for row in lines}
    assert set(predicted) == set(truth)
    right = [(predicted[name]["health"] == "ill") == (group == "fibrosis") for name, group in truth.items()]
    assert np.mean(right) >= 0.8
    for row in predicted.values():
        assert float(row["lowest"]) <= float(row["probability"]) <= float(row["highest"])
        assert row["health"] == ("ill" if float(row["probability"]) >= 0.5 else "healthy")
    again = tfreg("predict", classifier, "--data", data, "--out", out, *cached)
    assert again.returncode == 2
    assert "already exists" in again.stderr


def test_a_saved_classifier_predicts_what_it_was(chests, classifier, config, tmp_path):
    """The same folder, loaded twice, and its table against its report."""
    options = (chests / "strong" / "subjects.csv", tmp_path / "a.csv", chests / "cache")
    first = predict_health(classifier, *options, **TWO)
    shutil.copytree(classifier, tmp_path / "copy")
    second = predict_health(tmp_path / "copy", *options, force=True, **TWO)
    assert first == second
    report = ClassifierReport.read(classifier / "classifier.json")
    assert (report.subjects.healthy, report.subjects.ill) == (8, 8)
    assert report.held_out["displacement"].auc > 0.8
    # A file of before, without a format number.
    content = json.loads((classifier / "classifier.json").read_text())
    del content["format"]
    assert ClassifierReport.parse(content, "classifier.json") == report


def test_it_is_not_judged_by_those_it_was_trained_on(chests, classifier, tmp_path):
    with pytest.raises(UserError, match="the classifier was trained on these very images; give it others"):
        judged(chests, classifier, "train", tmp_path / "out")
    mixed = tmp_path / "mixed.csv"
    rows = ["id,subject,phase,image,labels,group"]
    for name in ("train", "strong"):
        for row in rows_of(chests / name / "subjects.csv"):
            paths = ",".join(str(chests / name / row[kind]) for kind in ("image", "labels"))
            rows.append(f"{name}_{row['id']},{name}_{row['subject']},{row['phase']},{paths},{row['group']}")
    mixed.write_text("\n".join(rows) + "\n")
    summary = evaluate_classifier(classifier, mixed, tmp_path / "out", chests / "cache", **ONE)
    assert summary.seen_in_training == 16
    assert summary.methods["logistic regression"].subjects == 16
    assert "trained on them: 16 subjects" in (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"healthy": ["well"]}, "no subject has group 'well'; there are fibrosis, healthy"),
        ({"ill": ["ILD"]}, "no subject has group 'ILD'"),
        ({"folds": 12}, "8 healthy subjects (healthy), and 12 are needed"),
        ({"pairs": {"moving": "full", "fixed": "exhale"}}, "no volume has phase 'full'"),
        ({"registration": {"model": "nowhere", "refine": False}}, "nowhere: holds no trained model"),
    ],
)
def test_a_config_that_does_not_fit(chests, config, classifier, tmp_path, change, words):
    other = parse_section(Classification, config.model_dump() | change, "test")
    with pytest.raises(UserError) as caught:
        train_classifier(other, chests / "train" / "subjects.csv", tmp_path / "out", chests / "cache", **TWO)
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"healthy": ["A"], "ill": ["A"]}, "A is in `healthy` and in `ill`"),
        ({"healthy": []}, "`healthy`"),
        ({"healthy": ["A"], "folds": 1}, "`folds`"),
        ({"healthy": ["A"], "threshold": 1.0}, "`threshold`"),
        ({"healthy": ["A"], "inputs": []}, "`inputs`"),
        ({"healthy": ["A"], "inputs": ["gradients"]}, "`inputs.0`"),
        ({"healthy": ["A"], "registration": {"refine": False}}, "name a `model`, or say `refine: true`"),
        ({"healthy": ["A"], "registration": {"interpolation": "cubic"}}, "are of warped images; leave them out, none"),
        ({"healthy": ["A"], "grid": {"orientation": "RAX"}}, "three letters"),
        ({"healthy": ["A"], "network": {"units": 3}}, "unknown key `network.units`"),
        ({}, "`healthy`"),
    ],
)
def test_a_config_that_is_wrong(content, words):
    with pytest.raises(UserError) as caught:
        parse_section(Classification, {"pairs": {"moving": "ED", "fixed": "ES"}} | content, "classify.yaml")
    assert words in str(caught.value)


def test_a_config_of_before_is_read():
    """What is `parts` now was `transform`."""
    content = {"pairs": {"moving": "ED", "fixed": "ES"}, "healthy": ["A"]}
    config = parse_section(Classification, content | {"registration": {"transform": "linear"}}, "classify.yaml")
    assert config == parse_section(Classification, content | {"registration": {"parts": "linear"}}, "classify.yaml")
    both = {"registration": {"transform": "linear", "parts": "both"}}
    with pytest.raises(UserError, match="`transform` is the earlier name of `parts`; give one of them"):
        parse_section(Classification, content | both, "classify.yaml")


def test_the_kinds_name_every_file_that_is_written(chests, classifier, tmp_path):
    """With --force these are replaced, and no others."""
    judged(chests, classifier, "strong", tmp_path / "judged")
    for kind, folder in ((CLASSIFIER, classifier), (JUDGEMENT, tmp_path / "judged"), (DATA_SET, chests / "none")):
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert set(kind.own(folder)) == files
        assert kind.own(folder)[-1] == kind.marker


def test_another_process_may_be_quicker(chests, config, tmp_path, monkeypatch):
    """Its deformation of the same images is taken, and not replaced."""
    monkeypatch.setattr(
        deformations, "in_processes", lambda function, batches, _: ((t, function(t, None)) for b in batches for t in b)
    )
    monkeypatch.setattr(deformations, "set_up_once", lambda resources: None)
    subjects = [one for one in read_subjects(chests / "strong" / "subjects.csv") if one.subject == "s001"]
    registration = config.registration.model_copy(update={"refine": False})  # takes no time
    given = (subjects, config.pairs, registration, tmp_path / "cache")
    (first,) = register_subjects(*given)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    cached, answers = deformations._cached, iter([None])
    monkeypatch.setattr(deformations, "_cached", lambda *key: next(answers, cached(*key)))
    (second,) = register_subjects(*given)
    assert second.folder == first.folder
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == before


def test_places_that_do_not_fit(chests, config, classifier, tmp_path):
    data, cache = chests / "train" / "subjects.csv", chests / "cache"
    with pytest.raises(UserError, match="holds no classifier; give a folder that `tfreg classify train` wrote"):
        predict_health(chests / "train", data, tmp_path / "a.csv", cache, **TWO)
    with pytest.raises(UserError, match="already exists"):
        train_classifier(config, data, classifier, cache, **TWO)
    shutil.copytree(classifier, tmp_path / "damaged")
    (tmp_path / "damaged" / "displacement" / "2.keras").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"damaged: cannot be loaded as a classifier"):
        predict_health(tmp_path / "damaged", data, tmp_path / "a.csv", cache, **TWO)
    assert not (tmp_path / "a.csv").exists()
    for place, text in ((tmp_path, "is a folder; name a file"), (tmp_path / "no" / "a.csv", "folder does not exist")):
        with pytest.raises(UserError, match=text):
            predict_health(classifier, data, place, cache, **TWO)
    two = (data.parent / "two.csv", data.read_text().replace("inhale,fibrosis", "inhale,healthy", 1))
    two[0].write_text(two[1])
    with pytest.raises(UserError, match="has two groups; give all its rows the same one"):
        read_cohort(config, two[0], cache, **TWO)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written \(File exists\); choose another --deformations"):
        read_cohort(config, data, tmp_path / "file", **TWO)
    with pytest.raises(UserError, match="no subject has split 'holdout'; choose another --split"):
        read_cohort(config, data, cache, "holdout", **TWO)
