"""Whether a stock TensorFlow Serving can run a SavedModel."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

from tfreg.errors import UserError
from tfreg.serving.saved_model.warm_up import FILE as WARM_UP

PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "PyFuncStatelessV2"}
COMPILED = "_XlaMustCompile"

# Run where tfreg cannot be imported, nor Keras and JAX, which TensorFlow looks for, as in the server: every signature
# once, and every warm-up request.
FRESH = """
import os, sys
sys.modules.update(dict.fromkeys(("tfreg", "keras", "jax")))
import numpy as np, tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
folder, inputs, outputs, warm_up = sys.argv[1:]
signatures = tf.saved_model.load(folder).signatures
questions = {}
for key, array in np.load(inputs).items():
    signature, name = key.split("/")
    questions.setdefault(signature, {})[name] = tf.constant(array)
answers = {}
for signature, question in questions.items():
    for name, value in signatures[signature](**question).items():
        value = value.numpy()
        answers[f"{signature}/{name}"] = value.astype("S") if value.dtype == object else value
np.savez(outputs, **answers)
if os.path.exists(warm_up):
    for record in tf.data.TFRecordDataset(warm_up).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        question = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        signatures[request.model_spec.signature_name](**question)
"""


def check_operations(folder: Path) -> set[str]:
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


def difference_in_fresh_process(
    folder: Path,
    inputs: Mapping[str, Mapping[str, np.ndarray]],
    expected: Mapping[str, Mapping[str, np.ndarray]],
    onednn: bool = False,
) -> dict[str, float]:
    """How far the SavedModel's answers are from the model's, in a process without tfreg and Keras.

    The warm-up requests that the folder holds are answered there too, since a server that cannot answer one of them
    does not load the model.

    Args:
        folder: The SavedModel's `Path`.
        inputs: Dictionary of signature to a dictionary of input to array.
        expected: Dictionary of signature to a dictionary of output to array.
        onednn: Whether the process may use oneDNN; without it, a dilated `Conv3D` fails on the CPU.

    Returns:
        Dictionary of output, with its signature before it where that is not the default one, to the largest absolute
        difference; of texts 0, or infinite where they differ.

    Raises:
        UserError: If the model does not run there or answers otherwise shaped.
    """
    flat_inputs, flat_expected = (
        {
            f"{signature}/{name}": np.asarray(array)
            for signature, arrays in nested.items()
            for name, array in arrays.items()
        }
        for nested in (inputs, expected)
    )
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": str(int(onednn))}
    environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as scratch:
        questions, answers = Path(scratch) / "questions.npz", Path(scratch) / "answers.npz"
        np.savez(questions, **flat_inputs)
        command = [sys.executable, "-c", FRESH, str(folder), str(questions), str(answers), str(folder / WARM_UP)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{folder}: does not run in a process of its own ({reason})")
        with np.load(answers) as answer:
            shapes = {name: array.shape for name, array in answer.items()}
            if shapes != {name: array.shape for name, array in flat_expected.items()}:
                raise UserError(f"{folder}: answers {json.dumps(sorted(answer))} in other shapes than the model")
            return {
                name.removeprefix("serving_default/").replace("/", " "): _difference(answer[name], value)
                for name, value in flat_expected.items()
            }


def _difference(answer, expected):
    """The largest absolute difference of two arrays; of texts 0, or infinite where they differ."""
    if expected.dtype.kind in "OSU":
        return 0.0 if answer.astype("S").tolist() == expected.astype("S").tolist() else float("inf")
    return float(np.abs(answer - expected).max())


def _is_true(attributes, name):
    return name in attributes and attributes[name].b
