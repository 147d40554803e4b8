"""Whether a stock TensorFlow Serving can run a SavedModel."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

from tfreg.errors import UserError

PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "PyFuncStatelessV2"}
COMPILED = "_XlaMustCompile"

# Run where tfreg cannot be imported, as in the server.
FRESH = """
import sys
sys.modules["tfreg"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf
folder, inputs, outputs = sys.argv[1:]
signatures = tf.saved_model.load(folder).signatures
given = np.load(inputs)
found = signatures["serving_default"](fixed=tf.constant(given["fixed"]), moving=tf.constant(given["moving"]))
np.savez(outputs, **{name: value.numpy() for name, value in found.items()})
"""


def check_operations(folder):
    """Refuses operations that a stock server cannot run.

    Args:
        folder: The SavedModel's `Path`.

    Returns:
        The names of all operations, a set.

    Raises:
        UserError: If the graph holds Python functions or parts that must be compiled by XLA.
    """
    content = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    operations = set()
    for meta in content.meta_graphs:
        functions = meta.graph_def.library.function
        nodes = [*meta.graph_def.node, *(node for function in functions for node in function.node_def)]
        operations |= {node.op for node in nodes}
        bad = operations & PYTHON_OPERATIONS
        if bad:
            raise UserError(f"{folder}: holds {', '.join(sorted(bad))}, which only this Python process can run")
        compiled = [function.signature.name for function in functions if _is_true(function.attr, COMPILED)]
        compiled += [node.name for node in nodes if _is_true(node.attr, COMPILED)]
        if compiled:
            raise UserError(f"{folder}: {compiled[0]} must be compiled by XLA, which a stock server cannot do")
    return operations


def difference_in_fresh_process(folder, inputs, expected, onednn=False):
    """How far the SavedModel's answer is from the model's, in a process without tfreg and Keras.

    Args:
        folder: The SavedModel's `Path`.
        inputs: Dictionary of `fixed` and `moving`, arrays.
        expected: Dictionary of output to array.
        onednn: Whether the process may use oneDNN; without it, a dilated `Conv3D` fails on the CPU.

    Returns:
        Dictionary of output to the largest absolute difference.

    Raises:
        UserError: If the model does not run there or answers otherwise shaped.
    """
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": str(int(onednn))}
    environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as scratch:
        given, found = Path(scratch) / "given.npz", Path(scratch) / "found.npz"
        np.savez(given, **inputs)
        command = [sys.executable, "-c", FRESH, str(folder), str(given), str(found)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{folder}: does not run in a process of its own ({reason})")
        with np.load(found) as answer:
            if set(answer) != set(expected) or any(answer[n].shape != np.shape(v) for n, v in expected.items()):
                raise UserError(f"{folder}: answers {json.dumps(sorted(answer))} in other shapes than the model")
            return {name: float(np.abs(answer[name] - value).max()) for name, value in expected.items()}


def _is_true(attributes, name):
    return name in attributes and attributes[name].b
