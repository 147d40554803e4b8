"""Requests that a server answers to itself before it takes a model into service."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tfreg.serving.protocol.signature_names import ALL_PASSES, ONE_PASS
from tfreg.serving.protocol.tensors import to_proto

FILE = "assets.extra/tf_serving_warmup_requests"  # in a version folder


def write_warm_up(
    folder: Path, model_name: str, shapes: Sequence[tuple[int, int, int]], signatures: Sequence[str]
) -> None:
    """Writes requests of every shape, so that the first real one need not wait for memory and kernels.

    Args:
        folder: The SavedModel's `Path`; the file goes into its `assets.extra`.
        model_name: What the server calls the model.
        shapes: Spatial shapes, three numbers each.
        signatures: What the model answers to; of these one pass and all passes are asked for, in float32.
    """
    (folder / FILE).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for shape in shapes:
            for signature in (ONE_PASS["float32"], ALL_PASSES["float32"]):
                if signature in signatures:
                    writer.write(_request(model_name, signature, shape).SerializeToString())


def _request(model_name, signature, shape):
    """The `PredictionLog` of a request."""
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = model_name, signature
    for name in ("fixed", "moving"):
        request.inputs[name].CopyFrom(_nearly_empty(shape))
    if signature == ALL_PASSES["float32"]:
        for name in ("fixed_map", "moving_map"):
            request.inputs[name].CopyFrom(to_proto(np.eye(3, 4)))
        request.inputs["grid"].CopyFrom(to_proto(np.array(shape, np.int32)))
    return log


def _nearly_empty(shape):
    """A tensor of one bright voxel and a zero that stands for all others: without contrast a volume is refused."""
    tensor = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1.0, 0.0])
    for size in (1, *shape, 1):
        tensor.tensor_shape.dim.add(size=size)
    return tensor
