"""Measures what `tfreg serve` adds to the model's own time, and how it bears many clients.

    python benchmarks/serving.py

Exports a small untrained network, starts the server on this machine and writes OUT.md: requests of 64 x 192 x 192
voxels one by one, with the field and without it, compared with the same SavedModel called in the server's place; then
eight clients at once on small volumes.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SHAPE = (64, 192, 192)
SMALL_SHAPE = (24, 28, 20)
CLIENTS = 8
MODEL = {"encoder_filters": [4, 8], "encoder_dilations": [1, 2], "squeeze_ratio": 4, "decoder_filters": [8]}
# What is asked for, and the names of it; none means all.
ANSWERS = {
    "everything (warped, displacement, linear, logits)": (),
    "warped, linear, logits": ("warped", "linear", "logits"),
    "linear, logits (what `tfreg request` asks for)": ("linear", "logits"),
}


def exported(folder):
    """The export of an untrained network whose weights are not zero."""
    from tfreg.config import ExportOptions, dump_config, parse_config
    from tfreg.serving.saved_model.export import export
    from tfreg.training.build_model import build_model

    config = parse_config({"model": MODEL})
    run = folder / "run"
    run.mkdir()
    model = build_model(config)
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(weight + 0.05 * rng.standard_normal(weight.shape))
    model.save(run / "model.keras")
    (run / "config.yaml").write_text(dump_config(config))
    return export(run, folder / "models" / "tfreg", ExportOptions(shape=(SHAPE,)))[0]


def volumes(shape, dtype=np.float32):
    rng = np.random.default_rng(1)
    pair = {name: rng.random((1, *shape, 1), np.float32) for name in ("fixed", "moving")}
    if dtype == np.float32:
        return pair
    return {name: (volume * 32767).astype(np.int16) for name, volume in pair.items()}


def median_seconds(function, times):
    """The median and the spread of several calls, after one that does not count."""
    function()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), min(seconds), max(seconds)


def resident_mb(process_id):
    """The memory of a process, in MB."""
    text = Path(f"/proc/{process_id}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def one_by_one(address, version, times):
    """Table rows: what is asked for, bytes, the model's own seconds, the request's, and the difference."""
    import tensorflow as tf

    from tfreg.serving.client.client import Client

    signatures = tf.saved_model.load(str(version)).signatures
    rows = []
    with Client(address) as client:
        for name, dtype in (("serving_default", np.float32), ("int16", np.int16)):
            inputs = volumes(SHAPE, dtype)
            tensors = {key: tf.constant(value) for key, value in inputs.items()}
            own, *_ = median_seconds(lambda t=tensors, n=name: signatures[n](**t)["logits"].numpy(), times)
            for text, outputs in ANSWERS.items():
                answer, _ = client.predict(inputs, name, outputs)
                back = sum(array.nbytes for array in answer.values())
                sent = sum(array.nbytes for array in inputs.values())
                whole, low, high = median_seconds(lambda i=inputs, n=name, o=outputs: client.predict(i, n, o), times)
                rows.append((name, text, sent, back, own, whole, low, high))
    return rows


def differences(address, run):
    """How far a served registration of a whole pair lies from the local one: field and inverse, voxels."""
    from scipy import ndimage

    from tfreg import load_run, register
    from tfreg.serving.client.client import Client
    from tfreg.volumes.volume import Volume

    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.standard_normal((2, *SHAPE)), (0, 4, 4, 4))
    fixed, moving = (Volume((1000 * array / array.std()).astype(np.float32), np.eye(4)) for array in noise)
    with Client(address) as client:
        served = client.register(fixed, moving)
    expected = register(fixed, moving, model=load_run(run))
    fields = [(r.displacement_mm, r.transform.inverse().displacement_mm(moving.lattice)) for r in (served, expected)]
    return [float(np.abs(a - b).max()) for a, b in zip(*fields, strict=True)]


def many_at_once(address, process_id, seconds):
    """Latencies and errors of several clients for a time, and the server's memory on the way."""
    from tfreg.serving.client.client import Client

    inputs, latencies, errors = volumes(SMALL_SHAPE), [], []
    stop = time.monotonic() + seconds

    def work():
        with Client(address) as client:
            while time.monotonic() < stop:
                started = time.perf_counter()
                try:
                    client.predict(inputs)
                    latencies.append(time.perf_counter() - started)
                except Exception as error:
                    errors.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        time.sleep(seconds / 12)
        memory.append(resident_mb(process_id))
    for thread in threads:
        thread.join()
    return latencies, errors, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7, help="Requests of each kind.")
    parser.add_argument("--seconds", type=float, default=120, help="How long many clients ask.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/serving.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        version = exported(folder)
        command = [str(Path(sys.executable).with_name("tfreg")), "serve", "--port", "0"]
        command += ["--model-base-path", str(version.parent)]
        with open(folder / "log", "w") as log:
            server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            address = re.search(r"at (\S+:\d+)", server.stdout.readline())[1]
            rows = one_by_one(address, version, arguments.times)
            field, inverse = differences(address, folder / "run")
            latencies, errors, memory = many_at_once(address, server.pid, arguments.seconds)
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
    p50, p95 = (1000 * q for q in np.percentile(latencies, (50, 95)))
    lines = [
        f"`tfreg serve` on this machine's loopback, {os.cpu_count()} CPU cores, {datetime.now(UTC):%Y-%m-%d}.",
        "",
        f"Command: `python benchmarks/serving.py --times {arguments.times} --seconds {arguments.seconds:g}`",
        "",
        f"One client, {' x '.join(map(str, SHAPE))} voxels, an untrained network of {MODEL['encoder_filters']} and "
        f"{MODEL['decoder_filters']} filters, median of {arguments.times} requests. The model's own time is that of "
        "the same SavedModel and signature called in a process beside the server.",
        "",
        "| signature | outputs sent back | sent MB | back MB | model s | request s (least to most) | overhead s |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {text} | {sent / 1e6:.1f} | {back / 1e6:.1f} | {own:.2f} | {whole:.2f} ({low:.2f} to "
            f"{high:.2f}) | {whole - own:.2f} |"
            for name, text, sent, back, own, whole, low, high in rows
        ),
        "",
        f"A whole pair of that size by `Client.register` and by `tfreg.register`: the fields differ by at most "
        f"{field:.1e} voxels, the inverses by {inverse:.1e}.",
        "",
        f"{CLIENTS} clients at once for {arguments.seconds:g} s, {' x '.join(map(str, SMALL_SHAPE))} voxels, all "
        f"outputs: {len(latencies)} answers, {len(errors)} errors, latency {p50:.0f} ms (median), {p95:.0f} ms (95th "
        "percentile). "
        f"The server's memory: {memory[0]:.0f} MB after a twelfth of the time, {memory[-1]:.0f} MB at the end, "
        f"{max(memory):.0f} MB at most. It ended with exit code {code}.",
        *(f"- error: {text}" for text in sorted(set(errors))[:5]),
    ]
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
