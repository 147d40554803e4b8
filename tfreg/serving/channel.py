"""A connection to a server of the TensorFlow Serving API."""

import time
from dataclasses import dataclass
from pathlib import Path

import grpc

from tfreg.config import RequestOptions, checked
from tfreg.errors import UserError

RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 4.0
MEGABYTE = 2**20

# What went wrong, and what to do about it; of other codes the server's own text is told.
CURES = {
    grpc.StatusCode.UNAVAILABLE: "no server answers; start one with `tfreg serve`, or check address and certificates",
    grpc.StatusCode.DEADLINE_EXCEEDED: "no answer in time; raise --timeout",
    grpc.StatusCode.UNIMPLEMENTED: "is not a server of the TensorFlow Serving API; check the address",
    grpc.StatusCode.CANCELLED: "the request was cancelled; send it again",
}


class Refusal(UserError):
    """What a server's error means, in one line.

    Args:
        text: The line.
        code: The `grpc.StatusCode`.
    """

    def __init__(self, text, code):
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: of the authority that signed the server's certificate, and the client's own for mTLS, or None."""

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self):
        """What gRPC takes; None without any file.

        Raises:
            UserError: If a file cannot be read, or one of certificate and key is missing.
        """
        if (self.certificate is None) != (self.key is None):
            raise UserError("--tls-certificate and --tls-key belong together; give both, or neither")
        if self.authority is None and self.certificate is None:
            return None
        content = [None if path is None else _read(path) for path in (self.authority, self.key, self.certificate)]
        return grpc.ssl_channel_credentials(*content)


@dataclass(frozen=True)
class Patience:
    """How long a client tries.

    Args:
        timeout_seconds: For a whole call, pauses and repetitions included.
        retries: How often a call is repeated that found no server, or one that is too busy.
    """

    timeout_seconds: float = 300.0
    retries: int = 10

    def __post_init__(self):
        options = checked(RequestOptions, timeout=self.timeout_seconds, retries=self.retries)
        object.__setattr__(self, "timeout_seconds", options.timeout)
        object.__setattr__(self, "retries", options.retries)


def open_channel(address, certificates=None, max_message_mb=1024):
    """Opens a channel; nothing is sent yet.

    Args:
        address: HOST:PORT.
        certificates: `Certificates`, or None for a connection in the clear.
        max_message_mb: Largest answer and request. gRPC's own limit for answers is 4 MB, less than a field.

    Returns:
        A `grpc.Channel`.

    Raises:
        UserError: If the address is not HOST:PORT, or a certificate cannot be read.
    """
    host, separator, port = str(address).rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise UserError(f"--address {address}: give HOST:PORT, such as 127.0.0.1:8500")
    options = [
        ("grpc.max_receive_message_length", max_message_mb * MEGABYTE),
        ("grpc.max_send_message_length", max_message_mb * MEGABYTE),
        ("grpc.initial_reconnect_backoff_ms", int(1000 * FIRST_PAUSE_SECONDS)),
        ("grpc.max_reconnect_backoff_ms", int(1000 * LONGEST_PAUSE_SECONDS)),
    ]
    credentials = None if certificates is None else certificates.credentials()
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


def call(method, request, address, patience):
    """Calls a method of a stub, again where the server is away or busy.

    Args:
        method: The stub's method.
        request: Its message.
        address: What error messages call the server.
        patience: A `Patience`.

    Returns:
        The answer.

    Raises:
        Refusal: If there is no answer in the time, or the server refuses.
    """
    deadline = time.monotonic() + patience.timeout_seconds
    pause, left = FIRST_PAUSE_SECONDS, patience.retries
    while True:
        try:
            return method(request, timeout=max(0.0, deadline - time.monotonic()))
        except grpc.RpcError as error:
            last = left == 0 or time.monotonic() + pause >= deadline
            # A message that is too large stays so.
            too_large = "larger than max" in (error.details() or "")
            if last or too_large or error.code() not in RETRIED:
                raise refusal(error, address) from error
        time.sleep(pause)
        pause, left = min(2 * pause, LONGEST_PAUSE_SECONDS), left - 1


def refusal(error, address):
    """The `Refusal` that a `grpc.RpcError` means."""
    code, details = error.code(), " ".join((error.details() or "").split())
    if "larger than max" in details:
        text = f"a message is too large ({details}); raise the limits of both sides, or ask for fewer outputs"
    elif code in CURES:
        text = f"{CURES[code]} ({details})" if details else CURES[code]
    else:
        text = f"the server refuses: {details or code.name}"
    return Refusal(f"{address}: {text[:600]}", code)


def _read(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a PEM file") from error
