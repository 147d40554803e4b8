"""Measures `tfreg register`'s verdict as a detector of failed registrations.

    python benchmarks/trust.py
    python benchmarks/trust.py --model weights

Every pair of real volumes is registered as it is and made to fail in five ways, with `--check`: refined, with `--preset
fast`, or by the weights that ship alone. Writes OUT.csv, one row a registration, OUT.md, the tables made of them, and
OUT.png, the ROC curves. Rows that the CSV file holds are not measured again. The data lie where `data_sets` looks for
them.
"""

import argparse
import csv
import dataclasses
import itertools
import os
import sys
from pathlib import Path

import numpy as np
from csv_rows import read_csv
from data_sets import STARTS, data_folder
from schedules import rescheduled
from scipy import stats
from scipy.spatial.transform import Rotation

from tfreg.errors import UserError
from tfreg.io.formats import read_volume
from tfreg.io.tables.manifest import pairs_from_subjects, read_pairs, read_subjects
from tfreg.registration.verdict import LIMITS, LIMITS_OF_AGREEMENT, LIMITS_OF_PREDICTION, exceedance

KINDS = ("good", "wrong organ", "flipped axis", "half missing", "noise", "wrong init")
SHOWN = (*KINDS, "failed as it is")


# A pair made to fail that still aligns its labels this well, compared with the pair as it is, has not failed.
SURVIVES_DICE = 0.1
ALWAYS_FAILED = ("wrong organ", "flipped axis")

# A pair registered as it is has failed where its Dice lies this much below the median of its data set.
FAILED_DICE = 0.2

# Whatever the data set, structures that overlap by less are not aligned, and by more are aligned well.
BAD_DICE, GOOD_DICE = 0.5, 0.8

# Limits are this many times the largest figure of the good pairs for calibration.
MARGIN = 1.25

CARDIAC_PAIRS, HIPPOCAMPUS_PAIRS = 6, 10
HALVES = ("calibration", "report")
# Of eight and of six people, two pairs a half.
ATRIA = {"heart4_to_heart1": 0, "heart6_to_heart4": 0, "heart8_to_heart2": 1, "heart3_to_heart5": 1}
BRAINS = {("01", "02"): 0, ("03", "01"): 0, ("04", "05"): 1, ("06", "04"): 1}
BOOTSTRAPS = 2000
TEXTS = ("data", "half", "pair", "kind", "error")
MEASURED = (*TEXTS, "dice_before", "dice")
# The indicators that a refinement's verdict is drawn from, and a prediction's.
REFINED = tuple(name for name in LIMITS if name != "expected_error")
PREDICTED = tuple(name for name in LIMITS if name not in ("rival", "directions_apart"))


@dataclasses.dataclass(frozen=True)
class Method:
    """How pairs are registered: the command that measures it, what it is called, its files, options and columns."""

    command: str
    title: str
    out: str
    options: dict
    columns: tuple


METHODS = {
    "none": Method(
        "python benchmarks/trust.py",
        "`tfreg register --model none --refine --preset fast`",
        "benchmarks/results/trust",
        {"model": "none", "refine": True, "preset": "fast"},
        (*MEASURED, *REFINED),
    ),
    "weights": Method(
        "python benchmarks/trust.py --model weights",
        "`tfreg register --model weights --no-refine`",
        "benchmarks/results/trust_network",
        {"model": "weights", "refine": False},
        (*MEASURED, *PREDICTED),
    ),
}


def halves():
    """`(data set, half, Pair)` of every good pair; but for lung_mri no subject is in both halves."""
    folder = data_folder()
    for pair in read_pairs(folder / "lung_ct" / "pairs.csv"):
        yield "lung_ct", "report", pair
    # Of three subjects one direction a pair; the first is for calibration.
    pairs = pairs_from_subjects(read_subjects(folder / "lung_mri" / "subjects.csv"))
    for number, pair in enumerate(pair for pair in pairs if str(pair.fixed) < str(pair.moving)):
        yield "lung_mri", HALVES[number > 0], pair
    for pair in read_pairs(folder / "left_atrium" / "pairs.csv"):
        if pair.id in ATRIA:
            yield "left_atrium", HALVES[ATRIA[pair.id]], pair
    for pair in pairs_from_subjects(read_subjects(folder / "brain_slabs" / "subjects.csv")):
        heads = tuple(path.name[len("brain") :].split(".")[0] for path in (pair.fixed, pair.moving))
        if heads in BRAINS:
            yield "brain_slabs", HALVES[BRAINS[heads]], pair
    rng = np.random.default_rng(0)
    for data, count in (("cardiac", CARDIAC_PAIRS), ("hippocampus", HIPPOCAMPUS_PAIRS)):
        subjects = read_subjects(folder / data / "subjects.csv")
        people = rng.permutation(sorted({subject.subject for subject in subjects}))
        for number, half in enumerate(HALVES):
            chosen = [subject for subject in subjects if subject.subject in set(people[number::2])]
            phases = {"moving_phase": "ED", "fixed_phase": "ES"} if data == "cardiac" else {}
            pairs = pairs_from_subjects(chosen, **phases)
            for index in rng.permutation(len(pairs))[:count]:
                yield data, half, pairs[index]


def spoiled(kind, fixed, moving, labels, init, other, rng):
    """A moving image made to fail.

    Args:
        kind: One of `KINDS`.
        fixed, moving: The image `Volume`s.
        labels: The moving image's segmentation.
        init: The name of the data set's initial alignment.
        other: The file of an image of another organ.
        rng: NumPy generator.

    Returns:
        Image, segmentation or None, and arguments of `register` for the initial alignment.
    """
    start = {"init": init}
    if kind == "wrong organ":
        return read_volume(other), None, {"init": "centre"}
    if kind == "flipped axis":
        axis = rng.integers(3)
        image, labels = (volume.with_array(np.flip(volume.array, axis).copy()) for volume in (moving, labels))
        return image, labels, start
    if kind == "half missing":
        axis = rng.integers(3)
        array, middle = moving.array.copy(), moving.shape[axis] // 2
        gone = [slice(None)] * 3
        gone[axis] = slice(0, middle) if rng.random() < 0.5 else slice(middle, None)
        array[tuple(gone)] = array.min()
        return moving.with_array(array), labels, start
    if kind == "noise":
        low, high = np.percentile(moving.array, (1, 99))
        noise = rng.normal(0, 1.5 * (high - low), moving.shape)
        return moving.with_array((moving.array + noise).astype(np.float32)), labels, start
    if kind == "wrong init":
        axis = rng.normal(size=3)
        degrees = rng.uniform(90, 180)
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
        matrix[:3, 3] = moving.lattice.centre_world - matrix[:3, :3] @ fixed.lattice.centre_world
        return moving, labels, {"initial_transform": matrix}
    return moving, labels, start


def measure(file, method, sets, voxels):
    """Registers whatever the CSV file does not hold yet."""
    import tfreg
    from tfreg.runtime.resources import Resources

    Resources(0, int(os.environ.get("OMP_NUM_THREADS", "2")), "cpu").set_up()
    options = dict(method.options)
    if voxels is not None:
        options["model"] = rescheduled(tfreg.load_weights(), voxels)
    pairs = list(halves())
    rows = read_csv(file, TEXTS)
    if rows and rows[0].keys() < set(method.columns):
        sys.exit(f"{file}: lacks the newer indicators; move it away, and all is measured again")
    done = {(row["data"], row["pair"], row["kind"]) for row in rows}
    if not rows:
        file.write_text(",".join(method.columns) + "\n", encoding="utf-8")
    for number, (data, half, pair) in enumerate(pairs):
        others = [p.moving for d, h, p in pairs if d != data and h == half]
        fixed, moving = (read_volume(path) for path in (pair.fixed, pair.moving))
        fixed_labels, labels = (read_volume(path, labels=True) for path in (pair.fixed_labels, pair.moving_labels))
        for index, kind in enumerate(KINDS):
            if data not in sets or (data, pair.id, kind) in done:
                continue
            rng = np.random.default_rng((number, index))
            other = others[rng.integers(len(others))]
            image, image_labels, start = spoiled(kind, fixed, moving, labels, STARTS[data], other, rng)
            row = {"data": data, "half": half, "pair": pair.id, "kind": kind}
            known = {"fixed_labels": fixed_labels, "moving_labels": image_labels}
            if image_labels is None:
                known = {}
            try:
                report = tfreg.register(fixed, image, check=True, **options, **start, **known).report
                row |= {name: value for name, value in report.quality_indicators if name in method.columns}
                row |= {"dice_before": report.metrics.after_init.mean_dice}
                row |= {"dice": report.metrics.after.mean_dice}
            except UserError as error:
                row["error"] = str(error)
            with open(file, "a", newline="", encoding="utf-8") as stream:
                csv.DictWriter(stream, method.columns, restval="", lineterminator="\n").writerow(_rounded(row))
            print(f"{number + 1}/{len(pairs)} {data} {pair.id} {kind}: {_rounded(row)}", flush=True)


def _rounded(row):
    return {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()}


def judged(rows):
    """The rows that count, with `failed` and both scores; and how many of each kind survived."""
    dice = {(row["data"], row["pair"]): row["dice"] for row in rows if row["kind"] == "good"}
    kept, survived = [], dict.fromkeys(KINDS, 0)
    for row in rows:
        if row["error"]:
            continue
        if row["kind"] == "good":
            others = [value for (data, _), value in dice.items() if data == row["data"]]
            failed = row["dice"] < np.median(others) - FAILED_DICE
        else:
            failed = row["kind"] in ALWAYS_FAILED or row["dice"] < dice[row["data"], row["pair"]] - SURVIVES_DICE
            if not failed:
                survived[row["kind"]] += 1
                continue
        row = dict.fromkeys(LIMITS) | row
        times = exceedance(row)
        without = {name: value for name, value in times.items() if name != "inverse_consistency"}
        scores = {"with --check": max(times.values()), "without": max(without.values())}
        kept.append(row | {"failed": failed, "scores": scores})
    return kept, survived


def shown(row):
    """The table's row to which a judged row belongs."""
    return "failed as it is" if row["failed"] and row["kind"] == "good" else row["kind"]


def present(rows):
    """The tables' rows that some judged row belongs to."""
    return [kind for kind in SHOWN if any(shown(row) == kind for row in rows)]


def auc(good, failed):
    """Area under the ROC curve: how often a failed pair's score lies above a good one's, ties counting half."""
    return float(stats.mannwhitneyu(failed, good).statistic / (len(failed) * len(good)))


def interval(rows, name):
    """The AUC's 95 % interval by bootstrap over the pairs, each with all that was made of it."""
    groups = {}
    for row in rows:
        groups.setdefault((row["data"], row["pair"]), []).append(row)
    groups = list(groups.values())
    rng = np.random.default_rng(0)
    values = []
    for _ in range(BOOTSTRAPS):
        drawn = list(itertools.chain.from_iterable(groups[i] for i in rng.integers(len(groups), size=len(groups))))
        values.append(auc(*(_scores(drawn, name, failed) for failed in (False, True))))
    return np.percentile(values, (2.5, 97.5))


def _scores(rows, name, failed):
    return [row["scores"][name] for row in rows if row["failed"] == failed]


def calibrated(rows, names):
    """Limits of some indicators from the good pairs of one half: `MARGIN` times the worst."""
    limits = {}
    for name in names:
        values = [row[name] for row in rows if not row["failed"] and row[name] is not None]
        limits[name] = 1 - MARGIN * (1 - min(values)) if name == "local_correlation" else MARGIN * max(values)
    return limits


def report(rows, method):
    """The Markdown file's lines."""
    names = [name for name in LIMITS if name in method.columns]
    predicts = "expected_error" in names
    refused = [row for row in rows if row["error"]]
    lines = [
        f"{method.title}'s verdict as a detector of failed registrations.",
        "",
        f"Command: `{method.command}`",
        "",
        "Pairs of real volumes as they are, and made to fail: the moving image replaced by one of another organ, "
        "flipped along an axis, emptied in one half, hidden in noise of 1.5 times its range, or started from a "
        "rotation of 90 to 180 degrees. What still aligns its labels within 0.1 of the good pair's Dice has not failed "
        "and is left out (flips and other organs always fail); a pair as it is has failed where its Dice lies 0.2 "
        "below its data set's median. Limits are set on one half of the subjects, as "
        f"{MARGIN} times the worst figure of a good pair, and everything below is measured on the other; lung_mri has "
        "three subjects only, whose three pairs are shared out, and lung_ct one patient, in the reported half. A "
        "score is the largest figure relative to its limit, and asks for a review above 1. Intervals are 95 %, by "
        "bootstrap over pairs.",
        "",
    ]
    calibration, _ = judged([row for row in rows if row["half"] == "calibration"])
    kept, survived = judged([row for row in rows if row["half"] == "report"])
    limits = calibrated(calibration, names)
    lines += ["| figure | limit used | calibrated | worst good, reported half | AUC alone |", "|---" * 5 + "|"]
    for name in names:
        sign = -1 if name == "local_correlation" else 1
        known = [row for row in kept if row[name] is not None]
        values = {failed: [sign * row[name] for row in known if row["failed"] == failed] for failed in (False, True)}
        alone = auc(*([np.nan_to_num(v, nan=np.inf) for v in values[failed]] for failed in (False, True)))
        used = f"{(LIMITS | LIMITS_OF_PREDICTION if predicts else LIMITS)[name]:g}"
        if name in LIMITS_OF_AGREEMENT and not predicts:
            used += f"; {LIMITS_OF_AGREEMENT[name]:g} where both directions agree"
        lines.append(f"| {name} | {used} | {limits[name]:.3g} | {sign * max(values[False]):.3g} | {alone:.3f} |")
    for name in ("with --check", "without"):
        good, failed = (np.array(_scores(kept, name, state)) for state in (False, True))
        low, high = interval(kept, name)
        lines += ["", f"## {name.capitalize()}", ""]
        lines.append(
            f"AUC {auc(good, failed):.3f} ({low:.3f} to {high:.3f}); {(failed > 1).mean():.1%} of {len(failed)} "
            f"failures found, {(good > 1).mean():.1%} of {len(good)} good pairs sent to review."
        )
        lines += ["", "| | " + " | ".join(STARTS) + " |", "|---" * (1 + len(STARTS)) + "|"]
        for kind in present(kept):
            cells = []
            for data in STARTS:
                scores = [row["scores"][name] for row in kept if shown(row) == kind and row["data"] == data]
                cells.append(f"{sum(score > 1 for score in scores)} of {len(scores)}")
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += ["", "## Pairs as they are, all of them, by their own Dice", ""]
    whole = {"under": [], "over": []}
    for row in kept + calibration:
        if row["kind"] == "good" and not BAD_DICE <= row["dice"] <= GOOD_DICE:
            whole["under" if row["dice"] < BAD_DICE else "over"].append(row["scores"]["with --check"] > 1)
    for side, limit in (("under", BAD_DICE), ("over", GOOD_DICE)):
        lines.append(f"- {side} {limit:g}: {sum(whole[side])} of {len(whole[side])} sent to review")
    lines += [
        "",
        "Left out because they had not failed: " + ", ".join(f"{k} {n}" for k, n in survived.items() if n) + ".",
    ]
    lines += [f"Refused with an error instead of a verdict: {len(refused)}."]
    return lines


def picture(rows, file):
    """The ROC curves of the reported half."""
    from matplotlib.figure import Figure

    kept, _ = judged([row for row in rows if row["half"] == "report"])
    figure = Figure(figsize=(8, 4), layout="constrained")
    curve, strip = figure.subplots(1, 2)
    for name, colour in (("with --check", "tab:blue"), ("without", "tab:orange")):
        good, failed = (np.array(_scores(kept, name, state)) for state in (False, True))
        limits = np.concatenate([[-np.inf], np.unique(np.concatenate([good, failed])), [np.inf]])
        found, alarms = ([(scores > limit).mean() for limit in limits] for scores in (failed, good))
        curve.step(alarms, found, where="post", color=colour, label=f"{name}, AUC {auc(good, failed):.3f}")
        curve.plot((good > 1).mean(), (failed > 1).mean(), "o", color=colour)
    curve.set(xlabel="good pairs sent to review", ylabel="failures found", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    curve.legend(loc="lower right")
    rng = np.random.default_rng(0)
    kinds = present(kept)
    for place, kind in enumerate(kinds):
        scores = np.array([row["scores"]["with --check"] for row in kept if shown(row) == kind])
        strip.scatter(np.clip(scores, 1e-2, 1e2), place + rng.uniform(-0.3, 0.3, len(scores)), s=8, alpha=0.6)
    strip.axvline(1, color="black", linewidth=0.8)
    strip.set(xscale="log", xlabel="largest figure, in times its limit (with --check)")
    strip.set_yticks(range(len(kinds)), kinds)
    figure.savefig(file, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=METHODS, default="none", help="none: refined; weights: the network alone.")
    parser.add_argument("--data", nargs="+", choices=STARTS, default=list(STARTS), help="Only these sets.")
    parser.add_argument("--voxels", type=int, help="Of the network grid at most, for a quick look.")
    parser.add_argument("--out", type=Path, help="Path without extension; by default in benchmarks/results.")
    parser.add_argument("--tables-only", action="store_true", help="Make the tables of the rows that are there.")
    arguments = parser.parse_args()
    method = METHODS[arguments.model]
    out = arguments.out or Path(method.out)
    file = out.with_suffix(".csv")
    if not arguments.tables_only:
        measure(file, method, arguments.data, arguments.voxels)
    rows = read_csv(file, TEXTS)
    text = "\n".join(report(rows, method)) + "\n"
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    picture(rows, out.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()
