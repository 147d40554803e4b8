"""Makes the golden files: what a version of tfreg writes, in all of its formats, and the numbers that it gives.

    python tests/goldens/make.py FOLDER

They are made once, by the version before a redesign, and are not made again after it.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

CONFIG = """
preprocessing:
  network_grid: {orientation: RAS, spacing: 20, shape: [16, 16, 16]}
  intensity: {window: [0, 1300]}
  init: centre
pairs: {moving: inhale, fixed: exhale}
model: {encoder_filters: [4, 4], encoder_dilations: [1, 2], squeeze_ratio: 2, decoder_filters: [4]}
loss: {smoothness: 0.05}
training: {learning_rate: 0.01, steps_per_epoch: 20, epochs: 2, validation_pairs: 1}
"""
POINTS = [[0.0, 0.0, 0.0], [31.0, -22.0, 17.0], [-44.0, 9.0, -38.0]]


def tfreg(*words):
    """One command, with one thread."""
    print("tfreg", *words, flush=True)
    subprocess.run([Path(sys.executable).with_name("tfreg"), *map(str, words)], check=True)


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    data, one = folder / "data", ("--threads", 1)
    size = ("--shape", 17, 16, 18, "--spacing", 19, 20, 18)
    tfreg("simulate", "--out", data, "--subjects", 5, *size, "--splits", 0.6, 0.2, 0.2, "--seed", 3, *one)
    table = data / "subjects.csv"
    tfreg("train", folder / "config.yaml", "--data", table, "--run", folder / "run", *one, "--device", "cpu")
    test = next(line.split(",")[1] for line in table.read_text().splitlines() if line.endswith(",test"))
    sides = {"fixed": "exhale", "moving": "inhale"}
    files = []
    for side, phase in sides.items():
        files += [f"--{side}", data / "images" / f"{test}_{phase}.nii.gz"]
        files += [f"--{side}-labels", data / "labels" / f"{test}_{phase}.nii.gz"]
        files += [f"--{side}-points", data / "points" / f"{test}_{phase}.csv"]
    tfreg("register", "--model", folder / "run", *files, "--out", folder / "result", *one, "--device", "cpu")
    table_of = ("--data", table, "--pairs", "inhale:exhale", "--split", "test")
    tfreg("evaluate", *table_of, "--model", folder / "run", "--out", folder / "evaluation", *one, "--device", "cpu")
    tfreg("export", "--run", folder / "run", "--out", folder / "export")
    tfreg(
        "tune",
        folder / "config.yaml",
        "--data",
        table,
        "--out",
        folder / "tuned",
        "--tuner",
        "random",
        "--trials",
        2,
        *one,
    )
    (folder / "numbers.json").write_text(json.dumps(numbers(folder, test), indent=1) + "\n")
    # What no test reads.
    for path in (folder / "data" / "displacements", folder / "evaluation" / "pictures"):
        shutil.rmtree(path, ignore_errors=True)


def numbers(folder, test):
    """What the files give today."""
    import tensorflow as tf

    import tfreg

    transform = tfreg.load_transform(folder / "result")[0]
    with np.load(folder / "result" / "transform.npz") as archive:
        written = sorted(archive.files)
    run = tfreg.load_run(folder / "run")
    shape = run.config.preprocessing.network_grid.shape
    rng = np.random.default_rng(0)
    batch = {name: rng.random((1, *shape, 1), np.float32) for name in ("fixed", "moving")}
    answer = tf.saved_model.load(str(folder / "export" / "1")).signatures["serving_default"](
        **{name: tf.constant(array) for name, array in batch.items()}
    )
    return {
        "subject": test,
        "archive": written,
        "points": POINTS,
        "mapped": np.asarray(transform(np.array(POINTS))).tolist(),
        "network_displacement": _digest(run.network.predict_on_batch(batch)["displacement"]),
        "served_displacement": _digest(answer["displacement"].numpy()),
    }


def _digest(array):
    """Mean, deviation and three values of an array."""
    flat = np.asarray(array, np.float64).ravel()
    return [flat.mean(), flat.std(), *flat[[17, 1017, 4017]]]


if __name__ == "__main__":
    main()
