"""Measures the linear stage: overlap on left atria of different people, and error against known maps.

    python benchmarks/linear.py

Writes benchmarks/results/linear.md. The data lie where `data_sets` looks for them.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from data_sets import VOLUMES, data_folder
from scipy.spatial.transform import Rotation

from tfreg.config import Preprocessing, refinement_settings
from tfreg.io.formats import read_volume
from tfreg.io.tables.manifest import read_pairs
from tfreg.metrics.overlap import dice_by_label
from tfreg.preprocessing.aligned_pair import AlignedPair, align_pair
from tfreg.refinement.linear_stage import refine_linear
from tfreg.refinement.refine import refine_pair
from tfreg.runtime.resources import Resources
from tfreg.transforms.transform import Transform
from tfreg.volumes.volume import Volume

THREADS = 2
TURN = Rotation.from_rotvec(np.radians(10) * np.array([1, -1, 1]) / np.sqrt(3)).as_matrix()
SHIFT_MM = (6.0, -5.0, 6.2)  # 10 mm


def atria():
    """Lines of a table: the left atria, each from the centres of the fields of view, by the linear part alone."""
    rows = []
    yield from ("| pair | Dice before | after | volume ratio | s |", "|---|---|---|---|---|")
    for pair in read_pairs(data_folder() / "left_atrium" / "pairs.csv"):
        fixed_labels, moving_labels = read_volume(pair.fixed_labels), read_volume(pair.moving_labels)
        preprocessing = Preprocessing().model_copy(update={"init": "centre"})
        aligned = align_pair(read_volume(pair.fixed), read_volume(pair.moving), preprocessing)
        started = time.perf_counter()
        found = refine_linear(aligned).matrix
        seconds = time.perf_counter() - started
        overlaps = []
        for world_map in (aligned.init, found):
            transform = Transform.identity(fixed_labels.lattice, world_map)
            warped = transform.warp(moving_labels, fixed_labels.lattice, "nearest", 0)
            overlaps.append(np.mean(list(dice_by_label(fixed_labels.array, warped.array).values())))
        rows.append((*overlaps, np.linalg.det(found[:3, :3]), seconds))
        yield "| {} | {:.3f} | {:.3f} | {:.2f} | {:.1f} |".format(pair.id, *rows[-1])
    before, after, _, seconds = np.array(rows).T
    yield f"| mean | {before.mean():.3f} | {after.mean():.3f} | | {seconds.mean():.1f} |"
    yield f"\nLeast change of a pair: {(after - before).min():+.3f}."


def known_maps():
    """Lines of a table: a volume against itself, as it is and under a header that was turned and shifted."""
    kinds = ("linear", "fast", "quality")
    yield "| volume | map | " + " | ".join(f"{kind}: mean / largest error, voxels" for kind in kinds) + " |"
    yield "|---|---|" + "---|" * len(kinds)
    for name, file in VOLUMES.items():
        volume = read_volume(data_folder() / name / file)
        fixed = align_pair(volume, volume, Preprocessing()).fixed
        points, centre = fixed.lattice.points(), fixed.lattice.centre_world
        turned = np.eye(4)
        turned[:3, :3], turned[:3, 3] = TURN, centre - TURN @ centre + SHIFT_MM
        for text, right in (("identity", np.eye(4)), ("10°, 10 mm", turned)):
            moving = Volume(fixed.array, right @ fixed.affine)
            cells = []
            for kind in kinds:
                settings = refinement_settings("quality" if kind == "linear" else kind)
                parts = "linear" if kind == "linear" else "both"
                found, _ = refine_pair(AlignedPair(fixed, moving, np.eye(4)), settings, parts)
                errors_mm = found(points) - (points @ right[:3, :3].T + right[:3, 3])
                errors = np.linalg.norm(errors_mm @ np.linalg.inv(fixed.affine[:3, :3]).T, axis=-1)
                cells.append(f"{errors.mean():.3f} / {errors.max():.3f}")
            yield f"| {name} | {text} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/linear.md"))
    arguments = parser.parse_args()
    Resources(0, THREADS, "cpu").set_up()
    lines = ["The linear stage, by `python benchmarks/linear.py`."]
    for title, rows in (
        ("\n## Left atria of different people, by the linear part alone, from the centres\n", atria()),
        ("\n## Volumes against themselves, as they are and under a turned header\n", known_maps()),
    ):
        lines.append(title)
        for line in rows:
            print(line, file=sys.stderr, flush=True)
            lines.append(line)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
