"""The README's commands and Python lines run as they stand, and so does `make demo`."""

import os
import re
import shutil
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# A newcomer has more time than a test: fewer subjects, layers and steps, larger voxels, nothing else is changed.
SHORT = (
    "'model.encoder_filters=[4,4]' 'model.encoder_dilations=[1,2]' 'model.decoder_filters=[4]' "
    "training.epochs=1 training.steps_per_epoch=2 training.validation_pairs=1 "
    "preprocessing.network_grid.spacing=15 'preprocessing.network_grid.shape=[24,20,24]'"
)
SHORTER = {
    "--subjects 12 --shape 48 40 48 --spacing 7.5 7.5 7.5": "--subjects 5 --shape 24 20 24 --spacing 15 15 15",
    "subjects.csv --run runs/chests": f"subjects.csv --run runs/chests {SHORT}",
    "--out tuned --trials 8": f"--out tuned --trials 1 {SHORT}",
}


# The sections whose commands build on each other.
SECTIONS = ("Register a pair", "Train on your own volumes", "Measure, serve, classify")


def blocks(language, heading):
    section = re.search(rf"^## {heading}\n(.*?)^## ", README, re.M | re.S)[1]
    return re.findall(rf"```{language}\n(.*?)```", section, re.S)


def ran(commands, folder):
    """What a newcomer's shell writes in a folder, of commands that succeed and of which no library logs anything."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    done = subprocess.run(commands, shell=True, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{commands}\n{done.stderr}"
    assert not re.search(r"^[IWE]\d{4} ", done.stderr, re.M), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the commands of the sections have run."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "configs", folder / "configs")
    for block in (block for section in SECTIONS for block in blocks("bash", section)):
        for text, shorter in SHORTER.items():
            block = block.replace(text, shorter)
        ran(block, folder)
    return folder


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_demo_ends_with_a_picture(tmp_path):
    """`make demo` registers volumes of two million voxels; here, larger voxels."""
    recipe = ["make", "--no-print-directory", "--dry-run", "--old-file=install", "demo"]
    commands = subprocess.run(recipe, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout
    shape = re.search(r"--shape (\d+ \d+ \d+) --spacing [\d.]+ [\d.]+ [\d.]+", commands)
    assert prod(map(int, shape[1].split())) >= 2_000_000
    commands = commands.replace(shape[0], "--shape 24 20 24 --spacing 15 15 15").replace(".venv/bin/", "")
    *_, last = ran(commands, tmp_path).splitlines()
    assert (tmp_path / last.removeprefix("look at ")).suffix == ".png"
    assert (tmp_path / last.removeprefix("look at ")).is_file()


def test_the_commands_leave_what_they_promise(folder):
    listed = re.findall(r"^\| `([\w.]+)` \|", README, re.M)
    assert len(listed) >= 8
    assert {path.name for path in (folder / "first").iterdir()} == set(listed)
    assert {path.name for path in (folder / "result").iterdir()} == set(listed) - {"expected_error.nii.gz"}
    assert (folder / "warped_lungs.nii.gz").is_file()


def test_the_python_lines_run(folder):
    (block,) = blocks("python", "What holds everywhere")
    done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    correlation, point = done.stdout.strip().splitlines()
    assert -1 <= float(correlation) <= 1
    assert len(re.findall(r"-?\d+\.\d*", point)) == 3
    assert {path.name for path in (folder / "in_python").iterdir()} == {
        path.name for path in (folder / "result").iterdir()
    }


def test_every_config_is_described():
    listed = set(re.findall(r"^\| `configs/(\w+\.yaml)` \|", README, re.M))
    assert listed == {path.name for path in (ROOT / "configs").glob("*.yaml")}
