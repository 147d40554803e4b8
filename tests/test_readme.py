"""The README's commands and Python lines run as they stand."""

import os
import re
import shutil
import subprocess
import sys
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


def blocks(language, heading):
    section = re.search(rf"^## {heading}\n(.*?)^## ", README, re.M | re.S)[1]
    return re.findall(rf"```{language}\n(.*?)```", section, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the commands of "Use it" have run."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "configs", folder / "configs")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    for block in blocks("bash", "Use it"):
        for text, shorter in SHORTER.items():
            block = block.replace(text, shorter)
        done = subprocess.run(block, shell=True, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        assert not re.search(r"^[IWE]\d{4} ", done.stderr, re.M), done.stderr  # what libraries log
    return folder


def test_the_commands_leave_what_they_promise(folder):
    listed = re.findall(r"^\| `([\w.]+)` \|", README, re.M)
    assert len(listed) >= 8
    assert {path.name for path in (folder / "result").iterdir()} == set(listed)
    assert (folder / "warped_lungs.nii.gz").is_file()


def test_the_python_lines_run(folder):
    (block,) = blocks("python", "Use it")
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
