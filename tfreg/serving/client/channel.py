"""A connection to a server of the TensorFlow Serving API."""

import ipaddress
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import grpc

from tfreg.config import RequestOptions, checked
from tfreg.errors import UserError

RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 4.0
MEGABYTE = 2**20

# What gRPC takes a proxy from, first of all, and what it exempts hosts by.
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
EXEMPTIONS = ("no_grpc_proxy", "no_proxy")

# What went wrong, and what to do about it; of other codes the server's own text is told.
CURES = {
    grpc.StatusCode.UNAVAILABLE: "no server answers; start one with `tfreg serve`, or check address and certificates",
    grpc.StatusCode.DEADLINE_EXCEEDED: "no answer in time; raise --timeout",
    grpc.StatusCode.UNIMPLEMENTED: "is not a server of the TensorFlow Serving API; check the address",
    grpc.StatusCode.CANCELLED: "the request was cancelled; send it again",
}

UNREACHED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


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
    """Opens a channel; nothing is sent yet. This machine itself is reached without a proxy.

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
        ("grpc.enable_http_proxy", int(not is_loopback(host))),
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
        text = CURES[code] + (_proxy_note(address) if code in UNREACHED else "") + (f" ({details})" if details else "")
    else:
        text = f"the server refuses: {details or code.name}"
    return Refusal(f"{address}: {text[:600]}", code)


def is_loopback(host):
    """Whether a host is this machine itself, by its own name or address; names are looked up.

    Args:
        host: A name, or an address, IPv6 in brackets or not.
    """
    host = host.strip("[]")
    try:
        found = {entry[4][0].split("%")[0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in found)


def _proxy_note(address):
    """Names the variable by which gRPC goes through a proxy to an address, where it does; never its value."""
    host = address.rpartition(":")[0].strip("[]")
    name = next((name for name in PROXIES if os.environ.get(name)), None)
    exemption = next((name for name in EXEMPTIONS if name in os.environ), EXEMPTIONS[-1])
    exempt = (part.strip() for part in os.environ.get(exemption, "").split(","))
    if name is None or is_loopback(host) or any(part and host.endswith(part) for part in exempt):
        return ""
    return f"; {name} is set, by which the call goes through a proxy unless {exemption} lists {host}"


def _read(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a PEM file") from error
