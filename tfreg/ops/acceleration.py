"""Where TensorFlow has a faster way to run an operation, and how to do without it.

The fast ways are TensorFlow's native dilated convolution, which on the CPU needs oneDNN, and XLA for
the sampler alone. A SavedModel for TensorFlow Serving may hold neither: trace it inside `portable()`.
"""

import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable, Iterator

import keras

from tfreg.ops.native_dilation import dilates_natively

# XLA takes two seconds for a model; on volumes of fewer voxels a few dozen steps do not win them back.
WORTH_COMPILING = 1_000_000

# A trace for one size takes a second, and runs a sixth faster than one for all sizes.
WORTH_TRACING = 200_000

_accelerated = contextvars.ContextVar("accelerated", default=True)
_compiles = contextvars.ContextVar("compiles", default=True)
_native_dilation = contextvars.ContextVar("native_dilation", default=True)


@contextlib.contextmanager
def portable(native_dilation: bool = False) -> Iterator[None]:
    """Within this context every layer takes the path that any TensorFlow build can run.

    Args:
        native_dilation: True keeps the native dilated convolution, which on the CPU needs a build with oneDNN.
    """
    tokens = _accelerated.set(False), _native_dilation.set(native_dilation)
    try:
        yield
    finally:
        _accelerated.reset(tokens[0])
        _native_dilation.reset(tokens[1])


@contextlib.contextmanager
def compiling(voxels: float) -> Iterator[None]:
    """Within this context `compiled` functions are compiled only for volumes that are worth it.

    Args:
        voxels: Size of the volumes.
    """
    token = _compiles.set(_compiles.get() and voxels >= WORTH_COMPILING)
    try:
        yield
    finally:
        _compiles.reset(token)


@contextlib.contextmanager
def keeping_graphs() -> Iterator[None]:
    """Within this context TensorFlow runs graphs as they were traced, in this thread alone.

    Rewriting them takes it half a second for each model, which models of a few dozen steps do not win back. A graph
    that is kept gives other last bits than one that was rewritten: what another thread predicts meanwhile must not
    depend on it.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    # `tf.config.optimizer.set_experimental_options` is for all threads that call their first function later.
    import tensorflow as tf
    from tensorflow.python.eager import context

    thread = context.context()
    before = thread.function_call_options
    config = tf.compat.v1.ConfigProto.FromString(before.config_proto_serialized)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    thread.function_call_options = context.FunctionCallOptions(before.executor_type, config)
    try:
        yield
    finally:
        thread.function_call_options = before


def chosen_paths() -> tuple[bool, bool, bool]:
    """What a function that is traced here depends on besides its arguments, something hashable."""
    return _accelerated.get(), _compiles.get(), _native_dilation.get()


def knows_sizes(voxels: int) -> bool:
    """Whether functions of volumes are traced for their sizes; else TensorFlow takes one trace for all sizes.

    Args:
        voxels: Size of the volumes.
    """
    return keras.backend.backend() != "tensorflow" or voxels >= min(WORTH_TRACING, WORTH_COMPILING)


def is_accelerated() -> bool:
    """True where TensorFlow-only fast paths may be taken."""
    return _accelerated.get() and keras.backend.backend() == "tensorflow"


def has_native_dilation(dtype: str = "float32", device: str = "") -> bool:
    """True where `tf.nn.conv3d` may and can take dilations.

    Args:
        dtype: Name of the features' type.
        device: TensorFlow's name of the device they are placed on; empty where that is left to it.
    """
    if not _native_dilation.get() or keras.backend.backend() != "tensorflow":
        return False
    return dilates_natively(dtype, on_cpu="CPU" in device)


def splits_dilations() -> bool:
    """True where dilated convolutions are computed on every d-th voxel: JAX on a GPU.

    XLA's weight gradient of a dilated convolution takes several times as long there.
    """
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() == "gpu"


def has_fast_products() -> bool:
    """True where TensorFlow's matrix products are exact and faster than its sums: on the CPU; a GPU may round them."""
    if not is_accelerated():
        return False
    import tensorflow as tf

    return not tf.config.list_logical_devices("GPU")


def compiles_models() -> bool:
    """What `Model.compile` takes as `jit_compile`: True but for TensorFlow.

    Left to itself Keras turns XLA on there too, which slows convolutions down on the CPU; what gains from it is
    `compiled` on its own.
    """
    return keras.backend.backend() != "tensorflow"


def compiled(function: Callable) -> Callable:
    """Wraps a function of tensors so that, on TensorFlow, XLA compiles it and nothing around it.

    Args:
        function: Takes tensors by position and plain Python values by name.

    Returns:
        A function with the same signature.
    """

    eager = threading.local()

    def with_xla():
        """TensorFlow fails where two threads build the gradient of one function: each graph has a function of its own,
        and so has each thread outside of graphs."""
        import tensorflow as tf

        if not tf.executing_eagerly():
            return tf.function(function, jit_compile=True, autograph=False)
        if not hasattr(eager, "function"):
            eager.function = tf.function(function, jit_compile=True, autograph=False)
        return eager.function

    @functools.wraps(function)
    def call(*tensors, **options):
        return (with_xla() if is_accelerated() and _compiles.get() else function)(*tensors, **options)

    return call
