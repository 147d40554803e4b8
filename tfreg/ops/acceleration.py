"""Where TensorFlow has a faster way to run an operation, and how to do without it.

The fast ways are TensorFlow's native dilated convolution, which on the CPU needs oneDNN, and XLA for
the sampler alone. A SavedModel for TensorFlow Serving may hold neither: trace it inside `portable()`.
"""

import contextlib
import contextvars
import functools
import threading

import keras

from tfreg.ops.native_dilation import dilates_natively

# XLA takes two seconds for a model; on volumes of fewer voxels a few dozen steps do not win them back.
WORTH_COMPILING = 1_000_000

_accelerated = contextvars.ContextVar("accelerated", default=True)
_compiles = contextvars.ContextVar("compiles", default=True)
_native_dilation = contextvars.ContextVar("native_dilation", default=True)

_keeping_graphs = 0
_kept_before = False
_keeping_graphs_lock = threading.Lock()


@contextlib.contextmanager
def portable(native_dilation=False):
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
def compiling(voxels):
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
def keeping_graphs():
    """Within this context TensorFlow runs graphs as they were traced, in every thread.

    Rewriting them takes it half a second for each model, which models of a few dozen steps do not win back.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    global _keeping_graphs, _kept_before
    with _keeping_graphs_lock:
        if not _keeping_graphs:
            _kept_before = _keeps_graphs(True)
        _keeping_graphs += 1
    try:
        yield
    finally:
        with _keeping_graphs_lock:
            _keeping_graphs -= 1
            if not _keeping_graphs:
                _keeps_graphs(_kept_before)


def _keeps_graphs(keeps):
    """Sets whether TensorFlow runs graphs as traced; returns what was set before."""
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": keeps})
    return before


def is_accelerated():
    """True where TensorFlow-only fast paths may be taken."""
    return _accelerated.get() and keras.backend.backend() == "tensorflow"


def has_native_dilation(dtype="float32", device=""):
    """True where `tf.nn.conv3d` may and can take dilations.

    Args:
        dtype: Name of the features' type.
        device: TensorFlow's name of the device they are placed on; empty where that is left to it.
    """
    if not _native_dilation.get() or keras.backend.backend() != "tensorflow":
        return False
    return dilates_natively(dtype, on_cpu="CPU" in device)


def has_fast_products():
    """True where TensorFlow's matrix products are exact and faster than its sums: on the CPU; a GPU may round them."""
    if not is_accelerated():
        return False
    import tensorflow as tf

    return not tf.config.list_logical_devices("GPU")


def compiles_models():
    """What `Model.compile` is to be told as `jit_compile`: True but for TensorFlow.

    Left to itself Keras turns XLA on there too, which slows convolutions down on the CPU; what gains from it is
    `compiled` on its own.
    """
    return keras.backend.backend() != "tensorflow"


def compiled(function):
    """Wraps a function of tensors so that, on TensorFlow, XLA compiles it and nothing around it.

    Args:
        function: Takes tensors by position and plain Python values by name.

    Returns:
        A function with the same signature.
    """

    @functools.cache
    def with_xla():
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*tensors, **options):
        return (with_xla() if is_accelerated() and _compiles.get() else function)(*tensors, **options)

    return call
