"""Keras as tfreg needs it, whatever a person has set for other work with Keras."""

import contextlib
import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator

from tfreg.errors import UserError
from tfreg.runtime.native_output import silenced

# The backends that KERAS_BACKEND may name, with the package and what people call it.
BACKENDS = {"tensorflow": ("tensorflow", "TensorFlow"), "jax": ("jax", "JAX"), "torch": ("torch", "PyTorch")}
SETTINGS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}

# Nothing can be read or written there: Keras neither finds a keras.json nor leaves one behind.
NO_HOME = os.devnull

_lock = threading.Lock()
_users = 0
_before: dict = {}


def load_keras() -> None:
    """Imports Keras, where it is not loaded yet, with its defaults: of a person's settings KERAS_BACKEND alone counts.

    Raises:
        UserError: If KERAS_BACKEND names no backend, or one that is not installed.
    """
    if "keras" in sys.modules:
        return
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in BACKENDS:
        raise UserError(f"KERAS_BACKEND={backend}: choose {', '.join(BACKENDS)}, or unset it for tensorflow")
    package, name = BACKENDS[backend]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"KERAS_BACKEND={backend}: {name} is not installed; install it, or unset KERAS_BACKEND")
    absent = ("sklearn", "pandas", "matplotlib", *([] if backend == "jax" else ["jax"]))
    with silenced(), _never_collected(), hidden(*absent), _default_environment(backend):
        import keras  # noqa: F401


@contextlib.contextmanager
def own_keras_settings() -> Iterator[None]:
    """Within this context Keras has its default settings; those of the program around come back after the last one.

    Keras keeps float type and order of axes once for the whole process, and the precision policy by thread.
    """
    import keras

    global _users
    with _lock:
        if not _users:
            _before.update({name: getattr(keras.config, name)() for name in SETTINGS})
            _set(SETTINGS)
        _users += 1
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        with _lock:
            _users -= 1
            if not _users:
                _set(_before)


def _set(settings):
    import keras

    for name, value in settings.items():
        getattr(keras.config, f"set_{name}")(value)


@contextlib.contextmanager
def _default_environment(backend):
    """Within this context the environment tells Keras its backend and nothing else."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("KERAS_")}
    for name in settings:
        del os.environ[name]
    os.environ.update(KERAS_HOME=NO_HOME, KERAS_BACKEND=backend)
    try:
        yield
    finally:
        for name in ("KERAS_HOME", "KERAS_BACKEND"):
            os.environ.pop(name, None)
        os.environ.update(settings)


@contextlib.contextmanager
def _never_collected():
    """What is there at the end is never searched for garbage, which takes a second of a command and finds none."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextlib.contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Within this context packages that are not loaded yet count as not installed.

    Keras and TensorFlow look for some only to offer more where they are there, and loading them takes two seconds.

    Args:
        packages: Their names.
    """
    absent = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None stands for what is not installed
    try:
        yield
    finally:
        for package in absent:
            del sys.modules[package]
