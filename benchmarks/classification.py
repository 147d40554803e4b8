"""Measures the classifier: simulated chests by severity, and hearts.

    python benchmarks/classification.py

Simulates chests, trains on one cohort and judges another, which differs from severity to severity in the stiffness of
the ill alone; cross-validates with shuffled groups as a control; and cross-validates the hearts, healthy against
dilated (DCM) or infarcted (MINF), and healthy against all. Tables and pictures go to
benchmarks/results/classification/. The hearts lie where `data_sets` looks for them. An interrupted run goes on when
the script is started again: what is in RUNS already is not made anew.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from data_sets import words_of
from matplotlib.figure import Figure

from tfreg.classification.charts import COLOURS
from tfreg.classification.summary import ClassificationSummary
from tfreg.classification.trained_classifier import NETWORKS, REGRESSION

RESULTS = Path("benchmarks/results/classification")
SEVERITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
CHEST = "--shape 48 40 48 --spacing 7.5 7.5 7.5 --diseased 0.5 --threads 2"
CHEST_CONFIG = "configs/classify_chest.yaml"
SHUFFLES = 3
NULL_SEEDS = (2, 3, 4, 5, 6)  # of the cohorts in which the ill are not stiff at all
METHODS = (*NETWORKS.values(), REGRESSION)
HEARTS = {"cardiac_nor_dcm_minf": "", "cardiac_nor_all": "ill=null"}


def tfreg(text, out, runs):
    """Runs a command unless its folder, which appears whole or not at all, is there; returns it as one types it."""
    text = f"{text} --out {runs / out}".replace("RUNS", str(runs))
    command = f"tfreg {text}"
    if not (runs / out).exists():
        print(command, file=sys.stderr, flush=True)
        words = words_of(text)
        done = subprocess.run([str(Path(sys.executable).with_name("tfreg")), *words])
        if done.returncode not in (0, 1):  # 1: some registrations failed, which the result tells
            sys.exit(done.returncode)
    return command


def methods_of(runs, name):
    """The metrics of every method in an evaluation's folder."""
    return ClassificationSummary.read(runs / name / "summary.json").methods


def chests(runs, train, test, workers):
    """The curve of the area under the ROC curve over the severity, and the controls."""
    options = f"--deformations RUNS/deformations --workers {workers} --threads 1"
    commands = [
        tfreg(f"simulate --subjects {train} --severity 0.5 1 --seed 1 {CHEST}", "train", runs),
        tfreg(f"classify train {CHEST_CONFIG} --data RUNS/train/subjects.csv {options}", "classifier", runs),
    ]
    # One seed for the curve: the healthy are the same people for every severity, and so are the ill but for their
    # stiffness.
    cohorts = {(severity, NULL_SEEDS[0]): f"severity_{severity:g}" for severity in SEVERITIES}
    cohorts |= {(0.0, seed): f"none_{seed}" for seed in NULL_SEEDS[1:]}
    by_cohort = {}
    for (severity, seed), folder in cohorts.items():
        people = f"simulate --subjects {test} --severity {severity:g} {severity:g} --seed {seed} {CHEST}"
        judged = f"classify evaluate RUNS/classifier --data RUNS/{folder}/subjects.csv {options}"
        commands += [tfreg(people, folder, runs), tfreg(judged, f"{folder}_result", runs)]
        by_cohort[severity, seed] = methods_of(runs, f"{folder}_result")
    control = {method: [] for method in METHODS}
    for seed in range(SHUFFLES):
        text = f"classify evaluate {CHEST_CONFIG} seed={seed} folds=3 --shuffled --data RUNS/train/subjects.csv"
        commands.append(tfreg(f"{text} {options}", f"shuffled_{seed}", runs))
        for method, metrics in methods_of(runs, f"shuffled_{seed}").items():
            control[method].append(metrics.auc)
    null = {method: [by_cohort[0.0, seed][method].auc for seed in NULL_SEEDS] for method in METHODS}
    by_severity = {severity: methods for (severity, seed), methods in by_cohort.items() if seed == NULL_SEEDS[0]}
    shutil.copyfile(runs / "severity_1_result" / "report.png", RESULTS / "chest_severity_1.png")
    curve(by_severity, null).savefig(RESULTS / "chest.png", dpi=120)
    lines = [
        "# Simulated chests",
        "",
        f"Trained on {train} people, half of them with stiff lung bases of severity 0.5 to 1; judged on {test} others, "
        "half of them ill. Area under the ROC curve with its 95 % interval, and accuracy.",
        "",
        "| severity of the ill | " + " | ".join(METHODS) + " |",
        "| --- " * (1 + len(METHODS)) + "|",
    ]
    for severity, methods in by_severity.items():
        cells = [
            "{:.3f} ({:.3f} to {:.3f}), {:.0f} %".format(m.auc, *m.auc_interval, 100 * m.accuracy)
            for m in (methods[name] for name in METHODS)
        ]
        lines.append(f"| {severity:g} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Severity 0 in {len(NULL_SEEDS)} cohorts of {test} people each, the curve's first:",
        "",
        *_each(null),
    ]
    lines += ["", f"The training cohort cross-validated {SHUFFLES} times, the groups shuffled:", "", *_each(control)]
    (RESULTS / "chest.md").write_text("\n".join([*lines, "", "Commands:", "", *(f"    {c}" for c in commands)]) + "\n")


def _each(areas):
    """A line a method with its areas and their mean."""
    for name, values in areas.items():
        yield f"- {name}: AUC {', '.join(f'{value:.3f}' for value in values)}; mean {np.mean(values):.3f}"


def curve(by_severity, null):
    """The picture of the area under the ROC curve over the severity; open circles are all cohorts without illness."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    panel = figure.subplots()
    severities = np.array(list(by_severity))
    for shift, colour, name in zip((-0.012, 0, 0.012), COLOURS, METHODS, strict=True):
        areas = np.array([by_severity[severity][name].auc for severity in severities])
        ends = np.array([by_severity[severity][name].auc_interval for severity in severities]).T
        panel.errorbar(severities + shift, areas, np.abs(ends - areas), color=colour, marker="o", capsize=3, label=name)
        panel.scatter(np.full(len(null[name]), shift), null[name], s=22, facecolors="none", edgecolors=colour)
    panel.axhline(0.5, color="#8a93a0", linewidth=1, linestyle=":")
    panel.set(xlabel="severity of the stiff lung bases", ylabel="area under the ROC curve", ylim=(0.2, 1.03))
    panel.legend(loc="lower right", frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    return figure


def hearts(runs, workers):
    """The cross-validated metrics of both questions."""
    for name, override in HEARTS.items():
        text = f"classify evaluate configs/classify_cardiac.yaml {override} --data DATA/cardiac/subjects.csv"
        options = f"--deformations RUNS/deformations --workers {workers} --threads 1"
        command = tfreg(f"{' '.join(text.split())} {options}", name, runs)
        tables = (runs / name / "tables.md").read_text(encoding="utf-8")
        (RESULTS / f"{name}.md").write_text(f"# {name}\n\nCommand: `{command}`\n\n{tables}", encoding="utf-8")
        shutil.copyfile(runs / name / "report.png", RESULTS / f"{name}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("chests", "hearts"), help="One of the two questions.")
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
