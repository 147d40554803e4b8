"""Measures the classifier: simulated chests by severity, and hearts.

    python benchmarks/classification.py

Simulates chests, trains on one cohort and judges another, which differs from severity to severity in the stiffness of
the ill alone; cross-validates with shuffled groups as a control; and cross-validates the hearts, healthy against
dilated (DCM) or infarcted (MINF), and healthy against all. Tables and pictures go to
benchmarks/results/classification/. The hearts lie where `peer_pairs` looks for them. What is in RUNS already is not
registered again.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from peer_pairs import data_folder

RESULTS = Path("benchmarks/results/classification")
SEVERITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
CHEST = "--shape 48 40 48 --spacing 7.5 7.5 7.5 --diseased 0.5 --threads 2 --force"
CHEST_CONFIG = "configs/classify_chest.yaml"
SHUFFLES = 3
METHODS = ("network, displacement", "network, log Jacobian", "logistic regression")
COLOURS = ("#1f5fa8", "#3c9d6f", "#c8641b")
HEARTS = {"cardiac_nor_dcm_minf": "", "cardiac_nor_all": "ill=null"}


def tfreg(text, runs):
    """Runs a command, prints it, and returns it as it can be repeated."""
    text = text.replace("RUNS", str(runs))
    command = f"tfreg {text}"
    print(command, file=sys.stderr, flush=True)
    words = [word.replace("DATA/", f"{data_folder()}/") for word in shlex.split(text)]
    subprocess.run([str(Path(sys.executable).with_name("tfreg")), *words], check=True)
    return command


def chests(runs, train, test, workers):
    """The curve of the area under the ROC curve over the severity, and the control."""
    options = f"--deformations RUNS/deformations --workers {workers} --threads 1 --force"
    commands = [
        tfreg(f"simulate --out RUNS/train --subjects {train} --severity 0.5 1 --seed 1 {CHEST}", runs),
        tfreg(f"classify train {CHEST_CONFIG} --data RUNS/train/subjects.csv --out RUNS/classifier {options}", runs),
    ]
    found = {}
    for severity in SEVERITIES:
        # One seed: the healthy are the same people for every severity, and so are the ill but for their stiffness.
        folder = f"RUNS/severity_{severity:g}"
        simulate = f"simulate --out {folder} --subjects {test} --severity {severity:g} {severity:g} --seed 2 {CHEST}"
        commands.append(tfreg(simulate, runs))
        evaluate = f"classify evaluate RUNS/classifier --data {folder}/subjects.csv --out {folder}_result {options}"
        commands.append(tfreg(evaluate, runs))
        found[severity] = json.loads((runs / f"severity_{severity:g}_result" / "summary.json").read_text())["methods"]
    control = {method: [] for method in METHODS}
    for seed in range(SHUFFLES):
        text = f"classify evaluate {CHEST_CONFIG} seed={seed} folds=3 --shuffled --data RUNS/train/subjects.csv"
        commands.append(tfreg(f"{text} --out RUNS/shuffled {options}", runs))
        for method, figures in json.loads((runs / "shuffled" / "summary.json").read_text())["methods"].items():
            control[method].append(figures["auc"])
    shutil.copyfile(runs / "severity_1_result" / "report.png", RESULTS / "chest_severity_1.png")
    curve(found).savefig(RESULTS / "chest.png", dpi=120)
    lines = [
        "# Simulated chests",
        "",
        f"Trained on {train} people, half of them with stiff lung bases of severity 0.5 to 1; judged on {test} others, "
        "half of them ill. Area under the ROC curve with its 95 % interval, and accuracy.",
        "",
        "| severity of the ill | " + " | ".join(METHODS) + " |",
        "| --- " * (1 + len(METHODS)) + "|",
    ]
    for severity, methods in found.items():
        cells = [
            "{auc:.3f} ({0:.3f} to {1:.3f}), {2:.0f} %".format(*m["auc_interval"], 100 * m["accuracy"], **m)
            for m in (methods[name] for name in METHODS)
        ]
        lines.append(f"| {severity:g} | " + " | ".join(cells) + " |")
    lines += ["", f"Control: the training cohort cross-validated {SHUFFLES} times, the groups shuffled:", ""]
    lines += [
        f"- {name}: AUC {np.mean(areas):.3f} on average ({min(areas):.3f} to {max(areas):.3f})"
        for name, areas in control.items()
    ]
    (RESULTS / "chest.md").write_text("\n".join([*lines, "", "Commands:", "", *(f"    {c}" for c in commands)]) + "\n")


def curve(found):
    """The picture of the area under the ROC curve over the severity."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    panel = figure.subplots()
    severities = np.array(list(found))
    for shift, colour, name in zip((-0.012, 0, 0.012), COLOURS, METHODS, strict=True):
        areas = np.array([found[severity][name]["auc"] for severity in severities])
        ends = np.array([found[severity][name]["auc_interval"] for severity in severities]).T
        panel.errorbar(severities + shift, areas, np.abs(ends - areas), color=colour, marker="o", capsize=3, label=name)
    panel.axhline(0.5, color="#8a93a0", linewidth=1, linestyle=":")
    panel.set(xlabel="severity of the stiff lung bases", ylabel="area under the ROC curve", ylim=(0.2, 1.03))
    panel.legend(loc="lower right", frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    return figure


def hearts(runs, workers):
    """The cross-validated figures of both questions."""
    for name, override in HEARTS.items():
        text = f"classify evaluate configs/classify_cardiac.yaml {override} --data DATA/cardiac/subjects.csv"
        options = f"--out RUNS/{name} --deformations RUNS/deformations --workers {workers} --threads 1 --force"
        command = tfreg(f"{' '.join(text.split())} {options}", runs)
        tables = (runs / name / "tables.md").read_text(encoding="utf-8")
        (RESULTS / f"{name}.md").write_text(f"# {name}\n\nCommand: `{command}`\n\n{tables}", encoding="utf-8")
        shutil.copyfile(runs / name / "report.png", RESULTS / f"{name}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("chests", "hearts"), help="One of the two parts.")
    parser.add_argument("--runs", type=Path, default=Path("runs/classify"), help="Where all work is kept.")
    parser.add_argument("--train", type=int, default=80, help="People in the training cohort of chests.")
    parser.add_argument("--test", type=int, default=60, help="People in each cohort that is judged.")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if arguments.only != "hearts":
        chests(arguments.runs, arguments.train, arguments.test, arguments.workers)
    if arguments.only != "chests":
        hearts(arguments.runs, arguments.workers)


if __name__ == "__main__":
    main()
