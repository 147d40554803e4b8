"""The gRPC status of whatever goes wrong, with the real server's codes."""

import re

import grpc
import tensorflow as tf

_MAX_BYTES = 2000  # bytes; the status travels in a header of at most 8 kB, in which one byte can take three
# Lines of TensorFlow that say where in the graph, and the tail of every message.
_PLACE = re.compile(r"Graph execution error|Detected at node|<stack traces|File \"|\[\[\{\{|\(most recent call")
_TAIL = re.compile(r"\s*\[\[\{\{.*?\}\}\]\]|\s*\[Op:\w+\]")


class StatusError(Exception):
    """An answer that is an error.

    Args:
        code: grpc.StatusCode.
        text: One line for the client.
    """

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def invalid(text: str) -> StatusError:
    """The `StatusError` of a request that the client must change."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, text)


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """(code, one line of text) for an exception; the text tells nothing of this machine.

    Errors of operations keep their code, as in tensorflow_model_server; only what is wrong with
    the input, and what there is too little of, keep their text.
    """
    if isinstance(error, StatusError):
        code, text = error.code, error.text
    elif isinstance(error, tf.errors.InvalidArgumentError | tf.errors.ResourceExhaustedError):
        code, text = _code(error.error_code), plain_text(error.message)
    elif isinstance(error, tf.errors.OpError):
        code, text = _code(error.error_code), "the prediction failed; the server's log says more"
    elif isinstance(error, MemoryError):
        code, text = grpc.StatusCode.RESOURCE_EXHAUSTED, "not enough memory for this request"
    else:
        code, text = grpc.StatusCode.INTERNAL, "the request failed; the server's log says more"
    return code, " ".join(text.split()).encode()[:_MAX_BYTES].decode(errors="ignore")


def plain_text(message: str) -> str:
    """What an operation says, without the lines on where it stands in the graph."""
    lines = [line for line in message.splitlines() if line.strip() and not _PLACE.match(line.strip())]
    return _TAIL.sub("", " ".join(" ".join(lines).split()))


def _code(number):
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.INTERNAL)
