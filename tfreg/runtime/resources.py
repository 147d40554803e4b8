"""`Resources`: seeds, threads and devices, set once at the start of a long command."""

import contextlib
import os
import sys
from dataclasses import dataclass, replace

from tfreg.config import Processing, checked
from tfreg.errors import UserError
from tfreg.runtime.keras_settings import load_keras
from tfreg.runtime.native_output import silenced
from tfreg.runtime.threads import limited_threads, usable_cpus

FLAGS = {"XLA_FLAGS", "TF_XLA_FLAGS"}


@dataclass(frozen=True)
class Resources:
    """What a command or a call may use of the machine, and its seed.

    Args:
        seed: Seeds Python, NumPy and the backend, or None.
        threads: Largest number of CPU threads, of each process; None for all.
        device: "cpu" hides GPUs; "gpu" demands one; None takes what is there.
        workers: Processes side by side, where a command has many pairs.

    Raises:
        UserError: If an option is not valid.

    Example:
        >>> tfreg.Resources(threads=1, device="cpu", workers=2)
        Resources(seed=0, threads=1, device='cpu', workers=2)
    """

    seed: int | None = 0
    threads: int | None = None
    device: str | None = None
    workers: int = 1

    def __post_init__(self):
        for name, value in checked(Processing, **vars(self)):
            object.__setattr__(self, name, value)

    def set_up(self) -> None:
        """Sets seeds and limits of this process, before the first tensor is made.

        Raises:
            UserError: If "gpu" is asked for and there is none, or the backend cannot be used.
        """
        limit_native_threads(self.threads)
        # What TensorFlow tells its developers, such as which compiler it starts.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        load_keras()
        import keras

        if keras.backend.backend() == "tensorflow":
            set_up_tensorflow(self.threads, self.device)
        elif keras.backend.backend() == "jax":
            _set_up_jax(self.device)
        if self.seed is not None:
            keras.utils.set_random_seed(self.seed)

    def limited(self) -> contextlib.AbstractContextManager[None]:
        """A context within which reading, resampling and writing keep to the threads."""
        return limited_threads(self.threads)

    def of_each_process(self) -> "Resources":
        """The same with the machine's threads divided among the workers, where their number was not given."""
        if self.workers == 1 or self.threads is not None:
            return self
        return replace(self, threads=max(1, usable_cpus() // self.workers))


def native_threads(threads: int) -> dict[str, str]:
    """The environment by which OpenMP and ITK take no more threads."""
    return dict.fromkeys(("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), str(threads))


def limit_native_threads(threads: int | None) -> None:
    """Limits the threads of OpenMP and ITK here, where they are not loaded yet, and in processes that begin later.

    Args:
        threads: The largest number, or None for no limit.
    """
    if threads:
        os.environ.update(native_threads(threads))


def set_up_tensorflow(threads: int | None = None, device: str | None = None) -> None:
    """The part of `Resources.set_up` that needs TensorFlow and not Keras; arguments and errors as there."""
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
    # A flag that XLA does not know ends the process where it is first compiled; its line must be seen, and soon.
    with contextlib.nullcontext() if FLAGS & os.environ.keys() else silenced():
        tf.config.list_logical_devices()  # starts TensorFlow, which has more to say
        if FLAGS & os.environ.keys():
            tf.function(tf.identity, jit_compile=True)(tf.zeros(()))


def _set_up_jax(device):
    """The part of `Resources.set_up` for JAX; arguments and errors as there."""
    import jax

    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    try:
        platform = jax.default_backend()  # starts JAX
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"JAX does not start here ({reason}); check JAX_PLATFORMS, or unset it") from error
    if device == "gpu" and platform not in ("gpu", "cuda", "rocm"):
        raise UserError("--device gpu: JAX sees no GPU here; install JAX for this GPU, or use --device cpu")


def versions() -> dict[str, str]:
    """Dictionary of the versions that a result depends on; Keras' and TensorFlow's where they are in use."""
    import numpy
    import scipy

    import tfreg

    result = {"tfreg": tfreg.__version__, "numpy": numpy.__version__, "scipy": scipy.__version__}
    keras = sys.modules.get("keras")
    if keras is not None:
        result |= {"keras": keras.__version__, "backend": keras.backend.backend()}
        if result["backend"] == "tensorflow":
            import tensorflow as tf

            result["tensorflow"] = tf.__version__
    return result
