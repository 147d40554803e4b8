"""The pairs that tfreg and its peers register, and how well a displacement does on one of them.

The volumes lie in the folder that TFREG_DATA names, or in ../shared/data.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfreg.io.tables.manifest import pairs_from_subjects, read_pairs, read_subjects
from tfreg.io.transform_archive import load_transform, save_transform
from tfreg.metrics.quality import displacement_quality
from tfreg.registration.image_pair import ImagePair, read_input

HIPPOCAMPUS_PAIRS = 60
ROUND_TRIPS = 10_000


@dataclass(frozen=True)
class DataSet:
    """What all methods are told of a data set.

    Args:
        init: "header", "centre" or "moments", where the registration starts.
        cubes_mm: Side of the cubes that greedy's pyramid needs instead of thin stacks, or None.
    """

    init: str
    cubes_mm: float | None = None


DATA_SETS = {
    "lung_ct": DataSet("centre"),
    "lung_mri": DataSet("moments"),
    "cardiac": DataSet("header", cubes_mm=2.5),
    "hippocampus": DataSet("centre"),
}


def data_folder():
    """The folder of the data sets."""
    return Path(os.environ.get("TFREG_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pairs_of(name):
    """The pairs of a data set, always the same ones in the same order."""
    folder = data_folder() / name
    if name == "lung_ct":
        return read_pairs(folder / "pairs.csv")
    subjects = read_subjects(folder / "subjects.csv")
    if name == "lung_mri":
        return pairs_from_subjects(subjects)
    subjects = [subject for subject in subjects if subject.split == "validation"]
    if name == "cardiac":
        return pairs_from_subjects(subjects, moving_phase="ED", fixed_phase="ES")
    pairs = pairs_from_subjects(subjects)
    return [pairs[number] for number in np.random.default_rng(0).permutation(len(pairs))[:HIPPOCAMPUS_PAIRS]]


def quality(name, pair, fixed, displacement_mm):
    """How well a displacement aligns a pair, and how it treats space.

    Args:
        name: The data set.
        pair: A `PairFiles`.
        fixed: The fixed `Volume`.
        displacement_mm: `(i, j, k, 3)` on the fixed lattice, RAS+ mm, the whole transform.

    Returns:
        Dictionary of `dice` (mean over the labels), `dice_lobes` where there are lobes, `tre_mm` where there are
        landmarks, `folding_fraction`, and `sd_log_jacobian` inside the fixed labels.
    """
    found, _ = displacement_quality(_image_pair(pair, fixed), displacement_mm)
    result = {"dice": found["mean_dice"]}
    if name == "lung_mri":
        found, _ = displacement_quality(_image_pair(_with_lobes(pair), fixed), displacement_mm)
        result["dice_lobes"] = found["mean_dice"]
    if "landmarks" in found:
        result["tre_mm"] = found["landmarks"]["mean_mm"]
    result["folding_fraction"] = found["folding_fraction"]
    result["sd_log_jacobian"] = found["log_jacobian"]["labels"]["sd"]
    return result


def round_trip(transform, fixed, moving):
    """How far points of the fixed image come back from where a transform and then its inverse take them.

    Args:
        transform: A `Transform`.
        fixed, moving: The images' `Lattice`s.

    Returns:
        Dictionary: `round_trip_voxels`, in voxels of the transform's lattice, and `round_trip_mm`, through a
        transform.npz: the largest of `ROUND_TRIPS` random points that the linear part keeps inside the lattice.
    """
    points = fixed.to_world(np.random.default_rng(0).uniform(0, np.array(fixed.shape) - 1, (ROUND_TRIPS, 3)))
    voxels = transform.lattice.to_voxel(points)
    moved = voxels @ transform.linear_voxel[:3, :3].T + transform.linear_voxel[:3, 3]
    points = points[((moved >= 0) & (moved <= np.array(transform.lattice.shape) - 1)).all(axis=-1)]
    back = transform.inverse()(transform(points))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "transform.npz"
        save_transform(file, transform, fixed, moving)
        read, *_ = load_transform(file)
    through_file = read.inverse()(read(points))
    to_voxel = transform.lattice.to_voxel
    return {
        "round_trip_voxels": float(np.linalg.norm(to_voxel(back) - to_voxel(points), axis=-1).max()),
        "round_trip_mm": float(np.linalg.norm(through_file - points, axis=-1).max()),
    }


def _with_lobes(pair):
    """The pair with the segmentations of its lobes."""
    files = (pair.fixed_labels, pair.moving_labels)
    fixed, moving = (file.with_name(file.name.replace("_lungs", "_lobes")) for file in files)
    return replace(pair, fixed_labels=fixed, moving_labels=moving)


def _image_pair(pair, fixed):
    """The files of a pair, read."""
    names = ("moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points")
    files = {name: getattr(pair, name) for name in names if getattr(pair, name) is not None}
    return ImagePair(fixed, **{name: read_input(name, file) for name, file in files.items()})
