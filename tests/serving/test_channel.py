"""Where a call goes: straight to this machine, whatever proxy is set, and what is told where a proxy is in the way."""

from concurrent import futures

import grpc
import pytest

from tfreg.config import RequestOptions
from tfreg.serving.client.channel import Refusal, call, is_loopback, open_channel

PROXY = "http://someone:secret@127.0.0.1:9"  # where nothing listens
VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")


@pytest.fixture(params=["grpc_proxy", "https_proxy", "http_proxy"])
def proxy(request, monkeypatch):
    """The name of the one variable that is set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(request.param, PROXY)
    return request.param


@pytest.fixture
def port():
    """Of a server that answers every call with what it was sent."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    handler = grpc.unary_unary_rpc_method_handler(lambda data, context: data)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo", {"Echo": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


def echo(address, seconds=5.0):
    with open_channel(address) as channel:
        return call(channel.unary_unary("/echo/Echo"), b"data", address, RequestOptions(timeout=seconds, retries=0))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_reached_without_a_proxy(proxy, port, host):
    assert echo(f"{host}:{port}") == b"data"


def test_a_proxy_that_is_in_the_way_is_named_and_its_password_is_not(proxy):
    with pytest.raises(Refusal) as caught:
        echo("192.0.2.1:8500")
    text = str(caught.value)
    assert f"{proxy} is set, by which the call goes through a proxy unless no_proxy lists 192.0.2.1" in text
    assert "secret" not in text
    assert "\n" not in text


def test_a_host_that_is_exempt_has_no_proxy_to_blame(proxy, monkeypatch):
    monkeypatch.setenv("no_proxy", "example.org, 192.0.2.1")
    with pytest.raises(Refusal) as caught:
        echo("192.0.2.1:8500", seconds=0.5)
    assert proxy not in str(caught.value)


def test_what_this_machine_is():
    for host in ("localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"):
        assert is_loopback(host), host
    for host in ("192.0.2.1", "2001:db8::1", "name.invalid", ""):
        assert not is_loopback(host), host
