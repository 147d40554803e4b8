"""A connection to a server of the TensorFlow Serving API."""

import ipaddress
import os
import socket
import time
from pathlib import Path
from typing import Any

import grpc

from tfreg.config import RequestOptions
from tfreg.errors import UserError

RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 4.0

# What gRPC takes a proxy from, first of all, and what it exempts hosts by.
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
EXEMPTIONS = ("no_grpc_proxy", "no_proxy")

# What went wrong, and what to do about it; of other codes the server's own text is given.
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

    def __init__(self, text: str, code: grpc.StatusCode) -> None:
        super().__init__(text)
        self.code = code


def open_channel(address: str, options: RequestOptions | None = None) -> grpc.Channel:
    """Opens a channel; nothing is sent yet. This machine itself is reached without a proxy.

    Args:
        address: HOST:PORT.
        options: A `tfreg.config.RequestOptions`, or None for the defaults; without certificates the connection is in
            the clear.

    Returns:
        The channel.

    Raises:
        UserError: If the address is not HOST:PORT, or a certificate cannot be read.
    """
    host, separator, port = str(address).rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise UserError(f"--address {address}: give HOST:PORT, such as 127.0.0.1:8500")
    options = options or RequestOptions()
    settings = [
        ("grpc.enable_http_proxy", int(not is_loopback(host))),
        ("grpc.max_receive_message_length", options.max_bytes),
        ("grpc.max_send_message_length", options.max_bytes),
        ("grpc.initial_reconnect_backoff_ms", int(1000 * FIRST_PAUSE_SECONDS)),
        ("grpc.max_reconnect_backoff_ms", int(1000 * LONGEST_PAUSE_SECONDS)),
    ]
    credentials = credentials_of(options)
    if credentials is None:
        return grpc.insecure_channel(address, settings)
    return grpc.secure_channel(address, credentials, settings)


def credentials_of(options: RequestOptions) -> grpc.ChannelCredentials | None:
    """What gRPC takes for TLS.

    Args:
        options: With the files' paths, or none.

    Returns:
        Credentials; None where no file is named, for a connection in the clear.

    Raises:
        UserError: If a file cannot be read.
    """
    files = (options.tls_ca, options.tls_key, options.tls_certificate)
    if not any(files):
        return None
    return grpc.ssl_channel_credentials(*(None if path is None else _read(path) for path in files))


def call(method: grpc.UnaryUnaryMultiCallable, request: Any, address: str, options: RequestOptions) -> Any:
    """Calls a method of a stub, again where the server is away or busy.

    Args:
        method: The stub's method.
        request: Its message.
        address: What error messages call the server.
        options: How long it is tried.

    Returns:
        The answer.

    Raises:
        Refusal: If there is no answer in the time, or the server refuses.
    """
    deadline = time.monotonic() + options.timeout
    pause, left = FIRST_PAUSE_SECONDS, options.retries
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


def refusal(error: grpc.RpcError, address: str) -> Refusal:
    """The `Refusal` that a `grpc.RpcError` means."""
    code, details = error.code(), " ".join((error.details() or "").split())
    if "larger than max" in details:
        text = f"a message is too large ({details}); raise the limits of both sides, or ask for fewer outputs"
    elif code in CURES:
        text = CURES[code] + (_proxy_note(address) if code in UNREACHED else "") + (f" ({details})" if details else "")
    else:
        text = f"the server refuses: {details or code.name}"
    return Refusal(f"{address}: {text[:600]}", code)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by its own name or address; names are looked up.

    Args:
        host: A name, or an address, IPv6 in brackets or not.
    """
    host = host.strip("[]")
    try:
        addresses = {
            str(entry[4][0]).split("%")[0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        }
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


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
