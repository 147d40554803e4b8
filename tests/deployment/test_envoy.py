"""envoy.yaml: the promises of the proxy."""

import pytest
from export_folder import GONE, METRICS, OPEN, RELOAD, broken, load_all, promises

GRPC = ("envoy.yaml", 0, "static_resources", "listeners", 0, "filter_chains", 0)
ROUTES = (*GRPC, "filters", 0, "typed_config", "route_config", "virtual_hosts", 0, "routes")


def check_envoy(document):
    """The promises of envoy.yaml; Envoy itself knows the schema (see test_proxy.py)."""
    assert set(document) == {"admin", "static_resources", "overload_manager"}
    admin = document["admin"]
    assert admin["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9901}
    assert admin["allow_paths"] == [{"exact": "/stats/prometheus"}]
    grpc, operations = document["static_resources"]["listeners"]
    (chain,) = grpc["filter_chains"]
    assert grpc["address"]["socket_address"]["port_value"] == 8443
    tls = chain["transport_socket"]["typed_config"]
    assert tls["require_client_certificate"] is True
    common = tls["common_tls_context"]
    assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"
    assert common["validation_context"]["trusted_ca"]["filename"] == "/etc/tfreg-tls/ca.pem"
    manager = chain["filters"][0]["typed_config"]
    buffer = next(f["typed_config"] for f in manager["http_filters"] if f["name"].endswith(".buffer"))
    assert 2 * 4 * 64 * 192 * 192 < buffer["max_request_bytes"] <= 2**27
    assert not {"request_timeout", "stream_idle_timeout", "request_headers_timeout"} - set(manager)
    (host,) = manager["route_config"]["virtual_hosts"]
    routes = host["routes"]
    passed = {route["match"].get("path") for route in routes if "route" in route}
    assert passed == OPEN
    assert routes[0] == {"match": {"path": RELOAD}, "direct_response": {"status": 403}}
    assert routes[-1] == {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    assert all(route["route"]["timeout"] == "300s" for route in routes if "route" in route)
    (chain,) = operations["filter_chains"]
    assert operations["address"]["socket_address"]["port_value"] == 9902
    (host,) = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    paths = {route["match"].get("path"): route["route"]["cluster"] for route in host["routes"] if "route" in route}
    assert paths == {"/stats/prometheus": "admin", METRICS: "model_server_rest"}
    clusters = {cluster["name"]: cluster for cluster in document["static_resources"]["clusters"]}
    (endpoint,) = clusters["model_server"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    assert address == {"address": "model-server", "port_value": 8500}
    assert set(paths.values()) | {"model_server"} == set(clusters)


def test_the_file_keeps_its_promises():
    check_envoy(*load_all()["envoy.yaml"])


@promises(
    ((*GRPC, "transport_socket", "typed_config", "require_client_certificate"), False),
    ((*ROUTES, 0), GONE),
    ((*ROUTES, 0, "direct_response"), {"status": 200}),
    ((*ROUTES, 0, "match", "path"), "/tensorflow.serving.ModelService/HandleReloadConfig"),
    ((*ROUTES, -1), {"match": {"prefix": "/"}, "route": {"cluster": "model_server", "timeout": "300s"}}),
    (("envoy.yaml", 0, "admin", "address", "socket_address", "address"), "0.0.0.0"),
    (("envoy.yaml", 0, "admin", "allow_paths"), GONE),
)
def test_a_broken_promise_is_found(path, value):
    with pytest.raises((AssertionError, LookupError)):
        check_envoy(*broken(path, value)["envoy.yaml"])
