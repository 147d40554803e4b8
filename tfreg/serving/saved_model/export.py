"""`tfreg export`: a trained run as a SavedModel for TensorFlow Serving."""

import contextlib
import json
import math
import shutil
from hashlib import sha256
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfreg.config import ExportOptions, checked
from tfreg.errors import UserError, WorkError
from tfreg.io.folders.folder_lock import FolderInUse
from tfreg.io.folders.result_folder import Kind, claimed_result
from tfreg.ops.acceleration import portable
from tfreg.ops.native_dilation import dilates_natively
from tfreg.registration.trained_run import find_run, load_run
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.runtime.native_output import STDERR, STDOUT, silenced
from tfreg.runtime.resources import set_up, versions
from tfreg.serving.protocol.encoding import whole_numbers
from tfreg.serving.protocol.version_folders import version_of
from tfreg.serving.saved_model.checks import check_operations, difference_in_fresh_process
from tfreg.serving.saved_model.signatures import NAMES, Signatures
from tfreg.serving.saved_model.warm_up import write_warm_up

MANIFEST = "tfreg.json"
MODEL_NAME = "tfreg"
VERSION = Kind("an exported version", "saved_model.pb", ())

# The paper's 64 x 192 x 192 are 2.4 million; the network's memory grows with the voxels of a request.
MAX_VOXELS = 16_000_000

# Of the answers in a process of its own, in the units of each output: voxels, intensities in [0, 1], logits.
TOLERANCE = 1e-3
CHECK_SHAPE = (24, 28, 20)


def export_run(run, out, shapes=(), onednn=False, max_voxels=MAX_VOXELS, threads=None, device=None):
    """Writes the next numbered version folder of a model; it appears whole or not at all.

    Args:
        run: A run folder or a .keras file in one.
        out: The model's folder; versions are numbered folders in it.
        shapes: Spatial shapes that the server warms up with, three numbers each; without any, the run's own
            network grid where its config names one.
        onednn: Keeps TensorFlow's native dilated convolution, which is faster and needs oneDNN on the CPU.
        max_voxels: Requests for larger volumes are refused.
        threads, device: See `tfreg.runtime.resources.set_up`.

    Returns:
        The version folder's `Path` and its manifest, a dictionary.

    Raises:
        UserError: If the backend is not TensorFlow or has no oneDNN where that is asked for, an option is not valid,
            the run cannot be loaded, the folder cannot be written, or the SavedModel does not do in a fresh process
            what the model does.
        WorkError: If what lies in the folder at the end is not what was proved.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(f"KERAS_BACKEND={keras.backend.backend()}: export runs on TensorFlow; unset KERAS_BACKEND")
    shapes = [tuple(shape) for shape in shapes]
    options = checked(ExportOptions, shape=shapes, onednn=onednn, max_voxels=max_voxels, threads=threads, device=device)
    shapes, onednn, max_voxels = list(options.shape), options.onednn, options.max_voxels
    _, config = find_run(run)
    grid = config.preprocessing.network_grid
    _check_sizes(max_voxels, shapes, grid.shape)
    set_up(threads=threads, device=device)
    if onednn and not dilates_natively():
        raise UserError(
            "--onednn: TensorFlow does without oneDNN on this processor; set TF_ENABLE_ONEDNN_OPTS=1, or leave it out"
        )
    trained = load_run(run)
    shapes = shapes or ([grid.shape] if grid.shape else [])
    with claimed_version(out) as (version, written):
        return _export(trained, Path(out) / str(version), written, shapes, onednn, max_voxels, _metrics(run))


@contextlib.contextmanager
def claimed_version(out):
    """Takes the next version of a model, which no other export gets meanwhile.

    Args:
        out: The model's folder.

    Yields:
        The version's number, and what gives the folder to write to (see `claimed_result`).

    Raises:
        UserError: If the folder cannot be written, or the version is there by the time it is put in place.
    """
    version = next_version(out)
    with contextlib.ExitStack() as stack:
        while True:
            try:
                claim = claimed_result(Path(out) / str(version), VERSION)
                written = stack.enter_context(claim)
                break
            except FolderInUse:
                version += 1  # another export has it
        yield version, written


def _export(trained, out, written, shapes, onednn, max_voxels, metrics):
    """Writes a version."""
    version = int(out.name)
    manifest = {
        "model": {"name": trained.name, "sha256": trained.sha256, "version": version},
        "config": trained.config.model_dump(mode="json"),
        "versions": versions(),
        "signatures": list(NAMES),
        "max_voxels": max_voxels,
        "portable": not onednn,
        "warm_up_shapes": [list(shape) for shape in shapes],
        "metrics": metrics,
    }
    with written() as folder:
        with portable(native_dilation=onednn), silenced(STDOUT, STDERR), own_keras_settings():
            signatures = Signatures(trained.network, trained.config.model, json.dumps(manifest), max_voxels)
            _save(signatures, folder)
            inputs, expected = _examples(signatures)
        if not all(np.isfinite(value).all() for value in expected["serving_default"].values()):
            raise UserError(f"{trained.name}: the network's answer is not finite; train it again")
        check_operations(folder)
        write_warm_up(folder, MODEL_NAME, shapes)
        files = _checksums(folder)
        differences = difference_in_fresh_process(folder, inputs, expected, onednn)
        worst = max(differences, key=differences.get)
        if not differences[worst] <= TOLERANCE:
            raise UserError(
                f"{out}: the exported model's {worst} differs by {differences[worst]:g} from the run's; "
                "report this, with the run's config.yaml"
            )
        manifest |= {"largest_difference": differences, "files": files}
        (folder / "assets.extra" / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    _check_in_place(out, manifest)
    return out, manifest


def _check_sizes(max_voxels, shapes, grid_shape):
    """Refuses a limit that the model's own requests would not pass: no server could load it, or no client use it."""
    needed = {f"--shape {'x'.join(map(str, shape))}": shape for shape in shapes}
    if grid_shape:
        needed[f"the network grid of {'x'.join(map(str, grid_shape))} voxels in config.yaml"] = grid_shape
    needed["the check of every export"] = CHECK_SHAPE
    for name, shape in needed.items():
        if math.prod(shape) > max_voxels:
            raise UserError(f"--max-voxels {max_voxels}: {name} needs {math.prod(shape)}; give at least as many")


def _checksums(folder):
    """The SHA-256 of every file in a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _check_in_place(folder, manifest):
    """Removes a version whose files are not, where they lie now, the bytes that were proved."""
    name = f"assets.extra/{MANIFEST}"
    try:
        found = _checksums(folder)
        del found[name]
        told = json.loads((folder / name).read_text(encoding="utf-8"))
        whole = found == manifest["files"] and told == json.loads(json.dumps(manifest))
    except (OSError, ValueError, KeyError):
        whole = False
    if not whole:
        shutil.rmtree(folder, ignore_errors=True)
        raise WorkError(f"{folder}: does not hold what was written there, and is removed; check the disk")


def next_version(out):
    """The number after the largest version in a model's folder; 1 where there is none."""
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder for the model's versions")
    versions_there = (version_of(path) for path in out.iterdir()) if out.is_dir() else ()
    return 1 + max((version for version in versions_there if version is not None), default=0)


def _save(signatures, folder):
    archive = keras.export.ExportArchive()
    archive.track(signatures.head)
    for name, (function, specs) in signatures.endpoints().items():
        archive.add_endpoint(name, function, specs)
    archive.write_out(str(folder), verbose=False)


def _examples(signatures):
    """For every signature a question, and the model's own answer."""
    rng = np.random.default_rng(0)
    pair = {name: rng.random((1, *CHECK_SHAPE, 1), np.float32) for name in ("fixed", "moving")}
    trunk = (-(-size // signatures.stride) for size in CHECK_SHAPE)
    inputs = {
        "serving_default": pair,
        "int16": {name: whole_numbers(volume) for name, volume in pair.items()},
        # The identity: rounding moves no label.
        "warp": {
            "image": pair["moving"],
            "labels": rng.integers(0, 5, pair["moving"].shape, np.int32),
            "linear": np.eye(3, 4, dtype=np.float32)[None],
            "logits": np.zeros((1, *trunk, 3), np.float32),
        },
        "config": {"key": np.array([b"key"])},
    }
    expected = {}
    for name, (function, _) in signatures.endpoints().items():
        answer = function(**{key: tf.constant(value) for key, value in inputs[name].items()})
        expected[name] = {key: np.asarray(value) for key, value in answer.items()}
    return inputs, expected


def _metrics(run):
    """The best figures of the run's training, where its report is there."""
    run = Path(run)
    file = (run if run.is_dir() else run.parent) / "report.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))["best"]
    except (OSError, ValueError, KeyError):
        return None
