"""Seeds, threads and devices, set once at the start of a long command."""

import contextlib
import gc
import os
import sys
from pathlib import Path

from tfreg.config import Processing, checked
from tfreg.errors import UserError
from tfreg.native_output import silenced


def set_up(seed=None, threads=None, device=None):
    """Sets seeds and limits before the first tensor is made.

    Args:
        seed: Seeds Python, NumPy and the backend, or None.
        threads: Largest number of CPU threads for an operation, or None for all.
        device: "cpu" hides GPUs; "gpu" demands one; None takes what is there.

    Raises:
        UserError: If "gpu" is asked for and there is none, or an option is not valid.
    """
    options = checked(Processing, seed=seed, threads=threads, device=device)
    seed, threads = options.seed, options.threads
    limit_native_threads(threads)
    # What TensorFlow tells its developers, such as which compiler it starts.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    hidden = ("sklearn", "pandas", "matplotlib", *([] if _may_run_on_jax() else ["jax"]))
    with silenced(), _never_collected(), _hidden(*hidden):
        import keras

    if keras.backend.backend() == "tensorflow":
        set_up_tensorflow(threads, device)
    elif device == "cpu" and keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_platforms", "cpu")
    if seed is not None:
        keras.utils.set_random_seed(seed)


def _may_run_on_jax():
    """Whether KERAS_BACKEND, or else Keras' own settings, name JAX."""
    settings = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras", "keras.json")
    named = os.environ.get("KERAS_BACKEND") or (settings.read_text(encoding="utf-8") if settings.is_file() else "")
    return "jax" in named


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
def _hidden(*packages):
    """Within this context packages that are not loaded yet count as not installed.

    Keras and TensorFlow look for some only to offer more where they are there, and loading them takes two seconds.
    """
    packages = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(packages))
    try:
        yield
    finally:
        for package in packages:
            del sys.modules[package]


def limit_native_threads(threads):
    """Limits the threads of OpenMP and ITK here, where they are not loaded yet, and in processes that begin later.

    Args:
        threads: The largest number, or None for no limit.
    """
    if threads:
        names = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
        os.environ.update(dict.fromkeys(names, str(threads)))


def set_up_tensorflow(threads=None, device=None):
    """The part of `set_up` that needs TensorFlow and not Keras; arguments and errors as there."""
    import tensorflow as tf

    with silenced():
        gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise UserError("--device gpu: TensorFlow sees no GPU here; install tfreg[gpu], or use --device cpu")
    # Once TensorFlow has started, its devices and threads can no longer be chosen.
    with contextlib.suppress(RuntimeError):
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(max(1, min(threads, 2)))
    with silenced():
        tf.config.list_logical_devices()  # starts TensorFlow, which has more to say


def versions():
    """Dictionary of the versions that a result depends on; Keras' and TensorFlow's where they are in use."""
    import numpy
    import scipy

    import tfreg

    found = {"tfreg": tfreg.__version__, "numpy": numpy.__version__, "scipy": scipy.__version__}
    keras = sys.modules.get("keras")
    if keras is not None:
        found |= {"keras": keras.__version__, "backend": keras.backend.backend()}
        if found["backend"] == "tensorflow":
            import tensorflow as tf

            found["tensorflow"] = tf.__version__
    return found
