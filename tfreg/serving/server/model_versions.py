"""The versions of a model that are served: loaded beside the running one, taken over, released."""

import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from tfreg.serving.protocol.version_folders import VersionFolder, VersionFolders
from tfreg.serving.server.status import StatusError, plain_text

if TYPE_CHECKING:
    from tfreg.serving.server.loaded_model import LoadedModel

LOG = logging.getLogger("tfreg.serving")
State = get_model_status_pb2.ModelVersionStatus
_MAX_STATES = 100


class ModelVersions:
    """Serves the newest complete version, and follows the folder.

    Args:
        name: What clients call the model.
        folders: VersionFolders.
        load: `load(path, version)`, which returns a model or raises.

    Attributes:
        name: What clients call the model.
    """

    def __init__(self, name: str, folders: VersionFolders, load: "Callable[[Path, int], LoadedModel]") -> None:
        self.name = name
        self._folders = folders
        self._load = load
        self._lock = threading.Lock()
        self._current = None
        self._users = {}  # {model: requests that hold it}, of the current model and of those that end
        self._failed = {}  # {version: its files when it could not be loaded}
        self._states = {}  # {version: (state, grpc.StatusCode, text)}

    @property
    def version(self) -> int | None:
        """Number of the version that answers, or None."""
        model = self._current
        return model.version if model else None

    def poll(self) -> dict[int, VersionFolder]:
        """Looks at the folders once, loads what is newer, and releases what nobody uses any more.

        Returns:
            {version: VersionFolder} of what is there.

        Raises:
            OSError: If the base path cannot be listed; what runs goes on.
        """
        self._release()
        folders = self._folders.poll()
        self._failed = {version: files for version, files in self._failed.items() if version in folders}
        for version in sorted(folders, reverse=True):
            if version == self.version:
                break
            folder = folders[version]
            if folder.complete and self._failed.get(version) != folder.files and self._take(folder):
                break
        self._release()
        return folders

    def watch(self, seconds: float, stopping: threading.Event) -> None:
        """Polls until the event `stopping` is set; nothing that goes wrong ends it."""
        logged = None
        while not stopping.wait(seconds):
            trouble = None
            try:
                self.poll()
            except Exception as error:
                trouble = _line(error)
            if trouble and trouble != logged:
                LOG.warning("version folders cannot be polled: %s", trouble)
            logged = trouble

    @contextlib.contextmanager
    def lease(self, model_spec: model_pb2.ModelSpec) -> "Iterator[LoadedModel]":
        """The model for a ModelSpec; it is not released within the context.

        Raises:
            StatusError: If there is no such model or version.
        """
        if not model_spec.name:
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice = model_spec.WhichOneof("version_choice")
        if choice == "version_label":
            text = "ModelSpec has 'version_label' set, but it is not currently allowed by the server."
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, text)
        with self._lock:
            model = self._current
            is_there = model is not None and model_spec.name == self.name
            if not is_there or (choice == "version" and model_spec.version.value != model.version):
                wanted = f"Latest({model_spec.name})"
                if choice == "version":
                    wanted = f"Specific({model_spec.name}, {model_spec.version.value})"
                raise StatusError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
            self._users[model] += 1
        try:
            yield model
        finally:
            with self._lock:
                self._users[model] -= 1

    def states(self) -> dict[int, tuple[int, grpc.StatusCode, str]]:
        """{version: (state, grpc.StatusCode, text)} of every version so far, newest first."""
        with self._lock:
            return dict(sorted(self._states.items(), reverse=True))

    def _take(self, folder):
        """Loads a version and lets it answer from now on; False if it cannot be loaded."""
        version = folder.version
        self._report(version, State.LOADING)
        try:
            model = self._load(folder.path, version)
        except Exception as error:
            self._failed[version] = folder.files
            self._report(version, State.END, grpc.StatusCode.UNKNOWN, "the version cannot be loaded")
            goes_on = f"version {self.version} goes on" if self._current else "nothing is served yet"
            LOG.warning("version %d cannot be loaded; %s: %s", version, goes_on, _line(error))
            return False
        with self._lock:
            before, self._current = self._current, model
            self._users[model] = 0
        self._failed.pop(version, None)
        self._report(version, State.AVAILABLE)
        if before is not None:
            self._report(before.version, State.UNLOADING)
            LOG.info("version %d took over from version %d", version, before.version)
        return True

    def _release(self):
        """Lets go of models that have been taken over and that no request holds."""
        with self._lock:
            in_use = {model: users for model, users in self._users.items() if users or model is self._current}
            released = [model.version for model in self._users if model not in in_use]
            self._users = in_use
        for version in released:
            self._report(version, State.END)
            LOG.info("version %d is released", version)
        if released:
            gc.collect()  # TensorFlow's functions refer to each other in circles

    def _report(self, version, state, code=grpc.StatusCode.OK, text=""):
        with self._lock:
            self._states[version] = (state, code, text)
            while len(self._states) > _MAX_STATES:
                del self._states[next(iter(self._states))]


def _line(error):
    return f"{type(error).__name__}: {plain_text(str(error))[:300]}"
