"""One Predict request: its checks in the real server's order and words, its inputs and its answer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import grpc
import numpy as np
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from tfreg.serving.protocol.tensors import dtype_name, to_array, to_proto
from tfreg.serving.server.status import StatusError, invalid

if TYPE_CHECKING:
    from tfreg.serving.server.loaded_model import LoadedModel

DEFAULT_SIGNATURE = "serving_default"


def predict(
    model: "LoadedModel", request: predict_pb2.PredictRequest, max_bytes: int | None = None
) -> dict[str, np.ndarray]:
    """The arrays that answer a request.

    Args:
        model: LoadedModel.
        request: PredictRequest.
        max_bytes: Largest input.

    Returns:
        {alias: array}.

    Raises:
        StatusError: If the request does not fit the signature.
        tf.errors.OpError: If the graph refuses the input.
    """
    name, signature, outputs = check_names(model.signatures, request)
    return model.run(name, decode_inputs(signature, request.inputs, max_bytes), outputs)


def check_names(
    signatures: Mapping[str, meta_graph_pb2.SignatureDef], request: predict_pb2.PredictRequest
) -> tuple[str, meta_graph_pb2.SignatureDef, list[str]]:
    """Finds the signature and the outputs that a request asks for.

    Args:
        signatures: {name: SignatureDef}.
        request: PredictRequest.

    Returns:
        (the signature's name, its SignatureDef, aliases of the outputs).

    Raises:
        StatusError: If a name is not known.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    signature = signatures[name]
    sent, wanted = set(request.inputs), set(signature.inputs)
    if len(sent) != len(wanted):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({_braces(sent)}) != len({_braces(wanted)}). "
            f"Sent extra: {_braces(sent - wanted)}. Missing but required: {_braces(wanted - sent)}."
        )
    for alias in sorted(wanted - sent):
        raise invalid(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request "
            f"and no default value provided. Inputs expected to be in the request {_braces(sent)}, "
            "or default input alias set: "
        )
    outputs = list(request.output_filter) or sorted(signature.outputs)
    for place, alias in enumerate(outputs):
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_braces(signature.outputs)}."
            )
        if alias in outputs[:place]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    return name, signature, outputs


def decode_inputs(
    signature: meta_graph_pb2.SignatureDef,
    inputs: Mapping[str, tensor_pb2.TensorProto],
    max_bytes: int | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of a request, as the signature wants them.

    Args:
        signature: SignatureDef.
        inputs: {alias: TensorProto}, of the signature's names.
        max_bytes: Largest input.

    Returns:
        {alias: array}.

    Raises:
        StatusError: If a tensor is inconsistent, or has another dtype or shape.
    """
    arrays = {}
    for place, alias in enumerate(sorted(signature.inputs)):
        wanted, proto = signature.inputs[alias], inputs[alias]
        if proto.dtype != wanted.dtype and proto.dtype:
            names = f"{dtype_name(wanted.dtype)} but {dtype_name(proto.dtype)}"
            raise invalid(f"Expects arg[{place}] to be {names} is provided: {alias}")
        try:
            arrays[alias] = to_array(proto, max_bytes)
        except (ValueError, OverflowError) as error:
            raise invalid(f"tensor parsing error: {alias}: {error}") from error
        shape = [dim.size for dim in wanted.tensor_shape.dim]
        if not wanted.tensor_shape.unknown_rank and not _fits(arrays[alias].shape, shape):
            raise invalid(f"input {alias} has shape {list(arrays[alias].shape)}, and the signature wants {shape}")
    return arrays


def answer(
    request: predict_pb2.PredictRequest,
    signature_name: str,
    version: int,
    arrays: Mapping[str, np.ndarray],
    as_content: bool = False,
) -> predict_pb2.PredictResponse:
    """The PredictResponse for arrays.

    Args:
        request: PredictRequest that they answer.
        signature_name: Signature that made them.
        version: Version of the model that made them.
        arrays: {alias: array}.
        as_content: True for tensor_content, False for typed values as the real server.
    """
    response = predict_pb2.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.signature_name = signature_name
    response.model_spec.version.value = version
    for alias, array in arrays.items():
        response.outputs[alias].CopyFrom(to_proto(array, as_content))
    return response


def _fits(shape, wanted):
    """Whether a shape goes with one in which -1 stands for any size."""
    return len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted, strict=True))


def _braces(names):
    return "{" + ",".join(sorted(names)) + "}"
