"""TLS and mTLS, with certificates made here."""

import subprocess

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tfreg.config import ServerOptions
from tfreg.errors import UserError
from tfreg.serving.server.options import check_server


def options_of(certificates, *more):
    return ["--tls-certificate", certificates / "server.pem", "--tls-key", certificates / "server.key", *more]


def credentials(certificates, ca="ca", client=None):
    """What a client trusts, and its own certificate."""
    own = [(certificates / f"{client}.{kind}").read_bytes() for kind in ("key", "pem")] if client else [None, None]
    return grpc.ssl_channel_credentials((certificates / f"{ca}.pem").read_bytes(), *own)


def health(server, credentials):
    """The health, as a client with these credentials gets it."""
    check = server.connect(credentials, **{"grpc.use_local_subchannel_pool": 1})[2].Check
    return check(health_pb2.HealthCheckRequest(), timeout=20).status


def test_tls(certificates, start_server, base_path):
    """With it, other machines might connect too."""
    options = {"tls_certificate": certificates / "server.pem", "tls_key": certificates / "server.key"}
    check_server(ServerOptions(model_base_path=base_path, host="0.0.0.0", port=0, **options))
    server = start_server(base_path, *options_of(certificates))
    assert health(server, credentials(certificates)) == health_pb2.HealthCheckResponse.SERVING
    for wrong in (credentials(certificates, ca="other"), None):
        with pytest.raises(grpc.RpcError) as raised:
            health(server, wrong)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_mutual_tls(certificates, start_server, base_path):
    """Only clients whose certificate the CA has signed."""
    server = start_server(base_path, *options_of(certificates, "--tls-client-ca", certificates / "ca.pem"))
    mine = credentials(certificates, client="client")
    assert health(server, mine) == health_pb2.HealthCheckResponse.SERVING
    for wrong in (credentials(certificates), credentials(certificates, client="other")):
        with pytest.raises(grpc.RpcError) as raised:
            health(server, wrong)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_key_of_another_certificate_is_refused(certificates, tmp_path):
    server, key = certificates / "server.pem", certificates / "client.key"
    with pytest.raises(UserError, match="are not a certificate and its key"):
        check_server(ServerOptions(model_base_path=tmp_path, port=0, tls_certificate=server, tls_key=key))


def test_a_client_ca_without_a_certificate_is_refused(certificates, tmp_path):
    options = ServerOptions(
        model_base_path=tmp_path,
        port=0,
        tls_certificate=certificates / "server.pem",
        tls_key=certificates / "server.key",
        tls_client_ca=certificates / "names.txt",
    )
    with pytest.raises(UserError, match=r"names\.txt: holds no certificate; give a PEM file"):
        check_server(options)


def test_a_key_with_a_password_is_refused(certificates, tmp_path):
    locked = tmp_path / "locked.key"
    command = [
        "openssl",
        "ec",
        "-in",
        certificates / "server.key",
        "-aes128",
        "-passout",
        "pass:secret",
        "-out",
        locked,
    ]
    subprocess.run(command, check=True, capture_output=True)
    certificate = certificates / "server.pem"
    options = ServerOptions(model_base_path=tmp_path, port=0, tls_certificate=certificate, tls_key=locked)
    with pytest.raises(UserError, match="the key without a password"):
        check_server(options)
