"""Where the real data sets lie, and from where their registrations start.

The volumes lie in the folder that TFREG_DATA names, or in ../shared/data.
"""

import os
import shlex
from pathlib import Path

STARTS = {
    "lung_ct": "centre",
    "lung_mri": "moments",
    "cardiac": "header",
    "hippocampus": "centre",
    "left_atrium": "centre",
    "brain_slabs": "header",
}

# The manifest of each set, and how pairs are made of it.
MANIFESTS = {
    "cardiac": ("subjects.csv", {"split": "validation", "pairs": ["ED:ES"]}),
    "hippocampus": ("subjects.csv", {"split": "validation", "count": 60}),
    "lung_ct": ("pairs.csv", {}),
    "lung_mri": ("subjects.csv", {}),
    "left_atrium": ("pairs.csv", {}),
    "brain_slabs": ("subjects.csv", {"count": 10}),
}

# One volume of each set.
VOLUMES = {
    "lung_ct": "fixed.nii.gz",
    "lung_mri": "0004.nii.gz",
    "cardiac": "patient001_ED.nii.gz",
    "hippocampus": "images/hippocampus_001.nii.gz",
    "left_atrium": "heart1.nii.gz",
    "brain_slabs": "brain01.nii.gz",
}


def data_folder():
    """The folder of the data sets."""
    return Path(os.environ.get("TFREG_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pairs_of(data, count=None):
    """The pairs of a set, a list of `PairFiles`, only so many if a count is given."""
    from tfreg.config import EvaluationOptions
    from tfreg.evaluation.experiments import plan_experiments

    manifest, options = MANIFESTS[data]
    options = {"baselines": ["headers"]} | options | ({} if count is None else {"count": count})
    (pairs,) = plan_experiments(data_folder() / data / manifest, EvaluationOptions(**options), 0).values()
    return pairs


def words_of(options):
    """The words of a command line in which DATA stands for the folder of the data sets."""
    return [word.replace("DATA/", f"{data_folder()}/") for word in shlex.split(options)]
