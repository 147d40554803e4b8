"""`tfreg export`: a trained run as a SavedModel for TensorFlow Serving."""

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfreg.config import SHIPPED_WEIGHTS, ExportOptions
from tfreg.errors import UserError, WorkError
from tfreg.io.digests import bytes_digest
from tfreg.io.folders.folder_lock import FolderInUse
from tfreg.io.folders.result_folder import Kind, claimed_result
from tfreg.io.training_report import REPORT, TrainingReport
from tfreg.ops.acceleration import portable
from tfreg.ops.native_dilation import dilates_natively
from tfreg.preprocessing.whole_pair import counted_voxels
from tfreg.registration.trained_run import find_run, load_run
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.runtime.native_output import STDERR, STDOUT, silenced
from tfreg.runtime.resources import Resources, versions
from tfreg.serving.protocol.encoding import whole_numbers
from tfreg.serving.protocol.export_manifest import MANIFEST, ExportedModel, ExportManifest, ModelManifest
from tfreg.serving.protocol.signature_names import ALL_PASSES, makes_all_passes, signature_names
from tfreg.serving.protocol.version_folders import version_of
from tfreg.serving.saved_model.checks import check_operations, difference_in_fresh_process
from tfreg.serving.saved_model.signatures import Signatures
from tfreg.serving.saved_model.warm_up import write_warm_up

MODEL_NAME = "tfreg"
VERSION = Kind("an exported version", "saved_model.pb", ())

# Of the answers in a process of its own, in the units of each output: voxels, intensities in [0, 1], logits.
TOLERANCE = 1e-3
CHECK_SHAPE = (24, 28, 20)


def export(
    run: str | Path = SHIPPED_WEIGHTS,
    out: str | Path = "export/models/tfreg",
    options: ExportOptions | None = None,
    resources: Resources | None = None,
) -> tuple[Path, ExportManifest]:
    """Writes the next numbered version folder of a model; it appears whole or not at all.

    Args:
        run: A run folder or a .keras file in one; "weights", the default, are those that ship with the package. Of a
            network that its config runs several times for a pair, the graph makes all passes of one request.
        out: The model's folder; versions are numbered folders in it.
        options: A `tfreg.config.ExportOptions`, or None for the defaults. Without a shape to warm up with, the run's
            own network grid is taken, where its config names one; else of all passes a small one, since the first
            request takes seconds whatever its size.
        resources: A `Resources`, or None for the defaults; nothing is random.

    Returns:
        The version folder and its manifest.

    Raises:
        UserError: If the backend is not TensorFlow or has no oneDNN where that is asked for, the run cannot be loaded
            or needs larger volumes than are allowed, the folder cannot be written, or the SavedModel does not do in a
            fresh process what the model does.
        WorkError: If what lies in the folder at the end is not what was proved.

    Example:
        >>> folder, manifest = tfreg.export("run", "models/tfreg")
        >>> folder.as_posix(), manifest.signatures
        ('models/tfreg/1', ('serving_default', 'int16', 'warp', 'config'))
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(f"KERAS_BACKEND={keras.backend.backend()}: export runs on TensorFlow; unset KERAS_BACKEND")
    options = options or ExportOptions()
    file, config = find_run(run)
    grid_shape = config.preprocessing.network_grid.shape
    _check_sizes(options, grid_shape, makes_all_passes(config))
    replace(resources or Resources(), seed=None).set_up()
    if options.onednn and not dilates_natively():
        raise UserError(
            "--onednn: TensorFlow does without oneDNN on this processor; set TF_ENABLE_ONEDNN_OPTS=1, or leave it out"
        )
    trained = load_run(run)
    if not options.shape:
        small = (CHECK_SHAPE,) if makes_all_passes(config) else ()
        options = options.model_copy(update={"shape": (grid_shape,) if grid_shape else small})
    with claimed_version(out) as (version, written):
        return _export(trained, Path(out) / str(version), written, options, _metrics(file))


@contextlib.contextmanager
def claimed_version(out: str | Path) -> Iterator[tuple[int, Callable[[], AbstractContextManager[Path]]]]:
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


def _export(trained, out, written, options, metrics):
    """Writes a version."""
    model = ModelManifest(
        model=ExportedModel(trained.name, trained.sha256, int(out.name)),
        config=trained.config.model_dump(mode="json"),
        versions=versions(),
        signatures=signature_names(trained.config),
        max_voxels=options.max_voxels,
        portable=not options.onednn,
        warm_up_shapes=options.shape,
        metrics=metrics,
    )
    with written() as folder:
        with portable(native_dilation=options.onednn), silenced(STDOUT, STDERR), own_keras_settings():
            config = trained.config
            schedule = config.prediction if makes_all_passes(config) else None
            signatures = Signatures(trained.network, config.model, model.text(), options.max_voxels, schedule)
            _save(signatures, folder)
            inputs, expected = _examples(signatures)
        if not all(np.isfinite(value).all() for value in expected["serving_default"].values()):
            raise UserError(f"{trained.name}: the network's answer is not finite; train it again")
        check_operations(folder)
        write_warm_up(folder, MODEL_NAME, options.shape, model.signatures)
        files = _checksums(folder)
        differences = difference_in_fresh_process(folder, inputs, expected, options.onednn)
        worst = max(differences, key=lambda name: differences[name])
        if not differences[worst] <= TOLERANCE:
            raise UserError(
                f"{out}: the exported model's {worst} differs by {differences[worst]:g} from the run's; "
                "report this, with the run's config.yaml"
            )
        manifest = ExportManifest(**dict(model), largest_difference=differences, files=files)
        (folder / MANIFEST).write_text(manifest.text(), encoding="utf-8")
    _check_in_place(out, manifest)
    return out, manifest


def _check_sizes(options, grid_shape, all_passes):
    """Refuses a limit that the model's own requests would not pass: no server could load it, or no client use it."""
    needed = {f"--shape {'x'.join(map(str, shape))}": shape for shape in options.shape}
    if grid_shape:
        needed[f"the network grid of {'x'.join(map(str, grid_shape))} voxels in config.yaml"] = grid_shape
    needed["the check of every export"] = CHECK_SHAPE
    for name, shape in needed.items():
        voxels = counted_voxels(shape) if all_passes else math.prod(shape)
        if voxels > options.max_voxels:
            raise UserError(f"--max-voxels {options.max_voxels}: {name} needs {voxels}; give at least as many")


def _checksums(folder):
    """The SHA-256 of every file in a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): bytes_digest(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _check_in_place(folder, manifest):
    """Removes a version whose files are not, where they lie now, the bytes that were proved."""
    try:
        checksums = _checksums(folder)
        del checksums[MANIFEST]
        whole = checksums == manifest.files and ExportManifest.read(folder / MANIFEST) == manifest
    except (OSError, KeyError, UserError):
        whole = False
    if not whole:
        shutil.rmtree(folder, ignore_errors=True)
        raise WorkError(f"{folder}: does not hold what was written there, and is removed; check the disk")


def next_version(out: str | Path) -> int:
    """The number after the largest version in a model's folder; 1 where there is none."""
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder for the model's versions")
    versions_there = (version_of(path) for path in out.iterdir()) if out.is_dir() else ()
    return 1 + max((version for version in versions_there if version is not None), default=0)


def _save(signatures, folder):
    """Leaves all tracing to the saving: what was traced before, TensorFlow traces again there."""
    functions = {
        name: tf.function(function, specs, autograph=False)
        for name, (function, specs) in signatures.endpoints().items()
    }
    variables = [variable.value for variable in signatures.head.variables]
    tf.saved_model.save(tf.train.Checkpoint(variables=variables, **functions), str(folder), functions)


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
            signatures.array: np.zeros((1, *trunk, signatures.channels), np.float32),
        },
        "config": {"key": np.array([b"key"])},
    }
    # Zero at the border, where the last bit of a coordinate decides what lies outside.
    lying = {
        name: np.pad(volume[:, 1:-1, 1:-1, 1:-1], [(0, 0), *[(1, 1)] * 3, (0, 0)]) for name, volume in pair.items()
    }
    places = {
        "fixed_map": np.eye(3, 4),
        "moving_map": np.eye(3, 4) + 0.05 * rng.standard_normal((3, 4)),
        "grid": np.array(CHECK_SHAPE, np.int32),
    }
    inputs[ALL_PASSES["float32"]] = lying | places
    inputs[ALL_PASSES["int16"]] = {name: whole_numbers(volume) for name, volume in lying.items()} | places
    endpoints, expected = signatures.endpoints(), {}
    inputs = {name: inputs[name] for name in endpoints}
    for name, (function, _) in endpoints.items():
        answer = function(**{key: tf.constant(value) for key, value in inputs[name].items()})
        expected[name] = {key: np.asarray(value) for key, value in answer.items()}
    return inputs, expected


def _metrics(file):
    """The metrics of the best epoch of the training that a model's file is of; None without a report that is whole."""
    try:
        return TrainingReport.read(file.with_name(REPORT)).best
    except UserError:
        return None
