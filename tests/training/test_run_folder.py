"""A run is gone on with where its config and the content of its data are the same, and its files whole."""

import os
from pathlib import Path

import pytest

from tfreg.config import dump_config, load_written_config, parse_config
from tfreg.errors import InputWarning, UserError
from tfreg.io.digests import file_digest
from tfreg.io.tables.manifest import PairFiles
from tfreg.io.training_report import TrainingReport
from tfreg.training.run_folder import TrainingInputs, check_inputs, check_run, start_run

CONFIG = parse_config({})


@pytest.fixture
def pairs(tmp_path):
    """Three pairs of files."""
    pairs = []
    for name in "abc":
        paths = [tmp_path / f"{name}_{side}.nii" for side in ("fixed", "moving", "labels")]
        for path in paths:
            path.write_text(path.name)
        pairs.append(PairFiles(name, paths[0], paths[1], paths[2], paths[2]))
    return pairs


@pytest.fixture
def run(tmp_path, pairs):
    """A run that was begun with the first two pairs, and validated on the third."""
    folder = tmp_path / "run"
    folder.mkdir()
    start_run(folder, CONFIG, check_inputs(folder, pairs[:2], pairs[2:]))
    return folder


def test_the_same_data_under_other_names(run, pairs, tmp_path):
    check_run(run, CONFIG)
    copies = []
    for pair in pairs:
        paths = {name: path for name, path in vars(pair).items() if isinstance(path, os.PathLike)}
        copied = {name: tmp_path / f"copy_{path.name}" for name, path in paths.items()}
        for name, path in paths.items():
            copied[name].write_bytes(path.read_bytes())
        copies.append(PairFiles(f"copy of {pair.id}", **copied))
    before = (run / "inputs.json").read_text()
    start_run(run, CONFIG, check_inputs(run, copies[:2], copies[2:]))
    assert (run / "inputs.json").read_text() == before


@pytest.mark.parametrize(
    ("training", "validation", "text"),
    [
        ("a", "c", "training"),
        ("ba", "c", "training"),
        ("ab", "b", "validation"),
        ("a", "bc", "training and validation"),
        ("abc", "", "training and validation"),
    ],
)
def test_other_data(run, pairs, training, validation, text):
    by_name = {pair.id: pair for pair in pairs}
    with pytest.raises(UserError, match=f"run: was begun with other {text} pairs, or their files have changed since;"):
        check_inputs(run, [by_name[name] for name in training], [by_name[name] for name in validation])


def test_one_byte_of_one_label(run, pairs):
    pairs[2].moving_labels.write_text("c_labels.nij")
    with pytest.raises(UserError, match="other validation pairs"):
        check_inputs(run, pairs[:2], pairs[2:])


def test_an_older_run_says_nothing_of_its_data(run, pairs):
    earlier = TrainingInputs.read(run / "inputs.json")
    (run / "inputs.json").unlink()
    with pytest.warns(InputWarning, match="run: says nothing of the data that it was begun with"):
        inputs = check_inputs(run, pairs[:2], pairs[2:])
    assert inputs == earlier
    start_run(run, CONFIG, inputs)
    assert TrainingInputs.read(run / "inputs.json") == earlier


@pytest.mark.parametrize("content", ["", "\0\0\0\0", "[]", '{"training"'])
def test_what_a_power_loss_damaged(run, pairs, content):
    (run / "inputs.json").write_text(content)
    with pytest.raises(UserError, match=r"inputs\.json: .*is damaged.*; name another folder, or delete this run"):
        check_inputs(run, pairs[:2], pairs[2:])
    (run / "report.json").write_text(content)
    with pytest.raises(UserError, match=r"report\.json: .*is damaged.*; delete it, and the end"):
        check_run(run, CONFIG)
    (run / "config.yaml").write_text(content)
    text = r"config\.yaml: is empty, as after" if content in ("", "\0\0\0\0") else "is a run with another config"
    with pytest.raises(UserError, match=text):
        check_run(run, CONFIG)


def test_the_config_is_written_last(run):
    """It is what tells a run."""
    assert (run / "config.yaml").read_text() == dump_config(CONFIG)
    assert (run / "inputs.json").stat().st_mtime_ns <= (run / "config.yaml").stat().st_mtime_ns


def test_what_an_earlier_version_wrote_is_read(pairs, tmp_path):
    golden = Path(__file__).parents[1] / "goldens" / "run"
    assert TrainingInputs.read(golden / "inputs.json").training.pairs == 3
    report = TrainingReport.read(golden / "report.json")
    assert report.model_sha256 == file_digest(golden / "model.keras")
    assert report.best["epoch"] == 1
    with pytest.raises(UserError, match="is a finished run"):
        check_run(golden, load_written_config(golden / "config.yaml"))
