"""The classical tools by name, with their settings."""

import functools
from dataclasses import dataclass
from typing import Any

from tfreg.evaluation.baselines.ants import syn
from tfreg.evaluation.baselines.demons import demons
from tfreg.evaluation.baselines.elastix import elastix
from tfreg.evaluation.baselines.greedy import greedy


@dataclass(frozen=True)
class Baseline:
    """A tool with its settings.

    Args:
        register: A tool's function, called with fixed, moving, init and threads.
        module: What it imports.
        package: What installs that.
        settings: One line for people.
    """

    register: Any
    module: str
    package: str
    settings: str


BASELINES = {
    "greedy": Baseline(
        functools.partial(greedy, radius=2),
        "picsl_greedy",
        "picsl_greedy",
        "affine, then deformable, local NCC of radius 2, 100x50x10 steps, thin images 100x50, warps not rounded",
    ),
    "greedy_r4": Baseline(
        functools.partial(greedy, radius=4), "picsl_greedy", "picsl_greedy", "greedy with local NCC of radius 4"
    ),
    "syn": Baseline(syn, "ants", "antspyx", "`ants.registration(fixed, moving, 'SyN')`, from the centres of mass"),
    "elastix": Baseline(
        elastix,
        "itk",
        "itk-elastix",
        "its default affine and B-spline maps over three levels; control points 10 mm apart, or five voxels",
    ),
    "demons": Baseline(
        demons,
        "SimpleITK",
        "SimpleITK",
        "SimpleITK's rigid and affine registration by mutual information, then diffeomorphic demons over three levels "
        "of 50 steps on matched histograms",
    ),
}
