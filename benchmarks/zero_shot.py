"""Measures the weights that ship on real pairs, of which they have seen none: the network alone, without refinement.

    python benchmarks/zero_shot.py

Every pair is registered by `tfreg.register(..., model="weights", refine=False)`: by default, with other numbers of
passes and voxels, and with the moving image's contrast inverted. Writes OUT.csv, one row a registration, and OUT.md,
the table made of it; rows that the CSV file holds are not measured again. The data lie where `data_sets` looks for
them.
"""

import argparse
import csv
import dataclasses
import os
import time
from pathlib import Path

import numpy as np
from csv_rows import read_csv
from data_sets import MANIFESTS, STARTS, pairs_of
from schedules import rescheduled

from tfreg.config import RegistrationOptions

OUT = Path("benchmarks/results/zero_shot")
DEFAULT, INVERTED = "default", "default, contrast inverted"
# What is changed of the config that ships: the passes in all, and the voxels of the network grid.
SCHEDULES = {
    f"{passes} pass{'es' * (passes > 1)}, {voxels:,} voxels": (passes, voxels)
    for voxels in (400_000, 1_500_000)
    for passes in (1, 2, 3, 4)
}
TEXTS = ("data", "pair", "schedule", "init")
COLUMNS = (*TEXTS, "dice_before", "dice", "tre_before", "tre", "folding", "certified", "damping", "seconds", "passes")


def inverted(volume):
    """The image with bright and dark exchanged."""
    return volume.with_array(volume.array.max() + volume.array.min() - volume.array.astype(np.float32))


def measured(pair, weights, schedule, init):
    """A row of one registration."""
    from tfreg.registration.register import register_pair

    if schedule == INVERTED:
        pair = dataclasses.replace(pair, moving=inverted(pair.moving))
    begun = time.perf_counter()
    if schedule in SCHEDULES:
        passes, voxels = SCHEDULES[schedule]
        weights = rescheduled(weights, voxels, passes)
    report = register_pair(pair, RegistrationOptions(refine=False, init=init), weights).report
    before, after = report.metrics.after_init, report.metrics.after
    return {
        "dice_before": before.mean_dice,
        "dice": after.mean_dice,
        "tre_before": before.landmarks.mean_mm if before.landmarks else None,
        "tre": after.landmarks.mean_mm if after.landmarks else None,
        "folding": report.certificate.folding_fraction,
        "certified": float(report.certificate.certified),
        "damping": report.certificate.damping,
        "seconds": round(report.seconds["predict"], 3),
        "passes": len(report.passes),
        "whole": time.perf_counter() - begun,
    }


def measure(file, sets, schedules, count, chosen_init):
    """Registers whatever the CSV file does not hold yet."""
    import tfreg
    from tfreg.registration.image_pair import ImagePair
    from tfreg.runtime.resources import Resources

    Resources(0, int(os.environ.get("OMP_NUM_THREADS", "2")), "cpu").set_up()
    weights = tfreg.load_weights()
    done = {tuple(row[name] for name in TEXTS) for row in read_csv(file, TEXTS)}
    if not file.exists():
        file.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for data in sets:
        init = STARTS[data] if chosen_init == "set" else chosen_init
        for files in pairs_of(data, count):
            pair = None
            for schedule in schedules:
                if (data, files.id, schedule, init or "") in done:
                    continue
                pair = pair or ImagePair.read(files)
                row = {"data": data, "pair": files.id, "schedule": schedule, "init": init or ""}
                row |= measured(pair, weights, schedule, init)
                print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
                with open(file, "a", newline="", encoding="utf-8") as stream:
                    csv.DictWriter(stream, COLUMNS, extrasaction="ignore").writerow(row)


def table(rows):
    """Lines of Markdown: for every set and schedule the means."""
    lines = [
        "| set | schedule | init | pairs | Dice before | Dice | Dice by default | error before, mm | error | folded "
        "| certified | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_default = {(row["data"], row["pair"], row["init"]): row for row in rows if row["schedule"] == DEFAULT}
    groups = dict.fromkeys((row["data"], row["schedule"], row["init"]) for row in rows)
    for data, schedule, init in sorted(groups, key=lambda group: (list(MANIFESTS).index(group[0]), group[1:])):
        own = [row for row in rows if (row["data"], row["schedule"], row["init"]) == (data, schedule, init)]

        def mean(name, digits, own=own):
            values = [row[name] for row in own if row and row[name] is not None]
            return f"{np.mean(values):.{digits}f}" if values else ""

        texts = [data, schedule, init or "none named", str(len(own)), mean("dice_before", 3), mean("dice", 3)]
        texts.append(mean("dice", 3, [by_default.get((data, row["pair"], init)) for row in own]))
        texts += [mean("tre_before", 2), mean("tre", 2), mean("folding", 6), mean("certified", 2), mean("seconds", 2)]
        lines.append(f"| {' | '.join(texts)} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=MANIFESTS, default=list(MANIFESTS))
    parser.add_argument("--schedules", action="store_true", help="Other schedules too, for choosing the default.")
    parser.add_argument("--only", nargs="+", choices=[DEFAULT, INVERTED, *SCHEDULES], help="Only these schedules.")
    parser.add_argument("--pairs", type=int, help="Only so many of each set.")
    parser.add_argument("--init", help="header, centre or moments; `set` is what suits each set; else none is named.")
    parser.add_argument("--out", type=Path, default=OUT, help="Without its suffix.")
    arguments = parser.parse_args()
    schedules = arguments.only or [DEFAULT, INVERTED, *(SCHEDULES if arguments.schedules else ())]
    file = arguments.out.with_suffix(".csv")
    measure(file, arguments.data, schedules, arguments.pairs, arguments.init)
    rows = read_csv(file, TEXTS)
    lines = [
        "The weights that ship on real pairs, without refinement: `python benchmarks/zero_shot.py` made it. Dice is "
        "the mean over labels and pairs, beside that of the default on the same pairs, the error that of the "
        "landmarks; seconds are of the passes alone.",
        "",
        *table(rows),
    ]
    arguments.out.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
