"""Compares tfreg with classical registration tools on the same pairs, two threads each.

    python benchmarks/peers.py

Runs one `tfreg evaluate` a data set into RUNS, each method in processes of its own, and copies the measurements to
benchmarks/results/peers/ and all tables, with their commands, to benchmarks/results/peers.md. An interrupted one goes
on when the script is started again; of a data set that is not named the tables stand as they are in RUNS. The data lie
where `data_sets` looks for them; `pip install 'tfreg[bench]'` installs the tools.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from data_sets import STARTS, words_of

from tfreg.evaluation.results import MEASUREMENTS, TABLES

RESULTS = Path("benchmarks/results")
PAIRS = {
    "lung_ct": "--data DATA/lung_ct/pairs.csv",
    "lung_mri": "--data DATA/lung_mri/subjects.csv --labels labels,lobes",
    "cardiac": "--data DATA/cardiac/subjects.csv --split validation --pairs ED:ES",
    "hippocampus": "--data DATA/hippocampus/subjects.csv --split validation",
    "left_atrium": "--data DATA/left_atrium/pairs.csv",
    "brain_slabs": "--data DATA/brain_slabs/subjects.csv",
}
# Of the others all.
COUNTS = {"hippocampus": 60, "brain_slabs": 10}
METHODS = "--model none --preset quality,fast --baselines headers,greedy_r4,greedy,syn,elastix,demons --isolate"
COMMANDS = {name: f"{pairs} --init {STARTS[name]} {METHODS}" for name, pairs in PAIRS.items()}
COMMANDS["whole_commands"] = (
    f"{PAIRS['lung_ct']} --init centre --baselines tfreg_command,greedy_command --reference greedy_command --isolate"
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--pairs", type=int, help="Only so many of each data set.")
    parser.add_argument("--runs", type=Path, default=Path("runs/peers"), help="Where the evaluations lie.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="Where the tables go.")
    arguments = parser.parse_args()
    (arguments.results / "peers").mkdir(parents=True, exist_ok=True)
    for name in arguments.data:
        out = arguments.runs / name
        count = arguments.pairs or COUNTS.get(name)
        options = f"{COMMANDS[name]} --threads 2 --out {out}" + (f" --count {count}" if count else "")
        print(f"tfreg evaluate {options}", file=sys.stderr, flush=True)
        done = subprocess.run([str(Path(sys.executable).with_name("tfreg")), "evaluate", *words_of(options)])
        if done.returncode not in (0, 1):  # 1: some pairs failed, which the tables say
            sys.exit(done.returncode)
        (out / "command.txt").write_text(f"tfreg evaluate {options}\n", encoding="utf-8")
        shutil.copyfile(out / MEASUREMENTS, arguments.results / "peers" / f"{name}.csv")
    lines = [
        "Registration of the same pairs by tfreg and by classical tools, on a machine with "
        f"{os.cpu_count()} CPU cores. `python benchmarks/peers.py` made it, by one `tfreg evaluate` a data set.",
    ]
    for name in COMMANDS:
        out = arguments.runs / name
        if (out / "command.txt").is_file():
            command = (out / "command.txt").read_text(encoding="utf-8").strip()
            tables = (out / TABLES).read_text(encoding="utf-8").replace("\n## ", "\n### ")
            lines += ["", f"## {name}", "", f"Command: `{command}`", "", tables.strip()]
    (arguments.results / "peers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
