"""What `tfreg serve` is told, checked before TensorFlow is loaded."""

import dataclasses
import ipaddress
import socket
import ssl
from numbers import Real
from pathlib import Path

from tfreg.config import Processing, checked
from tfreg.errors import UserError


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """The options of `tfreg serve`, under their names.

    Raises:
        UserError: From `check`, if one of them is not valid.
    """

    model_base_path: Path
    model_name: str = "tfreg"
    host: str = "127.0.0.1"
    port: int = 8500
    concurrency: int = 1
    queue: int = 16
    max_message_mb: int = 256
    poll_seconds: float = 2.0
    grace_seconds: float = 30.0
    silence_seconds: float = 30.0
    tensor_content: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    insecure_any_host: bool = False
    threads: int | None = None
    device: str | None = None

    @property
    def max_bytes(self):
        """Largest message, in bytes."""
        return self.max_message_mb * 2**20

    def address(self, port):
        """HOST:PORT as gRPC writes it."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def check(self):
        """Raises a UserError unless a server can be started with these options."""
        if not self.model_name:
            raise UserError("--model-name: give the name that clients ask for, such as tfreg")
        _within("--port", self.port, 0, 65535)
        _within("--concurrency", self.concurrency, 1, 64)
        _within("--queue", self.queue, 0, 1024)
        _within("--max-message-mb", self.max_message_mb, 1, 2047)
        _within("--poll-seconds", self.poll_seconds, 0.05, 86400)
        _within("--grace-seconds", self.grace_seconds, 0, 86400)
        _within("--silence-seconds", self.silence_seconds, 1, 86400)
        checked(Processing, threads=self.threads, device=self.device)
        self._check_tls()
        self._check_address()

    def _check_tls(self):
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise UserError("--tls-certificate and --tls-key belong together: give both")
        if self.tls_certificate is None:
            if self.tls_client_ca is not None:
                raise UserError("--tls-client-ca: needs --tls-certificate and --tls-key too")
            return
        for path in filter(None, (self.tls_certificate, self.tls_key, self.tls_client_ca)):
            try:
                path.read_bytes()
            except OSError as error:
                raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.tls_certificate, self.tls_key, password=lambda: b"")
        except (ssl.SSLError, ValueError) as error:
            raise UserError(
                f"{self.tls_certificate} and {self.tls_key}: are not a certificate and its key; "
                "give two PEM files, the key without a password"
            ) from error
        if self.tls_client_ca is not None:
            try:
                context.load_verify_locations(self.tls_client_ca)
            except ssl.SSLError as error:
                raise UserError(f"{self.tls_client_ca}: holds no certificate; give a PEM file") from error

    def _check_address(self):
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM) if self.host else []
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise UserError(f"--host {self.host}: is no address of this machine; give one, such as 127.0.0.1")
        loopback = all(ipaddress.ip_address(entry[4][0].split("%")[0]).is_loopback for entry in found)
        if not (loopback or self.tls_certificate or self.insecure_any_host):
            raise UserError(
                f"--host {self.host}: without TLS only this machine itself may connect; give --tls-certificate "
                "and --tls-key, or --insecure-any-host in a network that you trust"
            )
        family, _, _, _, address = found[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise cannot_listen(self.address(self.port), error.strerror) from error


def cannot_listen(address, reason):
    """The UserError for an address that cannot be listened at."""
    return UserError(f"{address}: cannot listen there ({reason}); choose another --port or --host, or --port 0")


def _within(option, value, low, high):
    if not isinstance(value, Real) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"{option} {value}: give a number from {low} to {high}")
