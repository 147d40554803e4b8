"""`tfreg tune`: a real search that is killed and resumed."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time

import keras
import matplotlib.image
import pytest
from searches import QUICK, table_of

from tfreg.config import TuningOptions, config_with, load_config, parse_config
from tfreg.errors import UserError
from tfreg.runtime.resources import Resources
from tfreg.training.train import train
from tfreg.tuning.tune import tune

COMMAND = [sys.executable, "-c", "from tfreg.cli import main; main()", "tune"]
OPTIONS = ["--tuner", "random", "--trials", "3", "--objective", "loss", "--threads", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def killed(data, tmp_path_factory):
    """A search of three trials whose process was killed in the second, and resumed; and what it left at the kill."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "quick.yaml").write_text(QUICK)
    out = folder / "out"
    command = [*COMMAND, str(folder / "quick.yaml"), "--data", str(data), "--out", str(out), *OPTIONS]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (out / "trials/1/state/epoch-00002").exists():
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    time.sleep(0.5)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert not (out / "trials/1/report.json").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out, before, done.stdout


def test_finished_trials_are_not_run_again(killed):
    out, before, _ = killed
    kept = [path for path in before if path.is_relative_to(out / "trials/0")]
    assert len(kept) > 5
    for path in kept:
        assert path.stat().st_mtime_ns == before[path]
    assert [row["trial"] for row in table_of(out)] == ["0", "1", "2"]
    assert {row["status"] for row in table_of(out)} == {"completed"}


def test_the_interrupted_trial_went_on(killed):
    out, _, _ = killed
    first, second, third = table_of(out)
    assert (first["resumed_after_epoch"], third["resumed_after_epoch"]) == ("", "")
    assert 2 <= int(second["resumed_after_epoch"]) < 4
    epochs = [row["epoch"] for row in csv.DictReader((out / "trials/1/history.csv").read_text().splitlines())]
    assert epochs == ["0", "1", "2", "3"]


def test_the_objective_is_the_similarity_without_penalties(killed):
    out, _, _ = killed
    for row in table_of(out):
        report = json.loads((out / "trials" / row["trial"] / "report.json").read_text())
        history = list(csv.DictReader((out / "trials" / row["trial"] / "history.csv").read_text().splitlines()))
        best = min(history, key=lambda epoch: float(epoch["val_loss"]))
        assert float(row["objective"]) == float(row["similarity_loss"]) == float(best["val_warped_loss"])
        assert float(row["objective"]) < float(best["val_loss"])
        penalty = float(best["val_loss"]) - float(best["val_warped_loss"])
        assert penalty == pytest.approx(float(best["val_gradients_loss"]), rel=1e-3)
        assert float(row["dice"]) == report["best"]["val_displacement_dice"]
        assert int(row["best_epoch"]) == int(best["epoch"]) + 1
        assert float(row["tre_mm"]) > 0
        assert 0 <= float(row["folding_fraction"]) < 1


def test_trials_are_ordinary_runs_of_what_was_drawn(killed):
    out, _, _ = killed
    betas = [float(row["loss.beta"]) for row in table_of(out)]
    assert len(set(betas)) == 3
    for row in table_of(out):
        config = load_config(out / "trials" / row["trial"] / "config.yaml")
        assert config.loss.beta == float(row["loss.beta"])
        assert config.loss.smoothness == float(row["loss.smoothness"])
        assert config.training.monitor == "val_loss"
        assert "search" not in (out / "trials" / row["trial"] / "config.yaml").read_text()


def test_best_yaml_is_the_best_trials_and_trains(killed, data, tmp_path):
    out, _, printed = killed
    best = min(table_of(out), key=lambda row: float(row["objective"]))
    config = load_config(out / "best.yaml")
    assert config == load_config(out / "trials" / best["trial"] / "config.yaml")
    note = (out / "best.yaml").read_text().split("preprocessing:")[0]
    assert f"trial {best['trial']}" in note
    assert f"validation similarity loss {float(best['objective']):.4g}" in note
    assert "tfreg tune quick.yaml --data subjects.csv --out out --tuner random --trials 3 --objective loss" in note
    assert str(out.parent) not in note
    assert all(line.startswith("#") or not line for line in note.splitlines())
    assert printed.rstrip().endswith(f"look at {out / 'search.png'}")

    short = config_with(config, {"training.epochs": 1, "training.steps_per_epoch": 1}, "best.yaml")
    assert train(short, data, tmp_path / "run").epochs == 1


def test_table_and_picture(killed):
    out, _, printed = killed
    text = (out / "tables.md").read_text(encoding="utf-8")
    assert text in printed
    for row in table_of(out):
        assert f"| {row['trial']} | {float(row['loss.beta']):.4g} | {float(row['loss.smoothness']):.4g} |" in text
    assert "resumed after epoch" in text
    picture = matplotlib.image.imread(out / "search.png")
    assert picture.shape[0] > 300
    assert picture.shape[1] > 600
    assert picture[..., :3].std() > 0.05
    assert not [path for path in out.rglob("*") if "partial" in path.name]


def test_another_search_is_refused(killed, data, config, tmp_path):
    out = shutil.copytree(killed[0], tmp_path / "out")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = parse_config({**config.model_dump(exclude_unset=True), "search": {"loss.beta": ["1e-7", "1e-6"]}})
    same = {"config": config, "tuner": "random", "objective": "loss", "seed": 0}
    for change, name in (
        ({"tuner": "bayesian"}, "tuner"),
        ({"objective": "tre"}, "objective"),
        ({"seed": 1}, "seed"),
        ({"config": config_with(config, {"training.epochs": 5}, "a")}, "config"),
        ({"config": other}, "search"),
    ):
        given = same | change
        options = TuningOptions(tuner=given["tuner"], trials=3, objective=given["objective"])
        with pytest.raises(UserError, match=f"was begun with another {name}; name another folder, or start anew"):
            tune(given["config"], data, out, options, Resources(given["seed"]))
    options = TuningOptions(tuner="random", trials=3, objective="loss")
    points = next(data.parent.glob("points/*.csv"))
    content = points.read_text()
    points.write_text(content + "1,2,3\n")
    try:
        with pytest.raises(UserError, match="another data;"):
            tune(config, data, out, options)
    finally:
        points.write_text(content)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("precious")
    for force in (False, True):
        with pytest.raises(UserError, match="holds something else than a search"):
            tune(config, data, tmp_path / "thesis", options, force=force)
    assert (tmp_path / "thesis/chapter.txt").read_text() == "precious"


pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kills what TensorFlow trains")
