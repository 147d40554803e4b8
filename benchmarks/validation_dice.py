"""Dice of a trained run on random validation pairs, at the volumes' own resolution, with its learning curve.

    python benchmarks/validation_dice.py --run runs/hippocampus --data subjects.csv \\
        --out benchmarks/results/hippocampus

Writes OUT.md (figures) and OUT.png (learning curve). Pairs are drawn as the run's config makes them.
"""

import argparse
import csv
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from matplotlib.figure import Figure

from tfreg.transforms.certificate import certify
from tfreg.transforms.jacobian import log_jacobian
from tfreg.transforms.transform import Transform
from tfreg.volumes.formats import read_volume
from tfreg.volumes.manifest import read_subjects
from tfreg.volumes.preprocessing import prepare_pair
from tfreg.workflows.metrics import dice_by_label
from tfreg.workflows.progress import progress_bar
from tfreg.workflows.train import make_pairs
from tfreg.workflows.trained_run import load_run

ALIGNMENTS = ("headers", "centres", "linear part alone", "after")


def validation_pairs(config, data, count, seed):
    """Random pairs of the validation split."""
    subjects = [subject for subject in read_subjects(data) if subject.split == "validation"]
    pairs = make_pairs(config, subjects)
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:count]
    return [pairs[number] for number in chosen]


def measure(run, pair):
    """Mean Dice by the headers, with centres aligned and after registration; folding, spread of volume, seconds."""
    fixed, moving = read_volume(pair.fixed), read_volume(pair.moving)
    fixed_labels, moving_labels = (read_volume(p, labels=True) for p in (pair.fixed_labels, pair.moving_labels))
    started = time.perf_counter()
    prepared = prepare_pair(fixed, moving, run.config.preprocessing)
    predicted = run.predict(prepared)
    seconds = time.perf_counter() - started
    found, displacement_mm, certificate = certify(predicted, fixed.lattice)

    def dice(transform, field_mm=None):
        warped = transform.warp(moving_labels, fixed.lattice, "nearest", 0, field_mm)
        return float(np.mean(list(dice_by_label(fixed_labels.array, warped.array).values())))

    centres = np.eye(4)
    centres[:3, 3] = moving.lattice.centre_world - fixed.lattice.centre_world
    inside = fixed_labels.array > 0
    return {
        "headers": dice(Transform.identity(fixed.lattice)),
        "centres": dice(Transform.identity(fixed.lattice, centres)),
        "linear part alone": dice(Transform(found.lattice, found.linear, None, found.init)),
        "after": dice(found, displacement_mm),
        "folding_fraction": certificate.folding_fraction,
        "damping": certificate.damping,
        "sd_log_jacobian": float(log_jacobian(displacement_mm, fixed.affine)[inside].std()),
        "seconds": seconds,
    }


def learning_curve(history, title):
    """The picture of a run's history.csv."""
    epochs = [int(row["epoch"]) + 1 for row in history]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for key, name in (("loss", "training"), ("val_loss", "validation")):
        left.plot(epochs, [float(row[key]) for row in history], label=name)
    right.plot(epochs, [float(row["val_displacement_dice"]) for row in history], color="tab:green", label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel="Dice, network grid")
    for panel in (left, right):
        panel.legend()
        panel.grid(alpha=0.3)
    figure.suptitle(title)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="Path without extension.")
    arguments = parser.parse_args()
    run = load_run(arguments.run)
    pairs = validation_pairs(run.config, arguments.data, arguments.pairs, arguments.seed)
    rows = []
    with progress_bar() as bar:
        task = bar.add_task("registering", total=len(pairs), status="")
        for pair in pairs:
            rows.append(measure(run, pair))
            bar.advance(task)

    history = list(csv.DictReader((arguments.run / "history.csv").read_text().splitlines()))
    report = json.loads((arguments.run / "report.json").read_text())
    dice = {
        name: np.array([row[name] for row in rows]) for name in ("headers", "centres", "linear part alone", "after")
    }
    lines = [
        f"{arguments.run.name}: {len(rows)} random validation pairs (seed {arguments.seed}), own resolution.",
        "",
        "Command: `python benchmarks/validation_dice.py --run RUN --data subjects.csv "
        f"--pairs {arguments.pairs} --seed {arguments.seed} --out {arguments.out}`",
        "",
        "| alignment | mean Dice | sd | lowest |",
        "|---|---|---|---|",
        *(f"| {name} | {v.mean():.3f} | {v.std():.3f} | {v.min():.3f} |" for name, v in dice.items()),
        "",
        f"- Pairs that folded before damping: {sum(row['folding_fraction'] > 0 for row in rows)} of {len(rows)}; "
        f"smallest damping {min(row['damping'] for row in rows):.3f}.",
        f"- Spread of the log Jacobian inside the labels: {np.mean([row['sd_log_jacobian'] for row in rows]):.3f}.",
        f"- Seconds a pair, preparation and network: {np.median([row['seconds'] for row in rows]):.2f} (median).",
        f"- Training: {report['epochs']} epochs, {report['parameters']} parameters.",
        f"- Learning curve: {arguments.out.name}.png",
    ]
    arguments.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    learning_curve(history, arguments.run.name).savefig(arguments.out.with_suffix(".png"), dpi=110)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
