"""Compares tfreg with classical registration tools on the same pairs, two threads each.

    python benchmarks/peers.py

Writes OUT.csv, one row a pair and method, and OUT.md, tables made of all its rows. A run of some data sets or
methods replaces their rows and keeps the others. Every method works through a data set in a process of its own.
The data lie where `peer_pairs` looks for them; `pip install 'tfreg[bench]'` installs the tools.
"""

import argparse
import contextlib
import importlib.metadata
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from peer_methods import METHODS, PACKAGES, THREADS
from peer_pairs import DATA_SETS, pairs_of, quality, round_trip
from peer_tables import CLOCK, OURS, SETTINGS, read_rows, tables, write_rows

from tfreg.evaluation.baselines import greedy_file_commands

COLD = "cold"
COLD_METHODS = (CLOCK, OURS)
ENVIRONMENT = {
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(THREADS),
    "OMP_NUM_THREADS": str(THREADS),
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

# greedy's command line, without anything of tfreg to load.
GREEDY_ALONE = """
import sys
from picsl_greedy import Greedy3D

tool = Greedy3D()
for command in sys.argv[1:]:
    tool.execute(command)
"""


def work(data, method, count, file):
    """Registers the first pairs of a data set in this process; writes one line of JSON a pair."""
    from tfreg.io.formats import read_volume

    pairs, found = pairs_of(data)[:count], METHODS[method]
    with open(file, "w", encoding="utf-8") as rows:
        # What a crash leaves unfinished keeps its error.
        for pair in pairs:
            _print_row(rows, pair=pair.id, error="the process ended early")
        first_call_seconds = None
        if method.startswith("tfreg"):
            from tfreg.runtime.resources import set_up

            set_up(seed=0, threads=THREADS, device="cpu")
            with contextlib.suppress(Exception):  # the pair's own turn reports it
                first_call_seconds = _run(found, data, pairs[0], read_volume)[1].seconds
        for number, pair in enumerate(pairs):
            _forget_peak()
            try:
                fixed, result = _run(found, data, pair, read_volume)
                row = {"seconds": result.seconds, "peak_mb": _peak_mb(resource.getrusage(resource.RUSAGE_SELF))}
                row |= quality(data, pair, fixed, result.displacement_mm)
                if result.certificate:
                    row |= {key: float(result.certificate[key]) for key in ("certified", "damping")}
                    row |= round_trip(result.transform, fixed.lattice, read_volume(pair.moving).lattice)
                if number == 0:
                    row["first_call_seconds"] = first_call_seconds
                status = f"Dice {row['dice']:.3f}, {row['seconds']:.2f} s"
            except Exception as error:
                traceback.print_exc()
                row = {"error": _one_line(error)}
                status = f"failed: {row['error']}"
            _print_row(rows, pair=pair.id, **row)
            print(f"{data}, {method}, {number + 1}/{len(pairs)}, {pair.id}: {status}", file=sys.stderr, flush=True)


def _run(method, data, pair, read_volume):
    """The fixed volume, and what a method finds."""
    fixed, moving = read_volume(pair.fixed), read_volume(pair.moving)
    return fixed, method(fixed, moving, DATA_SETS[data])


def _print_row(file, **row):
    print(json.dumps(row), file=file, flush=True)


def _forget_peak():
    """Starts the process's peak memory afresh; where Linux does not allow it, peaks are those of all pairs so far."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb(usage):
    return usage.ru_maxrss / 2**10


def _one_line(error):
    """An exception's kind and last line, without paths."""
    text = (str(error).strip().splitlines() or [""])[-1]
    return f"{type(error).__name__}: {re.sub(r'[^ ]*/[^ ]*', '…', text)[:160]}"


def measure(data, method, count):
    """The rows of a method on a data set, from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        task = json.dumps({"data": data, "method": method, "count": count, "file": str(file)})
        command = [sys.executable, __file__, "--child", task]
        # The tools print what they like; rows come by file.
        code = subprocess.run(command, env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL).returncode
        if code:
            print(f"{data}, {method}: the process ended with code {code}", file=sys.stderr)
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return list({row["pair"]: row for row in map(json.loads, lines)}.values())


def measure_cold(method):
    """Seconds and peak memory of a whole command, from its start to its files, on the first CT pair."""
    pair = pairs_of("lung_ct")[0]
    with tempfile.TemporaryDirectory() as folder:
        if method == OURS:
            command = [str(Path(sys.executable).with_name("tfreg")), "register", "--model", "none", "--refine"]
            command += ["--preset", "quality", "--init", DATA_SETS["lung_ct"].init, "--threads", str(THREADS)]
            command += ["--fixed", str(pair.fixed), "--moving", str(pair.moving), "--out", f"{folder}/result"]
        else:
            commands = greedy_file_commands(
                pair.fixed, pair.moving, Path(folder), 4, DATA_SETS["lung_ct"].init, THREADS
            )
            command = [sys.executable, "-c", GREEDY_ALONE, *commands]
        started = time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        return [{"pair": pair.id, "error": f"exit code {process.returncode}"}]
    print(f"{COLD}, {method}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return [{"pair": pair.id, "seconds": seconds, "peak_mb": _peak_mb(usage)}]


def version_of(method):
    """The package and version of a method; None if it is not installed."""
    package = PACKAGES.get(method, "tfreg")
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return f"{package} {importlib.metadata.version(package)}"
    return None


def report(rows, command):
    """The Markdown file's text."""
    packages = {row["version"] for row in rows.values()}
    packages |= {f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy", "keras", "tensorflow")}
    runs = {row["run"] for row in rows.values()}
    lines = [
        f"Registration of the same pairs by tfreg and by classical tools, {THREADS} threads each, on a machine with "
        f"{os.cpu_count()} CPU cores, {max(runs)[:10]}.",
        "",
        f"{'Command' if len(runs) == 1 else f'Last command of {len(runs)} runs'}: `{command}`",
        "",
        f"Python {sys.version.split()[0]}; {', '.join(sorted(packages, key=str.lower))}.",
        "",
        "Seconds are those of the registration from volumes in memory, its affine part included; tfreg's are of a "
        "process that has registered the first pair before. Every method's displacement is measured on the fixed "
        "image's own lattice: labels warped with nearest neighbour, folds by the ten determinants of a digital "
        "diffeomorphism over the whole field of view, SD of the log Jacobian inside the fixed labels. ± is the "
        "standard error of the paired difference, pairs taken as independent. Peak memory is that of the whole "
        "process, libraries and volumes included.",
        "",
        *SETTINGS,
        "",
        *tables(rows, [*DATA_SETS, COLD], METHODS),
    ]
    return "\n".join(lines).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=[*DATA_SETS, COLD], default=[*DATA_SETS, COLD])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--pairs", type=int, help="Only the first so many of each data set.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/peers"), help="Path without extension.")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        work(**json.loads(arguments.child))
        return
    run = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
    command = " ".join(["python", "benchmarks/peers.py", *sys.argv[1:]])
    csv_file, table_file = (arguments.out.with_suffix(suffix) for suffix in (".csv", ".md"))
    rows, failed = read_rows(csv_file), 0
    for data, method in itertools.product(arguments.data, arguments.methods):
        if data == COLD and method not in COLD_METHODS:
            continue
        version = version_of(method)
        if version is None:
            print(f"{data}, {method}: skipped, {PACKAGES[method]} is not installed", file=sys.stderr)
            continue
        measured = measure_cold(method) if data == COLD else measure(data, method, arguments.pairs)
        for row in measured:
            row |= {"data": data, "method": method, "run": run, "version": version}
            rows[data, method, row["pair"]] = row
            failed += "error" in row
        write_rows(csv_file, rows)
        table_file.write_text(report(read_rows(csv_file), command), encoding="utf-8")
    print(table_file.read_text(encoding="utf-8"))
    if failed:
        sys.exit(f"{failed} registrations failed; {table_file} lists them")


if __name__ == "__main__":
    main()
