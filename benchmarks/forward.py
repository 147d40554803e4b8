"""Seconds and peak memory of one forward pass at 64x192x192, with and without the fast paths.

    python benchmarks/forward.py --out benchmarks/results/forward.md

Every variant runs in a process of its own: two passes to warm up, then `--repeats` timed ones. The
variants follow each other in turn, so that a slow minute of the machine hits them all.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

SHAPE = (64, 192, 192)
VARIANTS = {
    "native dilation, XLA sampler (default)": {},
    "Keras' dilation, XLA sampler": {"native_dilation": False},
    "native dilation, no XLA": {"xla_sampler": False},
    "neither (portable export)": {"native_dilation": False, "xla_sampler": False},
    "XLA over the whole network": {"xla_network": True},
}


def measure(precision, repeats, native_dilation=True, xla_sampler=True, xla_network=False):
    """Times forward passes in this process and prints a line of JSON."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np

    from tfreg.layers import convolution_block
    from tfreg.ops import trilinear_sampling

    if not native_dilation:
        convolution_block.has_native_dilation = lambda *_: False
    if not xla_sampler:
        trilinear_sampling._values = trilinear_sampling._values.__wrapped__
    from tfreg.models.registration_network import build_registration_network

    model = build_registration_network(SHAPE, precision=precision)
    model.compile(jit_compile=xla_network)
    rng = np.random.default_rng(0)
    batch = {name: rng.random((1, *SHAPE, 1), np.float32) for name in ("fixed", "moving")}
    for _ in range(2):
        model.predict_on_batch(batch)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        model.predict_on_batch(batch)
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "peak_gib": peak}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Markdown table to write.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2, help="How often all variants take their turn.")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        measure(**json.loads(arguments.child))
        return
    results = {}
    for _ in range(arguments.rounds):
        for precision in ("float32", "mixed_bfloat16"):
            for name, options in VARIANTS.items():
                task = json.dumps({"precision": precision, "repeats": arguments.repeats, **options})
                child = subprocess.run([sys.executable, __file__, "--child", task], capture_output=True, text=True)
                if child.returncode:
                    sys.exit(child.stderr)
                entry = json.loads(child.stdout.splitlines()[-1])
                total = results.setdefault((name, precision), {"seconds": [], "peak_gib": 0.0})
                total["seconds"] += entry["seconds"]
                total["peak_gib"] = max(total["peak_gib"], entry["peak_gib"])
                print(f"{precision}, {name}: {min(entry['seconds']):.2f} s, {entry['peak_gib']:.1f} GiB", flush=True)
    reference = statistics.median(results[next(iter(VARIANTS)), "float32"]["seconds"])
    lines = [
        f"One forward pass of the paper's network (stride 2), {SHAPE} voxels, {os.cpu_count()} CPU cores.",
        "",
        f"Command: `python benchmarks/forward.py --repeats {arguments.repeats} --rounds {arguments.rounds} "
        "--out benchmarks/results/forward.md`",
        "",
        "| variant | precision | median s | fastest s | ratio to the default | peak GiB |",
        "|---|---|---|---|---|---|",
    ]
    for (name, precision), entry in results.items():
        median = statistics.median(entry["seconds"])
        lines.append(
            f"| {name} | {precision} | {median:.2f} | {min(entry['seconds']):.2f} | {median / reference:.2f} "
            f"| {entry['peak_gib']:.1f} |"
        )
    table = "\n".join(lines) + "\n"
    print(table)
    if arguments.out:
        arguments.out.write_text(table)


if __name__ == "__main__":
    main()
