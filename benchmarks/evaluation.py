"""Evaluates tfreg on the real data sets: the paper's Tables 1 and 2 for each.

    python benchmarks/evaluation.py

Runs one `tfreg evaluate` a data set into RUNS and copies its tables, with the command, and its measurements to
benchmarks/results/evaluation/. An interrupted one goes on when the script is started again. The trained networks are
those of `configs/cardiac.yaml` and `configs/hippocampus.yaml`, in runs/cardiac and runs/hippocampus; without them
their rows are left out. The data lie where `data_sets` looks for them.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from data_sets import words_of

from tfreg.evaluation.results import MEASUREMENTS, TABLES

RESULTS = Path("benchmarks/results/evaluation")
METHODS = "--refine --parts linear,deformable,both"
COMMANDS = {
    "lung_ct": f"--data DATA/lung_ct/pairs.csv --init centre {METHODS} --baselines syn,greedy,greedy_r4,elastix,demons",
    "lung_mri": f"--data DATA/lung_mri/subjects.csv --init moments {METHODS} --baselines syn,greedy,greedy_r4",
    "lung_mri_lobes": f"--data DATA/lung_mri/subjects.csv --labels lobes --init moments {METHODS} "
    "--baselines syn,greedy,greedy_r4",
    "hippocampus": "--data DATA/hippocampus/subjects.csv --split validation --count 200 --init centre "
    f"--model runs/hippocampus --refine-models {METHODS} --baselines syn,greedy",
    "cardiac": "--data DATA/cardiac/subjects.csv --split validation --pairs ED:ES --pairs all:ED --init header "
    f"--model runs/cardiac {METHODS} --preset fast --baselines syn,greedy",
}
THREADS = {"lung_ct": "--workers 1 --threads 2"}
OTHER_THREADS = "--workers 2 --threads 1"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--runs", type=Path, default=Path("runs/evaluation"), help="Where the evaluations lie.")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in arguments.data:
        out = arguments.runs / name
        options = f"{COMMANDS[name]} {THREADS.get(name, OTHER_THREADS)} --out {out}"
        words = shlex.split(options)
        if "--model" in words and not Path(words[words.index("--model") + 1]).is_dir():
            at = words.index("--model")
            print(f"{name}: {words[at + 1]} is not there; its rows are left out", file=sys.stderr)
            words = [word for word in (*words[:at], *words[at + 2 :]) if word != "--refine-models"]
        command = f"tfreg evaluate {shlex.join(words)}"
        print(command, file=sys.stderr, flush=True)
        words = words_of(shlex.join(words))
        done = subprocess.run([str(Path(sys.executable).with_name("tfreg")), "evaluate", *words])
        if done.returncode not in (0, 1):  # 1: some pairs failed, which the tables tell
            sys.exit(done.returncode)
        text = (out / TABLES).read_text(encoding="utf-8")
        (RESULTS / f"{name}.md").write_text(f"# {name}\n\nCommand: `{command}`\n\n{text}", encoding="utf-8")
        shutil.copyfile(out / MEASUREMENTS, RESULTS / f"{name}.csv")


if __name__ == "__main__":
    main()
