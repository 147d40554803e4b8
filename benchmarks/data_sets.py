"""Where the real data sets lie, and from where their registrations start.

The volumes lie in the folder that TFREG_DATA names, or in ../shared/data.
"""

import os
import shlex
from pathlib import Path

STARTS = {"lung_ct": "centre", "lung_mri": "moments", "cardiac": "header", "hippocampus": "centre"}

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


def words_of(options):
    """The words of a command line in which DATA stands for the folder of the data sets."""
    return [word.replace("DATA/", f"{data_folder()}/") for word in shlex.split(options)]
