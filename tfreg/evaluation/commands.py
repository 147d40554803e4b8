"""Whole commands as methods: from the start of a process to the files that it writes, libraries included."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfreg.evaluation.baselines.greedy import greedy_commands
from tfreg.io.itk_transforms import read_itk_displacement
from tfreg.io.tables.manifest import PairFiles
from tfreg.io.transform_archive import load_transform
from tfreg.runtime.child_process import run_child
from tfreg.runtime.resources import native_threads

# greedy's command lines, without anything of tfreg to load.
GREEDY_ALONE = """
import sys
from picsl_greedy import Greedy3D

tool = Greedy3D()
for command in sys.argv[1:]:
    tool.execute(command)
"""


def tfreg_command(pair: PairFiles, folder: Path, init: str, threads: int) -> tuple[np.ndarray, float, float]:
    """`tfreg register --model none`: images, transforms, their inverse, a Jacobian map and a report.

    Args:
        pair: The files.
        folder: Where to write.
        init: "header", "centre" or "moments".
        threads: How many.

    Returns:
        The displacement, `(i, j, k, 3)` RAS+ mm on the fixed lattice; seconds; and the largest memory in MB.
    """
    words = ["register", "--model", "none", "--init", init, "--threads", threads, "--out", folder / "result"]
    program = Path(sys.executable).with_name("tfreg")
    cost = run_child([program, *words, "--fixed", pair.fixed, "--moving", pair.moving], _environment(threads))
    transform, fixed, _ = load_transform(folder / "result")
    return transform.displacement_mm(fixed), *cost


def greedy_command(pair: PairFiles, folder: Path, init: str, threads: int) -> tuple[np.ndarray, float, float]:
    """greedy's affine, deformable and reslicing command with local NCC of radius 4; arguments and results as above."""
    affine, warp, warped, whole = (
        folder / name for name in ("affine.mat", "warp.nii.gz", "warped.nii.gz", "whole.nii.gz")
    )
    lines = greedy_commands(pair.fixed, pair.moving, affine, warp, 4, init, threads)
    reslice = f"-V 0 -threads {threads} -rf {pair.fixed} -rm {pair.moving} {warped} -r {warp} {affine}"
    alone = [sys.executable, "-c", GREEDY_ALONE]
    cost = run_child([*alone, *lines, reslice], _environment(threads))
    run_child([*alone, f"-V 0 -rf {pair.fixed} -wp 0 -r {warp} {affine} -rc {whole}"])
    return read_itk_displacement(whole), *cost


def _environment(threads):
    return native_threads(threads) | {"TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True)
class WholeCommand:
    """A command with its settings.

    Args:
        run: One of this module's functions.
        module: What it imports.
        package: What installs that.
        settings: One line for people.
    """

    run: Callable[[PairFiles, Path, str, int], tuple[np.ndarray, float, float]]
    module: str
    package: str
    settings: str


COMMANDS = {
    "tfreg_command": WholeCommand(
        tfreg_command,
        "tfreg",
        "tfreg",
        "the whole command `tfreg register --model none`, from its start to its files; it writes the inverse, a "
        "Jacobian map and a report too",
    ),
    "greedy_command": WholeCommand(
        greedy_command,
        "picsl_greedy",
        "picsl_greedy",
        "greedy_r4's whole commands, from their start to their files: affine, deformable, reslicing",
    ),
}
