"""`tfreg simulate` hands its options on and prints the manifest."""

import json
import shlex
import sys

import pytest

from tfreg import cli
from tfreg.io.formats import read_volume
from tfreg.io.tables.manifest import read_subjects

OPTIONS = shlex.split(
    "--subjects 2 --shape 24 20 22 --spacing 15 16 17 --modality ct --diseased 0.5 --severity 0.2 0.4 "
    "--orientation LPS --splits 0.5 0 0.5 --circular-fov --seed 7 --threads 1"
)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tfreg", "simulate", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_every_option_arrives(tmp_path, monkeypatch, capsys):
    out = tmp_path / "chests"
    assert run(monkeypatch, "--out", out, *OPTIONS) == 0
    assert capsys.readouterr().out == f"{out / 'subjects.csv'}\n"
    assert json.loads((out / "simulation.json").read_text())["arguments"] == {
        "subjects": 2,
        "shape": [24, 20, 22],
        "spacing": [15.0, 16.0, 17.0],
        "modality": "ct",
        "orientation": "LPS",
        "circular_fov": True,
        "diseased": 0.5,
        "severity": [0.2, 0.4],
        "seed": 7,
        "splits": [0.5, 0.0, 0.5],
    }
    subjects = read_subjects(out / "subjects.csv")
    assert read_volume(subjects[0].image).shape == (24, 20, 22)
    before = (out / "simulation.json").read_bytes()

    assert run(monkeypatch, "--out", out, *OPTIONS) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tfreg: error: {out}: already exists")
    assert error.count("\n") == 1
    assert (out / "simulation.json").read_bytes() == before

    assert run(monkeypatch, "--out", out, *OPTIONS, "--seed", 8, "--force") == 0
    assert json.loads((out / "simulation.json").read_text())["arguments"]["seed"] == 8


@pytest.mark.parametrize("option", ["--modality pet", "--threads 0", "--subjects 0", "--severity 0.9 0.1"])
def test_bad_values_end_with_one_line(tmp_path, monkeypatch, capsys, option):
    assert run(monkeypatch, "--out", tmp_path / "chests", *option.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tfreg: error: {option.split()[0]}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
