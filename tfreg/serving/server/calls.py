"""What every call of the API has in common: parsing, errors as statuses, the size limit, one line in the log."""

import logging
import time
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError

from tfreg.serving.server.status import StatusError, status_of

LOG = logging.getLogger("tfreg.serving")
# Errors of which the client gets the whole text; of others the log says more.
_CLIENTS_CONCERN = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
_MAX_SHOWN = 8  # shapes in a line, and sizes in a shape


class Calls(grpc.ServerInterceptor):
    """Wraps the methods of tensorflow.serving's services; others, such as health, pass.

    Args:
        max_bytes: Largest answer.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The handler of a method with all that around it (called by gRPC)."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or handler.unary_unary is None or not method.startswith("/tensorflow.serving."):
            return handler

        def behaviour(data, context):
            return self._answer(handler, method.rsplit("/", 1)[1], data, context)

        # Without (de)serializers the bytes pass as they are.
        return grpc.unary_unary_rpc_method_handler(behaviour)

    def _answer(self, handler, method, data, context):
        started = time.perf_counter()
        code, text, answer, shapes, version = grpc.StatusCode.OK, "", b"", "-", "-"
        try:
            request = _parse(handler.request_deserializer, data)
            shapes = _shapes(request)
            response = handler.unary_unary(request, context)
            version = _version(response)
            answer = handler.response_serializer(response)
            if len(answer) > self._max_bytes:
                # As gRPC says it of requests, so that clients know that it is of no use to try again.
                text = f"Sent message larger than max ({len(answer)} vs. {self._max_bytes}); "
                raise StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, text + "ask for fewer outputs (output_filter)")
        except Exception as error:
            code, text = status_of(error)
            answer = b""
            if not isinstance(error, StatusError) and code not in _CLIENTS_CONCERN:
                LOG.warning("%s failed: %s: %s", method, type(error).__name__, " ".join(str(error).split())[:500])
        LOG.info(
            "%s version=%s shapes=%s in=%d out=%d seconds=%.3f status=%s peer=%s",
            *(method, version, shapes, len(data), len(answer), time.perf_counter() - started),
            *(code.name, context.peer()),
        )
        if code is not grpc.StatusCode.OK:
            context.abort(code, text)
        return answer


def _parse(deserialize, data):
    try:
        return deserialize(data)
    except DecodeError as error:
        text = "the message cannot be parsed as the method's request"
        raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, text) from error


def _shapes(request):
    """Shapes of a request's inputs in the order of their names, such as 1x64x64x64x1,1x64x64x64x1."""
    inputs = getattr(request, "inputs", {})
    shapes = [[str(dim.size) for dim in inputs[name].tensor_shape.dim] for name in sorted(inputs)[:_MAX_SHOWN]]
    return ",".join("x".join(sizes[:_MAX_SHOWN]) or "scalar" for sizes in shapes) or "-"


def _version(response):
    """The version that answered, where the answer says it."""
    if "model_spec" in response.DESCRIPTOR.fields_by_name and response.HasField("model_spec"):
        return response.model_spec.version.value
    return "-"
