"""What a search varies, what it refuses, and what it makes as good as possible."""

import sys

import keras_tuner
import numpy as np
import pytest

from tfreg import cli
from tfreg.config import Config, config_with, dump_config, load_config, parse_config
from tfreg.errors import UserError
from tfreg.io.tables.manifest import read_subjects, write_subjects
from tfreg.tuning.objectives import OBJECTIVES, check_objective, trial_config
from tfreg.tuning.space import check_space, drawn_values, hyperparameters, searched


def test_alpha_and_beta_on_log_scales_by_default():
    space = searched(Config())
    assert list(space) == ["loss.alpha", "loss.beta"]
    for allowed in space.values():
        assert allowed.scale == "log"
        assert allowed.low <= 1e-6 <= allowed.high  # the paper's


def test_a_penalty_of_a_branch_that_is_not_there_is_not_searched():
    assert list(searched(parse_config({"model": {"transform": "deformable"}}))) == ["loss.beta"]
    assert list(searched(parse_config({"model": {"transform": "linear"}}))) == ["loss.alpha"]
    named = {"model": {"transform": "linear"}, "search": {"loss.beta": {"low": 1, "high": 2}}}
    assert list(searched(parse_config(named))) == ["loss.beta"]


def test_a_run_knows_nothing_of_the_search(tmp_path):
    (tmp_path / "a.yaml").write_text("search: {loss.beta: [1e-7, 1e-6]}\nseed: 3\n")
    config = load_config(tmp_path / "a.yaml")
    assert config.search == {"loss.beta": (1e-7, 1e-6)}
    assert "search" not in dump_config(config)
    assert dump_config(config) == dump_config(parse_config({"seed": 3}))


SPACE = {
    "loss.beta": {"low": 1e-8, "high": "1e-4", "scale": "log"},
    "training.learning_rate": {"low": 0.001, "high": 0.003},
    "training.batch_size": {"low": 1, "high": 3},
    "loss.smoothness": {"low": 0, "high": 1},
    "loss.similarity": ["mse", "lncc"],
    "model.encoder_filters": [[4, 8, 16, 8, 8], [2, 4, 8, 4, 4]],
    "loss.window": [5, 7],
    "preprocessing.network_grid.spacing": [None, 2.5],
}


def test_draws_are_values_of_the_config():
    config = parse_config({"search": SPACE})
    check_space(config, "a.yaml")
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("x", "min"), max_trials=200, hyperparameters=hyperparameters(config), seed=1
    )
    draws = []
    for number in range(200):
        drawn = {**oracle.populate_space(str(number))["values"], "tuner/epochs": 3}
        values = drawn_values(config, drawn)
        assert set(values) == set(SPACE)
        config_with(config, values, "a draw")
        draws.append(values)
    betas = np.log10([values["loss.beta"] for values in draws])
    assert -8 <= betas.min() < -7.8
    assert -4.2 < betas.max() <= -4
    assert abs(np.mean(betas) + 6) < 0.3  # evenly in the logarithm
    rates = np.array([values["training.learning_rate"] for values in draws])
    assert abs(rates.mean() - 0.002) < 0.0001
    assert {values["training.batch_size"] for values in draws} == {1, 2, 3}
    assert len({values["loss.smoothness"] for values in draws}) > 100
    assert {values["loss.similarity"] for values in draws} == {"mse", "lncc"}
    assert {tuple(values["model.encoder_filters"]) for values in draws} == {(4, 8, 16, 8, 8), (2, 4, 8, 4, 4)}
    assert {values["loss.window"] for values in draws} == {5, 7}
    assert {values["preprocessing.network_grid.spacing"] for values in draws} == {None, 2.5}
    assert all(float(f"{values['loss.beta']:.3e}") == values["loss.beta"] for values in draws)


@pytest.fixture
def refusal(data, tmp_path, capsys, monkeypatch):
    """A function that gives `tfreg tune` a config and options, and returns the line that it refuses with."""

    def refusal(content, *options, manifest=data):
        (tmp_path / "a.yaml").write_text(content)
        out = tmp_path / "out"
        command = ["tfreg", "tune", str(tmp_path / "a.yaml"), "--data", str(manifest), "--out", str(out), *options]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert not out.exists()
        return line.removeprefix("tfreg: error: ")

    return refusal


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("{}", "`search`: Dictionary should have at least 1 item"),
        ("7", "`search`: Input should be a valid dictionary"),
        ("{loss.beta: 7}", "`search.loss.beta`: give a range, such as"),
        ("{loss.beta: [1e-7]}", "`search.loss.beta.choices`: Tuple should have at least 2 items"),
        ("{loss.beta: {low: 1e-7}}", "`search.loss.beta.range.high`: Field required"),
        ("{loss.beta: {low: 1, high: 1}}", "`low` must be smaller than `high`"),
        ("{loss.beta: {low: 0, high: 1, scale: log}}", "`low` must be above 0 on a log scale"),
        ("{loss.beta: {low: 0, high: 1, scale: cubic}}", "`search.loss.beta.range.scale`"),
        ("{loss.beta: {low: 0, high: .inf}}", "`search.loss.beta.range.high`"),
        ("{loss.gamma: {low: 1, high: 2}}", "search: unknown key `loss.gamma`"),
        ("{seed.more: {low: 1, high: 2}}", "`seed.more` decides on what trials are measured"),
        ("{phase.more: [1, 2]}", "`phase.more` decides"),
        ("{training.epochs.more: [1, 2]}", "`training.epochs"),
        ("{loss.beta: {low: -1, high: 1}}", "search: `loss.beta`: Input should be greater than or equal to 0"),
        ("{loss.smoothness: [0.1, -0.1]}", "search: `loss.smoothness`"),
        ("{loss.similarity: [mse, sift]}", "search: `loss.similarity`"),
        ("{loss.similarity: {low: 1, high: 2}}", "search: `loss.similarity`"),
        ("{training.batch_size: {low: 1.5, high: 3}}", "search: `training.batch_size`"),
        ("{model.encoder_filters: [[4, 8], [2, 4]]}", "must have the same length"),
        ("{training.monitor: [val_loss, val_dice]}", "`training.monitor` follows from --objective"),
        ("{pairs: [all, images]}", "`pairs` decides on what trials are measured"),
        ("{training.validation_pairs: [1, 2]}", "`training.validation_pairs` decides"),
        ("{search: [1, 2]}", "`search` cannot be searched itself"),
    ],
)
def test_bad_search_blocks(refusal, tmp_path, search, expected):
    line = refusal(f"search: {search}")
    assert line.startswith(str(tmp_path / "a.yaml"))
    assert expected in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--tuner", "grid"], "--tuner grid: choose random, bayesian, hyperband"),
        (["--objective", "speed"], "--objective speed: choose dice, tre, loss"),
        (["--trials", "0"], "--trials 0: give a positive number"),
        (["--workers", "0"], "--workers 0: give a positive number"),
        (["--threads", "0"], "--threads 0: give a positive number"),
        (["--seed", "-1"], "--seed -1: give a number of at least 0"),
        (["--device", "tpu"], "--device tpu: choose cpu or gpu"),
        (["--tuner", "hyperband", "--trials", "3"], "--trials: Hyperband's trials follow"),
        (["--data", "nowhere.csv"], "nowhere.csv: no such file"),
        (["loss.beta"], "an override is key=value"),
    ],
)
def test_bad_options(refusal, options, expected):
    assert expected in refusal("{}", *options)


def test_hyperband_chooses_the_epochs(refusal):
    line = refusal("search: {training.epochs: [1, 2]}", "--tuner", "hyperband")
    assert "chooses training.epochs itself" in line


@pytest.mark.parametrize(
    ("objective", "key", "expected"),
    [
        ("loss", "loss.similarity: [mse, lncc]", "choose dice or tre"),
        ("loss", "loss.window: [5, 7]", "choose dice or tre"),
        ("loss", "preprocessing.interpolation: [linear, cubic]", "choose dice or tre"),
        ("dice", "preprocessing.network_grid.spacing: [2.0, 3.0]", "choose tre"),
    ],
)
def test_metrics_that_cannot_be_compared_are_refused(refusal, objective, key, expected):
    line = refusal(f"search: {{{key}}}", "--objective", objective)
    assert line.startswith(f"--objective {objective}: means another thing for every `{key.split(':')[0]}`")
    assert line.endswith(expected)


@pytest.mark.parametrize(("objective", "column"), [("dice", "labels"), ("tre", "points")])
def test_what_the_objective_needs_must_be_there(refusal, data, tmp_path, objective, column):
    # Only the training subjects keep theirs.
    kept = [s if s.split == "train" else type(s)(**{**vars(s), column: None}) for s in read_subjects(data)]
    write_subjects(tmp_path / "subjects.csv", kept)
    assert column in (tmp_path / "subjects.csv").read_text().splitlines()[0].split(",")
    line = refusal("{}", "--objective", objective, manifest=tmp_path / "subjects.csv")
    assert f"no validation pair has {column}" in line


def test_every_objective_has_its_metric(data):
    assert (OBJECTIVES["dice"].metric, OBJECTIVES["dice"].direction) == ("dice", "max")
    assert (OBJECTIVES["tre"].metric, OBJECTIVES["tre"].direction) == ("tre_mm", "min")
    assert (OBJECTIVES["loss"].metric, OBJECTIVES["loss"].direction) == ("similarity_loss", "min")
    assert trial_config(Config(), "dice").training.monitor == "val_dice"
    assert trial_config(config_with(Config(), {"training.monitor": "val_dice"}, "a"), "loss") == Config()
    narrow = parse_config({"search": {"loss.beta": [1e-7, 1e-6]}})
    assert searched(trial_config(narrow, "dice")) == narrow.search
    for monitor in ("val_loss", "val_dice"):
        config = config_with(Config(), {"training.monitor": monitor}, "a")
        assert trial_config(config, "tre") == config
    with pytest.raises(UserError, match="no validation pair has labels"):
        check_objective("dice", (), [], data)
