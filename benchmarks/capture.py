"""Measures how far apart two images may lie for tfreg and its peers to bring them together.

    python benchmarks/capture.py

One volume of each data set, on at most VOXELS voxels, is moved by known maps of growing size: turned, shifted, both,
scaled, seen in part, deformed, inverted in contrast, and all of it mixed. Every registration starts from the scanner
coordinates, but for tools that know centres of mass alone. It has succeeded where its mean error, over the bright
voxels that both images show, is under two voxels. Writes OUT.csv, one row a registration, OUT.md and OUT.png. Rows that
the CSV file holds are not measured again. The data lie where `data_sets` looks for them.
"""

import argparse
import csv
import functools
import sys
import time
from pathlib import Path

import numpy as np
from csv_rows import read_csv
from data_sets import VOLUMES, data_folder
from scipy.spatial.transform import Rotation

from tfreg.evaluation.baselines.registry import BASELINES
from tfreg.io.formats import read_volume
from tfreg.preprocessing.pyramid import cubes, onto_level
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.resampling import sample
from tfreg.volumes.volume import Volume

THREADS = 2
VOXELS = 100_000
SUCCESS_VOXELS = 2.0
# Voxels are bright above this share of the way from the 1st to the 99th percentile.
BRIGHT = 0.2
# The moving image's voxels are this much larger than the fixed one's, and its noise this share of the range.
COARSER, NOISE = 1.07, 0.01

# What is done to the moving image, its sizes and their unit.
KINDS = {
    "turn": ((0, 15, 30, 45, 60, 90, 135, 180), "degrees, about any axis"),
    "shift": ((15, 30, 45, 60), "% of the field of view"),
    "turn and shift": ((15, 45, 90, 180), "degrees, and 30 % of the field of view"),
    "scale": ((60, 80, 125, 160), "%"),
    "overlap": ((80, 60, 45, 30), "% of the field of view"),
    "deformation": ((5, 10, 15, 25), "% of the size"),
    "inversion": ((0, 30), "degrees, of an image of inverted contrast"),
    "mixture": ((1, 2, 3), "times (15 degrees, 10 % shift, 10 % scale, 15 % cut off, 5 % deformation)"),
}
# Axes and directions that are drawn for each size; a promise is kept for all of them.
DRAWS = {"turn and shift": 4}
PEERS = ("greedy", "syn")
# tfreg's methods, each with its options.
OPTIONS = {f"tfreg, search {search}": {"search": search} for search in ("none", "normal", "wide")}
OPTIONS["tfreg, by mi"] = {"similarity": "mi"}
METHODS = (*OPTIONS, *PEERS)
# What else is far apart is no farther for a wide search; SyN goes by mutual information wherever it is measured.
ONLY = {"tfreg, search wide": ("turn", "shift", "turn and shift"), "tfreg, by mi": ("inversion",)}
TEXTS = ("data", "kind", "method", "verdict", "failure")
COLUMNS = ("data", "kind", "size", "draw", "method", "error_voxels", "seconds", "verdict", "failure")


class KnownMap:
    """A map of the fixed image's world to the moving image's: deformed first, then moved by a matrix.

    Args:
        lattice: The fixed image's `Lattice`.
        matrix: `(4, 4)`.
        amplitude_mm: The largest displacement of the deformation.
        rng: NumPy generator, of the deformation.
    """

    def __init__(self, lattice, matrix, amplitude_mm, rng):
        self.matrix, self.centre = matrix, lattice.centre_world
        directions = _directions(rng, 3)
        self.waves = np.pi / lattice.mean_size_mm * directions
        self.phases = rng.uniform(0, 2 * np.pi, 3)
        self.amplitudes = amplitude_mm * _directions(rng, 1)[0]

    def _pulled(self, points):
        """The deformation's inverse, of slopes below pi times the amplitude by the size, so that it cannot fold."""
        return points + np.sin((points - self.centre) @ self.waves.T + self.phases) * self.amplitudes

    def inverse(self, points):
        """Fixed world points of moving world points `(..., 3)`."""
        inverse = np.linalg.inv(self.matrix)
        return self._pulled(points @ inverse[:3, :3].T + inverse[:3, 3])

    def __call__(self, points):
        """Moving world points of fixed world points `(..., 3)`."""
        deformed, step = points, np.inf
        while np.abs(step).max() > 1e-3:  # it shrinks by a fifth each time, at least
            step = points - self._pulled(deformed)
            deformed = deformed + step
        return deformed @ self.matrix[:3, :3].T + self.matrix[:3, 3]


def _directions(rng, count):
    vectors = rng.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@functools.lru_cache(maxsize=1)
def fixed_image(name):
    """A data set's volume, on cubes if it has more than `VOXELS` voxels, in [0, 1]."""
    volume = read_volume(data_folder() / name / VOLUMES[name])
    low, high = np.percentile(volume.array, (0.1, 99.9))
    volume = volume.with_array(np.clip((volume.array - low) / (high - low), 0, 1).astype(np.float32))
    if volume.array.size <= VOXELS:
        return volume
    lattice = cubes(volume.lattice, VOXELS)
    values, _ = onto_level(volume, lattice)
    return Volume(values, lattice.affine)


def moved(fixed, kind, size, rng):
    """A moving image and its `KnownMap`.

    Args:
        fixed: The fixed `Volume`.
        kind: A name in `KINDS`.
        size: One of its sizes.
        rng: NumPy generator.
    """
    lattice = fixed.lattice
    degrees = {"turn": size, "turn and shift": size, "inversion": size, "mixture": 15 * size}.get(kind, 0)
    shift = {"shift": size / 100, "turn and shift": 0.3, "mixture": 0.1 * size}.get(kind, 0)
    scale = {"scale": size / 100, "mixture": 1.1**size}.get(kind, 1)
    kept = {"overlap": size / 100, "mixture": 1 - 0.15 * size}.get(kind, 1)
    bent = {"deformation": size / 100, "mixture": 0.05 * size}.get(kind, 0)
    sizes_mm = np.array(lattice.shape) * lattice.spacing
    axis, direction = _directions(rng, 2)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix()
    away_mm = lattice.affine[:3, :3] / lattice.spacing @ (direction * shift * sizes_mm)
    matrix[:3, 3] = lattice.centre_world - matrix[:3, :3] @ lattice.centre_world + away_mm
    right = KnownMap(lattice, matrix, bent * float(sizes_mm.mean()), rng)
    # A field of view that keeps a share along one axis, from either end, on voxels of its own.
    begin, share = np.zeros(3), np.ones(3)
    cut = rng.integers(3)
    share[cut], begin[cut] = kept, (1 - kept) * rng.integers(2)
    shape = np.maximum(np.round(np.array(lattice.shape) * share / COARSER), 8).astype(int)
    affine = np.array(lattice.affine)
    affine[:3, :3] *= COARSER
    affine[:3, 3] = lattice.to_world(begin * lattice.shape + (COARSER - 1) / 2)
    places = Lattice(tuple(int(n) for n in shape), matrix @ affine)
    values = sample(fixed.array, lattice.to_voxel(right.inverse(places.points())))
    values = 1 - values if kind == "inversion" else values
    return Volume((values + rng.normal(0, NOISE, values.shape)).astype(np.float32), places.affine), right


def landmarks(fixed, moving, right):
    """The bright fixed voxels that the moving image shows, a mask `(i, j, k)`, and where they lie there, `(n, 3)`."""
    low, high = np.percentile(fixed.array, (1, 99))
    bright = fixed.array > low + BRIGHT * (high - low)
    truth = right(fixed.lattice.points()[bright])
    places = moving.lattice.to_voxel(truth)
    seen = ((places >= -0.5) & (places <= np.array(moving.shape) - 0.5)).all(axis=-1)
    bright[bright] = seen
    return bright, truth[seen]


def registered(method, fixed, moving):
    """A method's displacement, `(i, j, k, 3)` mm, its seconds, and its verdict or nothing."""
    import tfreg

    if method in PEERS:
        return *BASELINES[method].register(fixed, moving, "header", THREADS), ""
    started = time.perf_counter()
    registration = tfreg.register(fixed, moving, preset="fast", init="header", **OPTIONS[method])
    return registration.displacement_mm, time.perf_counter() - started, registration.report.verdict


def cases(names, kinds):
    """Every data set's name, kind, size and number of draw, the data sets first."""
    for name in names:
        for kind in kinds:
            for size in KINDS[kind][0]:
                for draw in range(DRAWS.get(kind, 1)):
                    yield name, kind, float(size), float(draw)


def measure(file, names, kinds, methods):
    """Registers whatever the CSV file does not hold yet."""
    rows = read_csv(file, TEXTS)
    done = {(row["data"], row["kind"], row["size"], row["draw"], row["method"]) for row in rows}
    if not rows:
        file.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for case in cases(names, kinds):
        name, kind, size, draw = case
        wanted = [method for method in methods if kind in ONLY.get(method, KINDS)]
        left = [method for method in wanted if (*case, method) not in done]
        if not left:
            continue
        fixed = fixed_image(name)
        # Equal seeds for all sizes: a curve is one direction, gone further and further.
        seed = (list(VOLUMES).index(name), list(KINDS).index(kind), int(draw))
        moving, right = moved(fixed, kind, size, np.random.default_rng(seed))
        counts, truth = landmarks(fixed, moving, right)
        wanted_mm = truth - fixed.lattice.points()[counts]
        for method in left:
            row = {"data": name, "kind": kind, "size": f"{size:g}", "draw": f"{draw:g}", "method": method}
            try:
                displacement_mm, seconds, verdict = registered(method, fixed, moving)
                errors_mm = np.linalg.norm(displacement_mm[counts] - wanted_mm, axis=-1)
                row["error_voxels"] = f"{errors_mm.mean() / np.cbrt(fixed.spacing.prod()):.4g}"
                row |= {"seconds": f"{seconds:.2f}", "verdict": verdict}
            except Exception as error:  # a tool that gives up has failed at this size
                row["failure"] = f"{type(error).__name__}: {error}".splitlines()[0]
            with open(file, "a", newline="", encoding="utf-8") as stream:
                csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n").writerow(row)
            print(" ".join(row.values()), file=sys.stderr, flush=True)


def succeeded(row):
    """Whether a row's registration has."""
    return row["error_voxels"] is not None and row["error_voxels"] < SUCCESS_VOXELS


def report(rows):
    """The Markdown file's lines."""
    lines = [
        "How far apart two images may lie: registrations that succeed, by size of the known map.",
        "",
        "Command: `python benchmarks/capture.py`",
        "",
        f"One volume of each of {len(VOLUMES)} data sets, on at most {VOXELS:,} voxels. The moving image lies on "
        f"voxels {COARSER} times as large, with noise of {NOISE:.0%}. A registration has succeeded where its mean "
        f"error over the bright voxels that both images show is under {SUCCESS_VOXELS:g} voxels. Turns with shifts are "
        f"drawn {DRAWS['turn and shift']} times for each data set. tfreg with `--preset fast`, both parts, "
        "by local correlation but for the row that says otherwise, SyN by mutual information. All start from the "
        "scanner coordinates, SyN from the centres of mass.",
    ]
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    for kind, (sizes, unit) in KINDS.items():
        lines += ["", f"## {kind.capitalize()}, {unit}", ""]
        lines += ["| | " + " | ".join(f"{size:g}" for size in sizes) + " |", "|---" * (1 + len(sizes)) + "|"]
        for method in (method for method in methods if kind in ONLY.get(method, KINDS)):
            cells = []
            for size in sizes:
                chosen = [row for row in rows if (row["method"], row["kind"], row["size"]) == (method, kind, size)]
                cells.append(f"{sum(map(succeeded, chosen))} of {len(chosen)}" if chosen else "")
            lines.append(f"| {method} | {' | '.join(cells)} |")
    lines += ["", "## Verdicts", "", "| | failures sent to review | successes sent to review |", "|---|---|---|"]
    for method in methods:
        judged = [row for row in rows if row["method"] == method and row["verdict"]]
        cells = []
        for success in (False, True):
            verdicts = [row["verdict"] for row in judged if succeeded(row) == success]
            cells.append(f"{verdicts.count('review')} of {len(verdicts)}")
        if judged:
            lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def chart(rows, file):
    """Curves of success against size, a panel a kind."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.5), layout="constrained")
    panels = figure.subplots(2, -(-len(KINDS) // 2)).ravel()
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    for panel, (kind, (sizes, unit)) in zip(panels, KINDS.items(), strict=False):
        for number, method in enumerate(methods):
            shares = []
            for size in sizes:
                chosen = [row for row in rows if (row["method"], row["kind"], row["size"]) == (method, kind, size)]
                shares.append(np.mean([succeeded(row) for row in chosen]) if chosen else np.nan)
            # A little apart, so that equal curves are all seen.
            style = "-" if method.startswith("tfreg") else "--"
            panel.plot(sizes, 100 * np.array(shares) + number - 2, style, marker="o", markersize=4, label=method)
        panel.set(title=kind, xlabel=unit.split(" (")[0], ylim=(-5, 107))
        if kind == "overlap":
            panel.invert_xaxis()
    for panel in panels[:: -(-len(KINDS) // 2)]:
        panel.set_ylabel("% of the registrations that succeed")
    for panel in panels[len(KINDS) :]:
        panel.axis("off")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(methods))
    figure.savefig(file, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=VOLUMES, default=list(VOLUMES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/capture"))
    arguments = parser.parse_args()

    from tfreg.runtime.resources import Resources

    Resources(0, THREADS, "cpu").set_up()
    measure(arguments.out.with_suffix(".csv"), arguments.data, arguments.kinds, arguments.methods)
    rows = read_csv(arguments.out.with_suffix(".csv"), TEXTS)
    arguments.out.with_suffix(".md").write_text("\n".join(report(rows)) + "\n", encoding="utf-8")
    chart(rows, arguments.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
