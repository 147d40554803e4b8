"""The comparison's CSV file, one row a pair and method, and the tables made of it."""

import csv
import statistics

import numpy as np
from csv_rows import read_csv

COLUMNS = (
    "data",
    "method",
    "pair",
    "run",
    "version",
    "seconds",
    "first_call_seconds",
    "peak_mb",
    "dice",
    "dice_lobes",
    "tre_mm",
    "folding_fraction",
    "sd_log_jacobian",
    "certified",
    "damping",
    "round_trip_voxels",
    "round_trip_mm",
    "error",
)
TEXTS = ("data", "method", "pair", "run", "version", "error")

# What Dice and times are compared with.
OURS = "tfreg_quality"
CLOCK = "greedy_r4"

CAPTIONS = {
    "lung_ct": "Baseline and follow-up CT of one patient, one lung, 51 landmarks.",
    "lung_mri": "Proton MRI, all ordered pairs of three subjects. Dice of the two lungs and of the five lobes.",
    "cardiac": "End-diastole to end-systole within the patients of the validation split. greedy runs on volumes "
    "resampled to 2.5 mm cubes, which its pyramid needs on thin stacks; all are measured on the slices as they are.",
    "hippocampus": "Random ordered pairs of different subjects of the validation split (seed 0).",
    "cold": "Whole commands on the pair of lung_ct, each in a process of its own, from start to written files: "
    "`tfreg register --model none --refine --preset quality --init centre`, and greedy's affine, deformable and "
    "reslicing step. tfreg also writes the inverse, the composite, a Jacobian map and a report.",
}
SETTINGS = (
    "- headers, initial: no registration, and the initial alignment alone.",
    "- greedy_r4, greedy_r2: affine, then deformable, local NCC of radius 4 and 2, 100x50x10 steps, warps not rounded.",
    "- syn: `ants.registration(fixed, moving, 'SyN')`.",
    "- elastix: its default affine and B-spline maps over three levels; control points 10 mm apart, or five voxels.",
    "- demons: SimpleITK's rigid and affine registration by mutual information, then diffeomorphic demons over three "
    "levels of 50 steps on matched histograms.",
    "- tfreg_fast, tfreg_quality: `tfreg.register(fixed, moving, refine=True, preset=...)`, without a network.",
)
STARTS = {
    "lung_ct": "centres of the fields of view",
    "lung_mri": "centres of mass (greedy: centres of the fields of view)",
    "cardiac": "headers",
    "hippocampus": "centres of the fields of view",
}


def read_rows(path):
    """The rows of the CSV file by (data, method, pair); empty where there is none."""
    rows = read_csv(path, TEXTS)
    return {(row["data"], row["method"], row["pair"]): row for row in rows}


def write_rows(path, rows):
    """Writes what `read_rows` reads."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows.values():
            writer.writerow({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items() if v is not None})


def tables(rows, data_sets, methods):
    """Markdown lines.

    Args:
        rows: Dictionary as from `read_rows`.
        data_sets, methods: Names, in the tables' order.
    """
    lines = []
    for data in data_sets:
        by_method = {name: {k[2]: row for k, row in rows.items() if k[:2] == (data, name)} for name in methods}
        by_method = {name: pairs for name, pairs in by_method.items() if pairs}
        if by_method:
            table = _cold_table if data == "cold" else _table
            lines += [f"## {data}", "", _caption(data, by_method), "", *table(by_method), ""]
            notes = [line for name, pairs in by_method.items() for line in _notes(name, pairs)]
            lines += [*notes, ""] if notes else []
    return lines


def _caption(data, by_method):
    """What the table shows, from where all start, and whether it mixes runs."""
    caption = CAPTIONS[data]
    if data in STARTS:
        caption += f" All start from the {STARTS[data]}; antspyx, as it comes, from the centres of mass."
    runs = sorted({row["run"] for pairs in by_method.values() for row in pairs.values()})
    if len(runs) > 1:
        caption += f" Rows of {len(runs)} runs ({', '.join(runs)}); times are compared within a run only."
    return caption


def _table(by_method):
    """The table of a data set."""
    sets = [key for key in ("dice", "dice_lobes") if any(_values(pairs, key) for pairs in by_method.values())]
    has_landmarks = any(_values(pairs, "tre_mm") for pairs in by_method.values())
    titles = {"dice": "Dice", "dice_lobes": "Dice of lobes"}
    header = ["method", "pairs"]
    for key in sets:
        header += [titles[key], f"less {OURS}'s"]
    header += ["TRE mm"] * has_landmarks
    header += ["pairs that fold", "folded voxels", "SD log J", "median s", f"× {CLOCK}", "peak MB"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for name, pairs in by_method.items():
        good = len(_good(pairs))
        cells = [name, str(good) if good == len(pairs) else f"{good} of {len(pairs)}"]
        for key in sets:
            cells += [_mean(pairs, key, "{:.3f}"), _difference(pairs, by_method.get(OURS, {}), key)]
        if has_landmarks:
            cells.append(_mean(pairs, "tre_mm", "{:.2f}"))
        cells += [
            str(sum(value > 0 for value in _values(pairs, "folding_fraction"))),
            _mean(pairs, "folding_fraction", "{:.3%}"),
            _mean(pairs, "sd_log_jacobian", "{:.3f}"),
            *_clock_cells(pairs, by_method),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cold_table(by_method):
    """The table of whole commands."""
    lines = [f"| method | s | × {CLOCK} | peak MB |", "|---|---|---|---|"]
    return lines + [f"| {' | '.join([name, *_clock_cells(pairs, by_method)])} |" for name, pairs in by_method.items()]


def _clock_cells(pairs, by_method):
    """Median seconds, their ratio to greedy's on the same pairs in the same run, and the highest peak memory."""
    seconds, peaks = _values(pairs, "seconds"), _values(pairs, "peak_mb")
    clock = _good(by_method.get(CLOCK, {}))
    shared = [(row, clock[p]) for p, row in _good(pairs).items() if p in clock and clock[p]["run"] == row["run"]]
    ratio = "–"
    if shared and len(shared) == len(seconds):
        ours, theirs = (statistics.median(row["seconds"] for row in side) for side in zip(*shared, strict=True))
        ratio = f"{ours / theirs:.2f}"
    return f"{statistics.median(seconds):.2f}" if seconds else "–", ratio, f"{max(peaks):.0f}" if peaks else "–"


def _difference(pairs, ours, key):
    """Mean difference to our values on the same pairs, with its standard error; nothing for our own."""
    shared = _good(pairs).keys() & _good(ours).keys()
    if not shared or pairs is ours:
        return "–"
    found = [pairs[pair][key] - ours[pair][key] for pair in sorted(shared)]
    error = f" ± {np.std(found, ddof=1) / len(found) ** 0.5:.3f}" if len(found) > 1 else ""
    return f"{np.mean(found):+.3f}{error}"


def _notes(name, pairs):
    """Lines on tfreg's certificates and first call, and on the pairs that failed."""
    damping, first = _values(pairs, "damping"), _values(pairs, "first_call_seconds")
    if damping:
        certified = f"{sum(_values(pairs, 'certified')):.0f} of {len(damping)} certified"
        began = f"; first call of the process {first[0]:.1f} s" if first else ""
        trips = [_values(pairs, key) for key in ("round_trip_voxels", "round_trip_mm")]
        returned = ""
        if all(trips):
            returned = (
                f"; there and back again points miss by at most {max(trips[0]):.1e} voxels, and {max(trips[1]):.1e} mm "
                "through transform.npz"
            )
        yield f"- {name}: {certified}, least damping {min(damping):.3f}{began}{returned}."
    for pair, row in pairs.items():
        if row.get("error"):
            yield f"- {name} failed on {pair}: {row['error']}"


def _good(pairs):
    return {pair: row for pair, row in pairs.items() if not row.get("error")}


def _values(pairs, key):
    """The numbers of a column, in the pairs that went well."""
    return [row[key] for row in _good(pairs).values() if row.get(key) is not None]


def _mean(pairs, key, form):
    values = _values(pairs, key)
    return form.format(statistics.fmean(values)) if values else "–"
