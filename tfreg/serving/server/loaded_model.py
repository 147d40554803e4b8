"""A SavedModel in memory, as TensorFlow itself loads it: no Keras, no layers of tfreg."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tfreg.io.digests import bytes_digest
from tfreg.serving.protocol.export_manifest import MANIFEST, ExportManifest
from tfreg.serving.saved_model.warm_up import FILE
from tfreg.serving.server import prediction


class LoadedModel:
    """One version of the model.

    Args:
        path: Its version folder.
        version: Its number.

    Attributes:
        version: Its number.
        signatures: {name: SignatureDef}, as exported.

    Raises:
        Exception: Whatever TensorFlow finds wrong with the folder.
    """

    def __init__(self, path: Path, version: int) -> None:
        self.version = version
        graph = _serving_graph(path / "saved_model.pb")
        if _has_dilations(graph) and not _dilates_natively():
            raise ValueError(
                "its convolutions need oneDNN, which TensorFlow does without on this processor; set "
                "TF_ENABLE_ONEDNN_OPTS=1, or export the model without --onednn"
            )
        self.signatures = _signatures(graph)
        self._module = tf.saved_model.load(str(path))

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """The wanted outputs of one signature.

        Args:
            signature_name: Key of `signatures`.
            inputs: {alias: array}, all that the signature has.
            outputs: Aliases; others are not copied off the model.

        Returns:
            {alias: array}.
        """
        tensors = {alias: tf.constant(array) for alias, array in inputs.items()}
        answer = self._module.signatures[signature_name](**tensors)
        return {alias: np.asarray(answer[alias]) for alias in outputs}


def load(path: Path, version: int) -> LoadedModel:
    """Loads a version and answers its warm-up requests, so that the first client need not wait.

    Raises:
        Exception: If the folder or one of its warm-up requests is not valid.
    """
    _check_whole(path)
    model = LoadedModel(path, version)
    warm_up = path / FILE
    if warm_up.is_file():
        for record in tf.data.TFRecordDataset(str(warm_up)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.HasField("predict_log"):
                prediction.predict(model, log.predict_log.request)
    return model


def _check_whole(path):
    """Refuses an export of tfreg's of which a file has changed since: a lost byte of a weight would answer wrongly."""
    if not (path / MANIFEST).is_file():
        return
    for name, digest in ExportManifest.read(path / MANIFEST).files.items():
        # Who serves the model may choose its warm-up requests.
        if name != FILE and bytes_digest((path / name).read_bytes()) != digest:
            raise ValueError(f"{name} is not as `tfreg export` wrote it; copy the version again")


def _serving_graph(path):
    """The MetaGraphDef for serving."""
    for graph in saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return graph
    raise ValueError("it has no graph tagged `serve`")


def _signatures(graph):
    """{name: SignatureDef}, which do not hold on to the graph."""
    copy = meta_graph_pb2.MetaGraphDef()
    for name, signature in graph.signature_def.items():
        copy.signature_def[name].CopyFrom(signature)
    return dict(copy.signature_def)


def _dilates_natively():
    """Whether TensorFlow runs a dilated convolution here; nothing else of the server needs a layer."""
    from tfreg.ops.native_dilation import dilates_natively

    return dilates_natively()


def _has_dilations(graph):
    """Whether it holds a dilated convolution, which not every processor can run."""
    nodes = [graph.graph_def.node, *(function.node_def for function in graph.graph_def.library.function)]
    convolutions = (node for part in nodes for node in part if node.op == "Conv3D")
    return any(max(node.attr["dilations"].list.i, default=1) > 1 for node in convolutions)
