"""Whether a server can be started with its options, looked at before TensorFlow is loaded."""

import ipaddress
import socket
import ssl

from tfreg.config import ServerOptions
from tfreg.errors import UserError


def check_server(options: ServerOptions) -> None:
    """Refuses options with which no server can be started here.

    Args:
        options: A `tfreg.config.ServerOptions`.

    Raises:
        UserError: If a certificate cannot be used, the address is not one of this machine or is taken, or other
            machines could connect without TLS.
    """
    _check_tls(options)
    _check_address(options)


def _check_tls(options):
    if options.tls_certificate is None:
        return
    for path in filter(None, (options.tls_certificate, options.tls_key, options.tls_client_ca)):
        try:
            path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_certificate, options.tls_key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise UserError(
            f"{options.tls_certificate} and {options.tls_key}: are not a certificate and its key; "
            "give two PEM files, the key without a password"
        ) from error
    if options.tls_client_ca is not None:
        try:
            context.load_verify_locations(options.tls_client_ca)
        except ssl.SSLError as error:
            raise UserError(f"{options.tls_client_ca}: holds no certificate; give a PEM file") from error


def _check_address(options):
    host, port = options.host, options.port
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):
        entries = []
    if not entries:
        raise UserError(f"--host {host}: is no address of this machine; give one, such as 127.0.0.1")
    loopback = all(ipaddress.ip_address(entry[4][0].split("%")[0]).is_loopback for entry in entries)
    if not (loopback or options.tls_certificate or options.insecure_any_host):
        raise UserError(
            f"--host {host}: without TLS only this machine itself may connect; give --tls-certificate "
            "and --tls-key, or --insecure-any-host in a network that you trust"
        )
    family, _, _, _, address = entries[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise cannot_listen(options.address(port), error.strerror) from error


def cannot_listen(address: str, reason: str) -> UserError:
    """The error of an address that cannot be listened at.

    Args:
        address: HOST:PORT.
        reason: Why.
    """
    return UserError(f"{address}: cannot listen there ({reason}); choose another --port or --host, or --port 0")
