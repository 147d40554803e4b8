"""Seconds and memory of the refinement beside greedy's and SyN's, taken in turn in the same processes.

    python benchmarks/performance.py

One process a data set, two threads: the pairs that warm it up first, then rounds in which every method registers every
pair, one after the other, tfreg from files. A ratio is the median over rounds of tfreg's seconds by the peer's in the
same round. Whole commands, each a new process, are taken in turn too. Writes OUT.json, and OUT.md, the tables made of
it. Nothing else should run on the machine. The data lie where `data_sets` looks for them; `pip install 'tfreg[bench]'`
installs the tools.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from data_sets import STARTS, pairs_of

from tfreg.evaluation.baselines.registry import BASELINES
from tfreg.evaluation.commands import COMMANDS
from tfreg.io.formats import read_volume
from tfreg.runtime.memory import forget_peak, peak_mb
from tfreg.runtime.resources import Resources, versions

THREADS = 2
PRESETS = ("quality", "fast")
# What the ratios are of.
REFERENCE = "greedy_r4"
START = "files to start"


@dataclasses.dataclass(frozen=True)
class Work:
    """What one process does: how many pairs warm it up and how many are timed, in how many rounds, beside whom."""

    warming: int
    pairs: int
    rounds: int
    peers: tuple[str, ...] = (REFERENCE,)


WORK = {
    "lung_ct": Work(1, 1, 4, (REFERENCE, "syn")),
    "lung_mri": Work(1, 6, 1, (REFERENCE, "syn")),
    "cardiac": Work(3, 17, 1, (REFERENCE, "syn")),
    "hippocampus": Work(3, 57, 1),
}
COMMAND_ROUNDS = 3


def pairs_to_time(name):
    """The pairs of a data set, those that warm up first; of a small set these are timed too."""
    work, pairs = WORK[name], pairs_of(name)
    return [*pairs[-work.warming :], *pairs][: work.warming + work.pairs]


def registered(method, pair, init):
    """Seconds that a method takes for a pair of files, and for tfreg those until the deformation begins."""
    import tfreg

    if method in BASELINES:
        fixed, moving = read_volume(pair.fixed), read_volume(pair.moving)
        return {method: BASELINES[method].register(fixed, moving, init, THREADS)[1]}
    begun = time.perf_counter()
    report = tfreg.register(pair.fixed, pair.moving, preset=method, init=init).report
    seconds = {method: time.perf_counter() - begun}
    if method == PRESETS[0]:
        begun = time.perf_counter()
        read_volume(pair.fixed), read_volume(pair.moving)
        start = time.perf_counter() - begun + report.seconds["prepare"] + report.refinement.seconds["linear"]
        seconds[START] = start
    return seconds


def measure(name):
    """Prints one line of JSON: a data set's seconds by method, one list a round, and the largest memory."""
    Resources(0, THREADS, "cpu").set_up()
    work, init = WORK[name], STARTS[name]
    pairs = pairs_to_time(name)
    for pair in pairs[: work.warming]:
        for preset in PRESETS:
            registered(preset, pair, init)
    forget_peak()
    rounds = []
    for _ in range(work.rounds):
        rounds.append({})
        for pair in pairs[work.warming :]:
            for method in (*PRESETS, *work.peers):
                for key, seconds in registered(method, pair, init).items():
                    rounds[-1].setdefault(key, []).append(round(seconds, 3))
            print(name, pair.id, {key: values[-1] for key, values in rounds[-1].items()}, file=sys.stderr, flush=True)
    print(json.dumps({"rounds": rounds, "peak_mb": round(peak_mb())}))


def measure_commands():
    """Seconds and memory of whole commands on lung CT, one dictionary a round."""
    pair = pairs_of("lung_ct")[0]
    rounds = []
    for _ in range(COMMAND_ROUNDS):
        rounds.append({})
        for command, whole in COMMANDS.items():
            with tempfile.TemporaryDirectory() as folder:
                _, seconds, memory_mb = whole.run(pair, Path(folder), STARTS["lung_ct"], THREADS)
            rounds[-1][command] = {"seconds": round(seconds, 2), "peak_mb": round(memory_mb)}
        print("commands", rounds[-1], file=sys.stderr, flush=True)
    return rounds


def report(results):
    """The Markdown file's lines."""
    lines = [
        f"Seconds of the refinement from nothing beside classical tools, {THREADS} threads, on a machine with "
        f"{results['cpus']} CPU cores. `{results['command']}` made it.",
        "",
        "Every method registers the same pairs in turn, in one process a data set that is warm; tfreg from files, the "
        "others from arrays. Medians over pairs and rounds; a ratio is the median over rounds of the pairs' median "
        f"ratio to {REFERENCE} in the same round, with the least and the largest round where there are several.",
        "",
        "| data | method | seconds | least | largest | ratio to greedy | rounds x pairs |",
        "|---" * 7 + "|",
    ]
    for name in (name for name in WORK if name in results["sets"]):
        rounds = results["sets"][name]["rounds"]
        for method in rounds[0]:
            values = [value for taken in rounds for value in taken[method]]
            ratios = [statistics.median(np.divide(taken[method], taken[REFERENCE])) for taken in rounds]
            several = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
            cells = [f"{function(values):.2f}" for function in (statistics.median, min, max)]
            cells += [f"{statistics.median(ratios):.2f}{several}", f"{len(rounds)} x {len(rounds[0][method])}"]
            lines.append(f"| {name} | {method} | {' | '.join(cells)} |")
    peaks = [f"{name} {values['peak_mb']} MB" for name, values in results["sets"].items()]
    lines += ["", f"Largest memory of the processes, peers included: {', '.join(peaks)}."]
    lines += [
        "",
        "## Whole commands on lung CT",
        "",
        "| command | seconds | MB | ratio to greedy |",
        "|---|---|---|---|",
    ]
    for command in results["commands"][0]:
        seconds, memory = ([taken[command][key] for taken in results["commands"]] for key in ("seconds", "peak_mb"))
        ratios = [taken[command]["seconds"] / taken["greedy_command"]["seconds"] for taken in results["commands"]]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {command} | {statistics.median(seconds):.1f} | {max(memory)} | {ratio} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/performance"), help="No extension.")
    parser.add_argument("--measure", choices=WORK, help="Measures one data set in this process and prints it.")
    arguments = parser.parse_args()
    if arguments.measure is not None:
        measure(arguments.measure)
        return
    command = f"python benchmarks/performance.py --data {' '.join(arguments.data)}"
    results = {"command": command, "cpus": os.cpu_count(), "versions": versions(), "sets": {}}
    for name in arguments.data:
        done = subprocess.run([sys.executable, __file__, "--measure", name], stdout=subprocess.PIPE, check=True)
        results["sets"][name] = json.loads(done.stdout.splitlines()[-1])
    results["commands"] = measure_commands()
    arguments.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    arguments.out.with_suffix(".md").write_text("\n".join(report(results)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
