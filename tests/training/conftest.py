"""A manifest that a test changes, and `tfreg train` where it must refuse."""

import sys

import pytest

from tfreg import cli
from tfreg.config import dump_config
from tfreg.io.tables.manifest import read_subjects, write_subjects


@pytest.fixture
def manifest(data, tmp_path):
    """A function that writes the data's manifest with some subjects changed, beside nothing else."""

    def manifest(change):
        subjects = [change(subject) for subject in read_subjects(data)]
        write_subjects(tmp_path / "subjects.csv", [subject for subject in subjects if subject is not None])
        return tmp_path / "subjects.csv"

    return manifest


def refused(capsys, monkeypatch, *arguments):
    """Runs `tfreg train`, which must end with exit code 2 and one line; returns that line."""
    monkeypatch.setattr(sys, "argv", ["tfreg", "train", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [text for text in captured.err.splitlines() if text.startswith("tfreg: ")]
    assert "Traceback" not in captured.err
    return line.removeprefix("tfreg: error: ")


@pytest.fixture
def refusal(capsys, monkeypatch, tmp_path):
    """A function that gives `tfreg train` a config, data and overrides, and returns the line that it refuses with."""

    def refusal(config, data, run, *overrides):
        path = tmp_path / "config.yaml"
        path.write_text(config if isinstance(config, str) else dump_config(config))
        return refused(capsys, monkeypatch, path, *overrides, "--data", data, "--run", run)

    return refusal
