"""Calibrates what a network expects of its own error, and measures how well that holds on other pairs.

    python benchmarks/expected_error.py

Random pairs (`pairs: simulated`, configs/pretrain.yaml), whose true displacement is known, are registered by the
weights that ship, with every number of passes up to their schedule's. On half of the pairs, of seeds of their own,
scale and power of `prediction.expected_error` are fitted; on the others true and expected error are compared, decile
by decile of the expected one, at places that both images show. Writes OUT.csv, OUT.md, which holds what belongs into
the config beside the weights, and OUT.png, the reliability curves.
"""

import argparse
import csv
import dataclasses
import os
from pathlib import Path

import numpy as np
from scipy import stats

from tfreg.config import ErrorCalibration, load_config
from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.registration.expected_error import expected_error_of
from tfreg.registration.passes import predict_in_passes, schedule_of
from tfreg.transforms.certificate import certify
from tfreg.transforms.composed_passes import applied
from tfreg.volumes.volume import Volume

OUT = Path("benchmarks/results/expected_error")
# Voxels a side of the pairs' cubes: the schedule has a coarser grid for the larger ones, and none for the smaller.
SIDES = (56, 40)
BATCH = 4
# Places read in each pair, where both images show them.
PLACES = 3000
DECILES = 10
# Parts of the places, ordered by expected error, to whose medians the power is fitted: narrower than deciles.
FIT_PARTS = 50
# What the median of true over expected error must lie between in every decile.
LIMITS = (0.7, 1.4)
# Of the pairs for the fit, and of those for the report.
SEEDS = {"fit": 101, "report": 202}
COLUMNS = ("passes", "certified", "decile", "places", "expected", "true", "ratio", "low", "high")


class Remembering:
    """A network that is run once for what it has seen already: the first passes of several schedules are the same."""

    def __init__(self, run):
        self.run, self.config, self.provenance, self.predicted = run, run.config, run.provenance, {}

    def predict(self, pair):
        key = (pair.lattice.shape, pair.moving.tobytes())
        if key not in self.predicted:
            self.predicted[key] = self.run.predict(pair)
        return self.predicted[key]


def pairs(options, side, count, seed):
    """`(AlignedPair, places (n, 3), their true places)` of random pairs; voxels are mm."""
    from tfreg.simulation.random_pairs.pairs import RandomPairs

    draw, rng = RandomPairs(options, side, BATCH), np.random.default_rng((seed, side))
    for number in range(count // BATCH):
        batch = {name: np.asarray(value) for name, value in draw((seed, number)).items()}
        for fixed, moving, displacement, weight in zip(
            *(batch[name] for name in ("fixed", "moving", "displacement", "weight")), strict=True
        ):
            images = (Volume(image[..., 0], np.eye(4)) for image in (fixed, moving))
            shown = np.argwhere(weight[..., 0] > 0.5)
            places = shown[rng.integers(len(shown), size=PLACES)]
            yield AlignedPair(*images, np.eye(4)), places, places + displacement[tuple(places.T)]


def measured(run, options, count, seed):
    """For every number of passes true and expected error at all places, uncalibrated, and what each pass expects.

    Returns:
        Dictionary of numbers of passes to `Errors`; and of the most passes a list of `AlignedPair`, transform, places
        and their true places.
    """
    most, rows, last = run.config.prediction.passes, {}, []
    for side in SIDES:
        for number, (pair, places, true) in enumerate(pairs(options, side, count, seed)):
            remembering = Remembering(run)
            for passes in range(1, most + 1):
                schedule = schedule_of(run.config, passes)
                transform, _ = predict_in_passes(remembering, pair, run.config.preprocessing, schedule)
                expected = expected_error_of(transform, (ErrorCalibration(),), passes)(places)
                distance = np.linalg.norm(transform(places) - true, axis=-1)
                rows.setdefault(passes, []).append((distance, expected, each_pass(transform, places)))
            last.append((pair, transform, places, true))
            print(f"{side} {number + 1}/{count}: {np.median(distance):.2f}, {np.median(expected):.2f}", flush=True)
    return {passes: Errors(*map(np.stack, zip(*values, strict=True))) for passes, values in rows.items()}, last


def each_pass(transform, places):
    """What each pass expects where it is read, `(passes, n)`, the last pass first."""
    return transform.deformation.expected_errors_at(applied(transform.linear_voxel, transform.lattice.to_voxel(places)))


@dataclasses.dataclass(frozen=True)
class Errors:
    """Of pairs and places: `true` and `expected` `(pairs, n)`, and of the passes `(pairs, passes, n)`."""

    true: np.ndarray
    expected: np.ndarray
    of_passes: np.ndarray | None = None


def parts_of(errors, count):
    """`(true, expected)` of equal parts of the places, ordered by expected error."""
    order = np.argsort(errors.expected, axis=None)
    return [(errors.true.ravel()[part], errors.expected.ravel()[part]) for part in np.array_split(order, count)]


def fitted(errors):
    """The `ErrorCalibration` of some pairs.

    The power is that of the line nearest to the medians of many parts, as logarithms; the scale, that which is too
    small in one decile by the same factor by which it is too large in another.
    """

    def medians(count):
        return np.log([[np.median(values) for values in part] for part in parts_of(errors, count)]).T

    true, expected = medians(FIT_PARTS)
    power = np.polyfit(expected, true, 1)[0]
    true, expected = medians(DECILES)
    apart = true - power * expected
    scale = np.exp((apart.min() + apart.max()) / 2)
    return ErrorCalibration(scale=round(float(scale), 2), power=round(float(power), 2))


def calibrated(errors, calibration):
    """The `Errors` with the expected one calibrated."""
    return Errors(errors.true, calibration.scale * errors.expected**calibration.power)


def certified(transforms, calibrations, passes):
    """The `Errors` of transforms as they are written, damped where they would fold, and how many were."""
    true, expected, damped = [], [], 0
    for pair, transform, places, true_places in transforms:
        kept, _, certificate = certify(transform, pair.fixed.lattice)
        true.append(np.linalg.norm(kept(places) - true_places, axis=-1))
        expected.append(expected_error_of(kept, calibrations, passes)(places))
        damped += certificate.damping < 1
    return Errors(np.stack(true), np.stack(expected)), damped


def rows_of(errors, passes, is_certified):
    """The CSV file's rows of one curve."""
    for number, (true, expected) in enumerate(parts_of(errors, DECILES), 1):
        ratio = true / expected
        low, high = np.percentile(true, (25, 75))
        values = (np.median(expected), np.median(true), np.median(ratio), low, high)
        yield dict(zip(COLUMNS, (passes, is_certified, number, len(true), *(f"{v:.4g}" for v in values)), strict=True))


def correlations(errors):
    """By what the true error is ordered best: (name, Spearman's rho over places, rho of the pairs' medians)."""
    passes = errors.of_passes.shape[1]
    named = {f"pass {passes - number}": errors.of_passes[:, number] for number in range(passes)}
    for name, expected in [*reversed(named.items()), ("all passes, geometric mean", errors.expected)]:
        medians = [np.median(values, axis=1) for values in (errors.true, expected)]
        yield name, stats.spearmanr(errors.true, expected, axis=None).statistic, stats.spearmanr(*medians).statistic


def curve_name(row):
    """What a curve is called."""
    passes = int(row["passes"])
    return f"{passes} pass{'es' * (passes > 1)}" + (", as written" if row["certified"] == "yes" else "")


def table(rows):
    """Lines of Markdown: the ratio in every decile of each curve."""
    names = list(dict.fromkeys(map(curve_name, rows)))
    lines = ["| | " + " | ".join(f"decile {n}" for n in range(1, DECILES + 1)) + " |", "|---" * (DECILES + 1) + "|"]
    for name in names:
        own = [f"{float(row['ratio']):.2f}" for row in rows if curve_name(row) == name]
        lines.append(f"| {name} | {' | '.join(own)} |")
    return lines


def picture(rows, file):
    """The reliability curves: true over expected error, medians and quartiles."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(map(curve_name, rows)))
    figure = Figure(figsize=(3.2 * len(names), 3.6), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), sharex=True, sharey=True), names, strict=True):
        expected, true, low, high = (
            np.array([float(row[key]) for row in rows if curve_name(row) == name])
            for key in ("expected", "true", "low", "high")
        )
        ends = np.array([0.2, 10])
        axis.fill_between(ends, LIMITS[0] * ends, LIMITS[1] * ends, color="0.9")
        axis.plot(ends, ends, color="0.5", linewidth=0.8)
        axis.errorbar(expected, true, (true - low, high - true), fmt="o", markersize=4, linewidth=1)
        axis.set(title=name, xscale="log", yscale="log", xlabel="expected error, voxels")
    figure.axes[0].set_ylabel("true error, voxels: median and quartiles")
    figure.savefig(file, dpi=110)


def text(run, counts, calibrations, order, rows, damped):
    """The Markdown file's lines."""
    ratios = [float(row["ratio"]) for row in rows]
    lines = [
        f"What {run.name} expects of its own error, on simulated pairs: `python benchmarks/expected_error.py` made it.",
        "",
        f"{counts} pairs for the fit and {counts} others for the report, half of them cubes of {SIDES[0]} voxels a "
        f"side, half of {SIDES[1]}. Expected and true error are compared at places that both images show, in voxels of "
        "the network grid. Calibrated: scale * error ** power, where the error is the geometric mean of what the "
        "passes expect.",
        "",
        "```yaml",
        "prediction:",
        "  expected_error:",
        *(f"  - scale: {each.scale}\n    power: {each.power}" for each in calibrations),
        "```",
        "",
        "## Median of true over expected error, in each decile of the expected error",
        "",
        *table(rows),
        "",
        f"From {min(ratios):.2f} to {max(ratios):.2f}; {LIMITS[0]} to {LIMITS[1]} is wanted. As written: tested for "
        f"folds and damped where there were some, which was so for {damped} of {counts} transforms.",
        "",
        f"## By what the error of {run.config.prediction.passes} passes is ordered",
        "",
        "| | Spearman's rho, places | rho of the pairs' medians |",
        "|---|---|---|",
        *(f"| {name} | {places:.3f} | {medians:.3f} |" for name, places, medians in order),
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="weights", help="A run folder, or `weights`.")
    parser.add_argument("--pairs", type=int, default=40, help="Of each side, for the fit, and as many for the report.")
    parser.add_argument("--out", type=Path, default=OUT, help="Without its suffix.")
    arguments = parser.parse_args()

    from tfreg.registration.trained_run import load_run
    from tfreg.runtime.resources import Resources

    Resources(0, int(os.environ.get("OMP_NUM_THREADS", "2")), "cpu").set_up()
    run = load_run(arguments.model)
    options = load_config(Path(__file__).parents[1] / "configs" / "pretrain.yaml").simulated
    fit, _ = measured(run, options, arguments.pairs, SEEDS["fit"])
    calibrations = tuple(fitted(errors) for errors in fit.values())
    report, transforms = measured(run, options, arguments.pairs, SEEDS["report"])
    rows = []
    for (passes, errors), calibration in zip(report.items(), calibrations, strict=True):
        rows += rows_of(calibrated(errors, calibration), passes, "no")
    written, damped = certified(transforms, calibrations, passes)
    rows += rows_of(written, passes, "yes")
    with open(arguments.out.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = text(run, len(transforms), calibrations, list(correlations(report[passes])), rows, damped)
    arguments.out.with_suffix(".md").write_text(lines, encoding="utf-8")
    picture(rows, arguments.out.with_suffix(".png"))
    print(lines)


if __name__ == "__main__":
    main()
