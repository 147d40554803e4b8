"""`tfreg serve`: TensorFlow Serving's gRPC API on this machine, for development and small sites.

Production uses the real server, which takes the same folder and the same clients:

    tensorflow_model_server --port=8500 --model_name=tfreg --model_base_path=/models/tfreg
"""

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tfreg.config import ServerOptions
from tfreg.errors import UserError, WorkError
from tfreg.runtime.child_process import run_child
from tfreg.runtime.keras_settings import hidden
from tfreg.runtime.native_output import silenced
from tfreg.runtime.resources import Resources, set_up_tensorflow
from tfreg.serving.protocol.version_folders import VersionFolders
from tfreg.serving.server.options import check_server

LOG = logging.getLogger("tfreg.serving")


def serve(options: ServerOptions, resources: Resources | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then lets what is in flight finish.

    The first line on standard output is the address, once a model is loaded and the port is open;
    every request has one line on standard error.

    Args:
        options: A `tfreg.config.ServerOptions`. Without a folder, the weights that ship are exported to a temporary
            one, which takes about a minute.
        resources: A `Resources`, of which threads and device count; None for the defaults.

    Raises:
        UserError: If a server cannot be started with the options, there is no version to serve, or the port is taken.
        WorkError: If the weights that ship cannot be exported.
    """
    check_server(options)
    with base_path(options) as folder:
        _serve(options.model_copy(update={"model_base_path": folder}), resources or Resources())


@contextlib.contextmanager
def base_path(options: ServerOptions) -> Iterator[Path]:
    """The model's folder; where the options name none, one of the weights that ship, for as long as it is served.

    Args:
        options: A `tfreg.config.ServerOptions`.

    Raises:
        WorkError: If the weights that ship cannot be exported.
    """
    if options.model_base_path is not None:
        yield options.model_base_path
        return
    with tempfile.TemporaryDirectory(prefix="tfreg-") as scratch:
        folder = Path(scratch) / "tfreg"
        print("no --model-base-path: exporting the weights that ship", file=sys.stderr, flush=True)
        try:
            run_child([str(Path(sys.executable).with_name("tfreg")), "export", "--out", str(folder)])
        except ChildProcessError as error:
            raise WorkError(f"the weights that ship cannot be served: {error}") from error
        yield folder


def _serve(options, resources):
    """`serve` of a model's folder."""
    folders = VersionFolders(options.model_base_path)
    _poll(folders, options)
    polled = time.monotonic()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Keras has no part in it, and TensorFlow would load it with all that Keras looks for.
    with silenced(), hidden("keras", "jax"):
        from tfreg.serving.server.grpc_server import run
        from tfreg.serving.server.loaded_model import load
        from tfreg.serving.server.model_versions import ModelVersions
    set_up_tensorflow(resources.threads, resources.device)
    _set_up_log()
    versions = ModelVersions(options.model_name, folders, load)
    _load_first(versions, options, polled)
    run(versions, options)


def _poll(poller, options):
    """`poller.poll()`, of VersionFolders or ModelVersions, where a model must be there; the folders that hold one."""
    base = options.model_base_path
    try:
        folders = poller.poll()
    except OSError as error:
        raise UserError(f"{base}: cannot be listed ({error.strerror}); name the folder of a model") from error
    models = [folder for folder in folders.values() if "saved_model.pb" in folder.files]
    if not models:
        raise UserError(f"{base}: holds no version of a model, such as {base}/1/saved_model.pb; export one there")
    return models


def _load_first(versions, options, polled):
    """Polls until a version is loaded; a folder whose files still change is waited for."""
    while versions.version is None:
        time.sleep(max(0.0, options.poll_seconds - (time.monotonic() - polled)))
        polled = time.monotonic()
        models = _poll(versions, options)
        if versions.version is not None:
            return
        if all(folder.complete for folder in models):
            raise UserError(f"{options.model_base_path}: no version in it can be loaded; export the model again")
        LOG.info("waiting: the files of version %d still change", models[-1].version)


def _set_up_log():
    """One handler for standard error, with the time before every line."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
