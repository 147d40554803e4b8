"""One trial: what it measures, how it continues a shorter one, and why it failed."""

import csv
import json
import re
import shutil

import numpy as np
import pytest

from tfreg.config import config_with, dump_config, parse_config
from tfreg.io.formats import write_points, write_volume
from tfreg.io.tables.manifest import PairFiles
from tfreg.runtime.resources import Resources
from tfreg.training.train import train
from tfreg.tuning.trial import TrialTask, continue_run, run_trial, validation_metrics

SETTINGS = {
    "preprocessing": {"network_grid": {"orientation": "RAS", "spacing": 20, "shape": (20, 16, 18)}, "init": "centre"},
    "pairs": {"moving": "inhale", "fixed": "exhale"},
    "model": {
        "encoder_filters": (4,),
        "encoder_dilations": (1,),
        "decoder_filters": (5,),
        "transform": "deformable",
        "integration": "axiswise",
    },
    "training": {"learning_rate": 0.02, "steps_per_epoch": 2, "epochs": 3, "monitor": "val_dice"},
}
ONE_THREAD = Resources(threads=1)


def history_of(run):
    return list(csv.DictReader((run / "history.csv").read_text().splitlines()))


def test_a_continued_run_ends_as_one_that_was_long_from_the_start(data, tmp_path):
    config = parse_config(SETTINGS)
    short = config_with(config, {"training.epochs": 1}, "short")
    train(short, data, tmp_path / "0", resources=ONE_THREAD)
    shutil.copytree(tmp_path / "0", tmp_path / "before")
    outcome = run_trial(TrialTask(config, data, tmp_path / "1", "dice", earlier=tmp_path / "0"), ONE_THREAD)
    assert (outcome.resumed_after_epoch, outcome.epochs) == (1, 3)
    train(config, data, tmp_path / "long", resources=ONE_THREAD)
    for ours, expected in zip(history_of(tmp_path / "1"), history_of(tmp_path / "long"), strict=True):
        for name, value in expected.items():
            assert float(ours[name]) == pytest.approx(float(value), rel=1e-3), name
    best = max(history_of(tmp_path / "1"), key=lambda epoch: float(epoch["val_displacement_dice"]))
    assert outcome.dice == float(best["val_displacement_dice"])
    assert outcome.similarity_loss == float(best["val_warped_loss"])
    assert (tmp_path / "1/config.yaml").read_text() == dump_config(config)
    # The shorter one is left as it was.
    for file in (tmp_path / "before").rglob("*"):
        if file.is_file():
            assert (tmp_path / "0" / file.relative_to(tmp_path / "before")).read_bytes() == file.read_bytes()
    # A trial whose run is finished is measured, not trained.
    times = (tmp_path / "1/report.json").stat().st_mtime_ns
    assert run_trial(TrialTask(config, data, tmp_path / "1", "dice", earlier=tmp_path / "0"), ONE_THREAD) == outcome
    assert (tmp_path / "1/report.json").stat().st_mtime_ns == times


def test_an_interrupted_copy_is_made_again(tmp_path):
    config = parse_config(SETTINGS)
    (tmp_path / "0/state").mkdir(parents=True)
    for name in ("report.json", "last.keras", "model.keras", "state/weights"):
        (tmp_path / "0" / name).write_text(name)
    (tmp_path / ".partial-1").mkdir()
    (tmp_path / ".partial-1/half").write_text("")
    continue_run(tmp_path / "0", tmp_path / "1", config)
    files = {str(path.relative_to(tmp_path / "1")) for path in (tmp_path / "1").rglob("*") if path.is_file()}
    assert files == {"config.yaml", "model.keras", "state/weights"}
    assert not (tmp_path / ".partial-1").exists()


def test_a_training_without_a_finite_loss_says_so(data, tmp_path):
    changes = {"loss.beta": 3e38, "training.epochs": 1, "training.monitor": "val_loss"}  # float32 ends soon above
    config = config_with(parse_config(SETTINGS), changes, "wild")
    error = run_trial(TrialTask(config, data, tmp_path / "0", "similarity_loss"), ONE_THREAD).error
    assert re.search(r"the training diverged in epoch 1: .*loss is (inf|nan)", error)
    assert str(tmp_path) not in error


def test_reasons_name_no_folders(data, tmp_path):
    config = config_with(parse_config(SETTINGS), {"preprocessing.intensity.window": [5e4, 6e4]}, "dark")
    error = run_trial(TrialTask(config, data, tmp_path / "0", "dice"), ONE_THREAD).error
    assert "give another intensity window" in error
    assert str(tmp_path) not in error
    assert str(data.parent) not in error
    (tmp_path / "1").mkdir()
    # What a power loss left of a report is no report: the run is trained.
    for content in ("{}", "{"):
        (tmp_path / "1/report.json").write_text(content)
        error = run_trial(TrialTask(config, data, tmp_path / "1", "dice"), ONE_THREAD).error
        assert "give another intensity window" in error


@pytest.fixture
def saved(pair, tmp_path):
    """A pair on disk with landmarks that lie 3 and 5 mm apart."""
    for name, volume in zip(("fixed", "moving"), pair, strict=True):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
    points = pair[0].lattice.to_world(np.array([[5.0, 6.0, 7.0], [8.0, 9.0, 4.0]]))
    write_points(tmp_path / "fixed.csv", points)
    write_points(tmp_path / "moving.csv", points + np.array([[0, 3, 0], [3, 0, -4]]))
    files = {name: tmp_path / f"{name}.nii.gz" for name in ("fixed", "moving")}
    points = {f"{name}_points": tmp_path / f"{name}.csv" for name in ("fixed", "moving")}
    return PairFiles("p", **files, **points), PairFiles("q", **files)


def test_landmarks_and_folds(saved, tools):
    still = tools.ChosenRun(np.eye(3, 4), scale=0)
    metrics = validation_metrics(still, [saved[0], saved[1]])
    assert metrics == {"tre_mm": pytest.approx(4.0, abs=1e-4), "folding_fraction": 0.0}
    assert validation_metrics(still, [saved[1]])["tre_mm"] is None
    wild = tools.ChosenRun(np.eye(3, 4), scale=6, model={"integration": "axiswise"})
    assert 0.01 < validation_metrics(wild, [saved[1]])["folding_fraction"] < 1
    assert json.dumps(metrics)
