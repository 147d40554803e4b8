"""`portable()` really leaves the TensorFlow-only paths, and a graph shows which were taken."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from tfreg.layers.convolution_block import DilatedConvolution
from tfreg.losses.regularisers import displacement_roughness
from tfreg.ops.acceleration import (
    WORTH_COMPILING,
    compiling,
    has_native_dilation,
    is_accelerated,
    keeping_graphs,
    portable,
)
from tfreg.ops.gradients import gradients_from_logits
from tfreg.ops.native_dilation import dilates_natively
from tfreg.ops.trilinear_sampling import sample_trilinear

tensorflow_only = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the fast paths are TensorFlow's alone"
)


def special_parts(layer, shape):
    """What a graph of a layer and the sampler holds that not every TensorFlow build can run."""
    import tensorflow as tf

    @tf.function
    def function(volume, points):
        return sample_trilinear(layer(volume), points)

    concrete = function.get_concrete_function(tf.TensorSpec(shape), tf.TensorSpec((1, 3, 2, 4, 3)))
    graph = concrete.graph.as_graph_def()
    functions = graph.library.function
    nodes = [*graph.node, *(node for function in functions for node in function.node_def)]
    found = set()
    if any(item.attr["_XlaMustCompile"].b for item in [*functions, *nodes]):
        found.add("XLA")
    for node in nodes:
        if node.op == "Conv3D" and max(node.attr["dilations"].list.i) > 1:
            found.add("dilation")
    return found


@tensorflow_only
@pytest.mark.parametrize("shape", [(1, 7, 8, 9, 2), (None, None, None, None, 2)], ids=str)
def test_portable_graph_holds_neither_xla_nor_dilations(shape):
    layer = DilatedConvolution(3, 3, padding="same", dilation_rate=3)
    layer.build(shape)
    with portable():
        assert special_parts(layer, shape) == set()
    native = {"dilation"} if has_native_dilation() else set()
    with portable(native_dilation=True):
        assert special_parts(layer, shape) == native
    assert special_parts(layer, shape) == {"XLA"} | native


@tensorflow_only
def test_only_what_is_worth_it_is_compiled():
    layer = keras.layers.Identity()
    shape = (1, 7, 8, 9, 2)
    with compiling(WORTH_COMPILING - 1):
        assert special_parts(layer, shape) == set()
        assert is_accelerated()
        with compiling(WORTH_COMPILING):  # what is not worth it as a whole is not in part
            assert special_parts(layer, shape) == set()
    with compiling(WORTH_COMPILING):
        assert special_parts(layer, shape) == {"XLA"}
    assert special_parts(layer, shape) == {"XLA"}


def test_portable_ends_with_its_context():
    before = is_accelerated()
    with portable():
        assert not is_accelerated()
        assert not has_native_dilation()
    assert is_accelerated() == before == (keras.backend.backend() == "tensorflow")


def keeps_graphs():
    """Whether functions that this thread calls run as traced."""
    import tensorflow as tf
    from tensorflow.python.eager import context

    config = tf.compat.v1.ConfigProto.FromString(context.context().function_call_options.config_proto_serialized)
    return config.graph_options.rewrite_options.disable_meta_optimizer


@tensorflow_only
def test_graphs_are_kept_until_the_last_context_ends():
    with keeping_graphs():
        with keeping_graphs():
            assert keeps_graphs()
        assert keeps_graphs()
    assert not keeps_graphs()


@tensorflow_only
def test_graphs_are_kept_in_one_thread():
    def other_thread(function):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function).result(60)

    def keeping():
        with keeping_graphs():
            return keeps_graphs(), other_thread(keeps_graphs)

    with keeping_graphs():
        assert not other_thread(keeps_graphs)
    assert other_thread(keeping) == (True, False)
    assert not keeps_graphs()


@tensorflow_only
def test_tensorflow_is_asked_whether_it_dilates_natively(monkeypatch):
    """The variable says what TensorFlow did when it was loaded at most: it reads "false" too, and some processors have
    the fast way only where they are told to."""
    import tensorflow as tf

    def works(dtype):
        features, kernel = tf.zeros((1, 5, 5, 5, 1), dtype), tf.zeros((3, 3, 3, 1, 1), dtype)
        try:
            tf.nn.conv3d(features, kernel, [1] * 5, "SAME", dilations=[1, 3, 3, 3, 1])
        except tf.errors.OpError:
            return False
        return True

    for said in ("0", "false", "1"):
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", said)
        for dtype in ("float32", "bfloat16", "float16", "float64"):
            dilates_natively.cache_clear()
            assert has_native_dilation(dtype) == works(dtype), (said, dtype)


@tensorflow_only
def test_tensorflow_is_asked_while_a_graph_is_traced():
    import tensorflow as tf

    dilates_natively.cache_clear()
    expected = dilates_natively()
    dilates_natively.cache_clear()
    found = []
    tf.function(lambda: found.append(has_native_dilation()) or tf.zeros(()))()
    assert found == [expected]


@tensorflow_only
@pytest.mark.parametrize("said", ["0", "false"])
def test_dilated_convolutions_run_on_processors_without_onednn(said):
    program = (
        "import numpy as np, tensorflow as tf\n"
        "from tfreg.layers.convolution_block import DilatedConvolution\n"
        "layer = DilatedConvolution(1, 3, padding='same', dilation_rate=3, kernel_initializer='ones')\n"
        "with tf.GradientTape() as tape:\n"
        "    total = tf.reduce_sum(layer(tf.ones((1, 7, 8, 9, 1))))\n"
        "print(total.numpy(), tape.gradient(total, layer.kernel).numpy().max())\n"
    )
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": said, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-1000:]
    # Along an axis of n ones, three taps at a distance of 3 see n + 2 (n - 3) of them.
    assert done.stdout.split() == [f"{15.0 * 18 * 21:.1f}", "504.0"]


def test_both_paths_sample_alike(rng):
    volume = rng.standard_normal((2, 4, 5, 6, 3)).astype("float32")
    points = rng.uniform(-2, 7, (2, 3, 4, 5, 3)).astype("float32")
    fast = keras.ops.convert_to_numpy(sample_trilinear(volume, points))
    with portable():
        plain = keras.ops.convert_to_numpy(sample_trilinear(volume, points))
    np.testing.assert_allclose(fast, plain, atol=1e-6)


@tensorflow_only
def test_two_threads_trace_gradients_of_one_compiled_function(rng):
    """TensorFlow mixes up what two threads make of the gradient of one traced function."""
    import tensorflow as tf

    logits = rng.standard_normal((1, 4, 5, 6, 3)).astype("float32")
    begin = threading.Barrier(2)

    def gradient(_):
        @tf.function(autograph=False)
        def step(logits):
            with tf.GradientTape() as tape:
                tape.watch(logits)
                total = tf.reduce_sum(gradients_from_logits(logits, tf.zeros((1, 8, 10, 12, 1)), 2) ** 2)
                total += tf.reduce_sum(displacement_roughness(logits, step=2))
            begin.wait(60)
            return tape.gradient(total, logits)

        return step(logits).numpy()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(gradient, range(2))
    np.testing.assert_array_equal(first, second)
