"""Searches α and β on simulated chests by `tfreg tune`, kills the search half-way, and resumes it.

    python benchmarks/tuning.py

Writes benchmarks/results/tuning.md and tuning.png; the search stays in runs/tuning.
"""

import argparse
import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TFREG = Path(sys.executable).with_name("tfreg")
COHORT = ["--subjects", "20", "--shape", "32", "28", "32", "--spacing", "11", "11", "11", "--splits", "0.7", "0.3", "0"]
CONFIG = [
    "configs/demo.yaml",
    "preprocessing.network_grid={orientation: RAS, spacing: 11, shape: [32, 28, 32]}",
    "model.encoder_filters=[8, 16, 32, 8, 8]",
    "model.decoder_filters=[32, 16, 8]",
    "training={steps_per_epoch: 30, epochs: 10, stop_patience: 4, validation_pairs: 6}",
]
KILLED_IN_EPOCH = 3


def memory_gib(process):
    """The largest resident memory that a process has had, without its children."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) / 2**20 if lines else 0.0


def searching(command, out, stop):
    """Runs the search until it ends or `stop(outcomes)` says so, and kills it then.

    Returns:
        Seconds, and the search process' own peak memory in GiB when each trial ended.
    """
    started, peaks = time.perf_counter(), {}
    process = subprocess.Popen(command)
    while process.poll() is None:
        time.sleep(0.1)
        outcomes = sorted((out / "outcomes").glob("[0-9]*.json"))
        for outcome in outcomes:
            peaks.setdefault(outcome.stem, memory_gib(process))
        if stop(outcomes):
            process.send_signal(signal.SIGKILL)
            process.wait()
            return time.perf_counter() - started, peaks
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return time.perf_counter() - started, peaks


def _described(row):
    return f"trial {row['trial']} (Dice {float(row['dice']):.3f}, TRE {float(row['tre_mm']):.1f} mm)"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--folder", type=Path, default=Path("runs/tuning"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tuning"), help="Path without extension.")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    data, out = arguments.folder / "data", arguments.folder / "search"
    simulate = ["simulate", "--out", str(data), *COHORT]
    subprocess.run([TFREG, *simulate], check=True)
    tune = ["tune", *CONFIG, "--data", str(data / "subjects.csv"), "--out", str(out), "--trials", str(arguments.trials)]

    half = f"{arguments.trials // 2:0{len(str(arguments.trials))}d}"
    state = out / "trials" / half / "state" / f"epoch-{KILLED_IN_EPOCH - 1:05d}"
    first, _ = searching([TFREG, *tune], out, lambda outcomes: state.exists())
    finished = {file: file.stat().st_mtime_ns for file in out.glob("trials/*/report.json")}
    second, peaks = searching([TFREG, *tune], out, lambda outcomes: False)
    repeated = [file.parent.name for file, changed in finished.items() if file.stat().st_mtime_ns != changed]

    rows = list(csv.DictReader((out / "trials.csv").read_text(encoding="utf-8").splitlines()))
    resumed = {row["trial"]: row["resumed_after_epoch"] for row in rows if row["resumed_after_epoch"]}
    memory = [float(row["peak_memory_gib"]) for row in rows if row["peak_memory_gib"]]
    own = list(peaks.values())[-(arguments.trials - len(finished)) :]
    by_dice = max((row for row in rows if row["dice"]), key=lambda row: float(row["dice"]))
    by_points = min((row for row in rows if row["tre_mm"]), key=lambda row: float(row["tre_mm"]))
    text = (out / "tables.md").read_text(encoding="utf-8").splitlines()
    lines = [
        "`tfreg tune` on simulated chests: α and β by Bayesian optimisation, killed half-way and resumed.",
        "",
        "Command: `python benchmarks/tuning.py`, which runs",
        "",
        f"    tfreg {shlex.join(simulate)}",
        f"    tfreg {shlex.join(tune)}",
        "",
        f"and sends SIGKILL to the search {first:.0f} s later, in epoch {KILLED_IN_EPOCH} of trial {half}; the same "
        f"command then goes on for {second:.0f} s, on {os.cpu_count()} CPU cores that other programs used too.",
        "",
        f"- Finished before the kill: {len(finished)} trials; run again after it: {', '.join(repeated) or 'none'}.",
        "- Went on after their last finished epoch: "
        + (", ".join(f"trial {trial} after epoch {epoch}" for trial, epoch in resumed.items()) or "none")
        + ".",
        f"- Peak memory of the trials' processes: {min(memory):.2f} to {max(memory):.2f} GiB; of the search's own, "
        f"{own[0]:.2f} GiB after its first trial and {own[-1]:.2f} GiB after its last.",
        "- By Dice, which says how the lungs' outlines agree, the best is "
        + _described(by_dice)
        + "; by landmarks, which lie inside, "
        + _described(by_points)
        + ".",
        "",
        *text[4:],
    ]
    arguments.out.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copyfile(out / "search.png", arguments.out.with_suffix(".png"))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
