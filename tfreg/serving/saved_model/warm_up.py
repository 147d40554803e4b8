"""Requests that a server answers to itself before it takes a model into service."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import prediction_log_pb2

FILE = "assets.extra/tf_serving_warmup_requests"  # in a version folder


def write_warm_up(folder: Path, model_name: str, shapes: Sequence[tuple[int, int, int]]) -> None:
    """Writes one request a shape, so that the first real one need not wait for memory and kernels.

    Args:
        folder: The SavedModel's `Path`; the file goes into its `assets.extra`.
        model_name: What the server calls the model.
        shapes: Spatial shapes, three numbers each.
    """
    (folder / FILE).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for shape in shapes:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model_name
            request.model_spec.signature_name = "serving_default"
            for name in ("fixed", "moving"):
                request.inputs[name].CopyFrom(_nearly_empty(shape))
            writer.write(log.SerializeToString())


def _nearly_empty(shape):
    """A tensor of one bright voxel and a zero that stands for all others: without contrast a volume is refused."""
    tensor = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1.0, 0.0])
    for size in (1, *shape, 1):
        tensor.tensor_shape.dim.add(size=size)
    return tensor
