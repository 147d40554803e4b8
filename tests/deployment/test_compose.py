"""compose.yaml: its schema, its promises, and that the other files agree with it."""

from typing import Annotated, Any, Literal

import pytest
from export_folder import EXPORT, GONE, IMAGE, broken, check_server_arguments, load_all, promises, run_tool
from pydantic import BaseModel, Field, ValidationError

PROXY = ("compose.yaml", 0, "services", "proxy")
SERVER = ("compose.yaml", 0, "services", "server-cpu")


class Strict(BaseModel, extra="forbid", strict=True):
    """A schema: every key known, every type exact."""


class Server(Strict):
    """What compose.yaml may say of a container; what is not listed (privileged, network_mode, ...) is refused."""

    profiles: list[Literal["cpu", "gpu"]] = Field(min_length=1)
    image: Annotated[str, Field(pattern=rf"^\$\{{TFREG_\w+:-{IMAGE}\}}$")]
    user: Annotated[str, Field(pattern=r"^\$\{TFREG_UID:-[1-9]\d+\}:\$\{TFREG_GID:-[1-9]\d+\}$")]
    read_only: Literal[True]
    cap_drop: list[Literal["ALL"]] = Field(min_length=1)
    security_opt: list[Literal["no-new-privileges:true"]] = Field(min_length=1)
    restart: Literal["unless-stopped"]
    logging: dict[str, Any]
    entrypoint: list[str]
    command: list[str]
    environment: dict[str, str] = {}
    volumes: list[Annotated[str, Field(pattern=r"^[^:]+(:-[^:]+)?:/[\w./-]+:ro$")]]
    tmpfs: list[str] = []
    ports: list[Annotated[str, Field(pattern=r"^127\.0\.0\.1:\d+:\d+$")]] = []
    networks: Any
    healthcheck: "HealthCheck"
    deploy: "Deploy"


class HealthCheck(Strict):
    test: list[str] = Field(min_length=2)
    interval: str
    timeout: str
    retries: int
    start_period: str


class Limits(Strict):
    memory: Annotated[str, Field(pattern=r"^\d+g$")]
    pids: int


class Resources(Strict):
    limits: Limits
    reservations: dict[Literal["devices"], list[dict[str, Any]]] = {}


class Deploy(Strict):
    resources: Resources


class Compose(Strict):
    name: Literal["tfreg"]
    services: dict[str, Server]
    networks: dict[str, dict[str, bool]]


def mounts_of(service):
    """Mount path -> host path of a service of compose.yaml."""
    pairs = (volume.removesuffix(":ro").rsplit(":", 1) for volume in service.volumes)
    return {target: source for source, target in pairs}


def check_compose(document):
    document = {key: value for key, value in document.items() if not key.startswith("x-")}
    compose = Compose.model_validate(document)
    assert compose.networks["inside"] == {"internal": True}
    servers = {name: service for name, service in compose.services.items() if name != "proxy"}
    assert {name: service.profiles for name, service in servers.items()} == {
        "server-cpu": ["cpu"],
        "server-gpu": ["gpu"],
    }
    for name, service in servers.items():
        assert service.networks == {"inside": {"aliases": ["model-server"]}}, "no way out"
        assert not service.ports, "only the proxy is published"
        assert service.entrypoint == ["/usr/bin/tensorflow_model_server"]
        mounts = mounts_of(service)
        flags = check_server_arguments(service.command, mounts.__contains__)
        assert mounts["/models"].endswith("./models}")
        assert (EXPORT / mounts[flags["model_config_file"]]).is_file()
        assert f"/dev/tcp/127.0.0.1/{flags['port']}" in service.healthcheck.test[-1]
        gpu = [device["capabilities"] for device in service.deploy.resources.reservations.get("devices", [])]
        assert gpu == ([["gpu"]] if name == "server-gpu" else [])
        assert ("-gpu" in service.image) == (name == "server-gpu")
    proxy = compose.services["proxy"]
    assert set(proxy.profiles) == {"cpu", "gpu"}
    assert set(proxy.networks) == set(compose.networks)
    assert proxy.ports == ["127.0.0.1:8500:8443"]
    mounts = mounts_of(proxy)
    assert mounts[proxy.command[proxy.command.index("--config-path") + 1]] == "./envoy.yaml"
    assert mounts["/etc/tfreg-tls"] == "./certs/server"


def test_the_file_keeps_its_promises():
    check_compose(*load_all()["compose.yaml"])


@promises(
    ((*SERVER, "read_only"), GONE),
    ((*SERVER, "privileged"), True),
    ((*SERVER, "cap_drop"), []),
    ((*SERVER, "security_opt"), GONE),
    ((*SERVER, "user"), "0:0"),
    ((*SERVER, "volumes", 0), "./models:/models"),
    ((*SERVER, "command", 1), "--rest_api_port=8501"),
    ((*SERVER, "command", 2), "--model_config_file=/etc/models.config"),
    ((*SERVER, "networks"), ["inside", "published"]),
    ((*SERVER, "ports"), ["127.0.0.1:8501:8500"]),
    ((*SERVER, "healthcheck"), GONE),
    ((*SERVER, "deploy", "resources", "limits", "memory"), GONE),
    ((*PROXY, "ports"), ["8500:8443"]),
    ((*PROXY, "ports"), ["0.0.0.0:8500:8443"]),
    ((*PROXY, "volumes", 0), "./proxy.yaml:/etc/envoy/envoy.yaml:ro"),
    (("compose.yaml", 0, "networks", "inside", "internal"), False),
    (("compose.yaml", 0, "service"), {}),
)
def test_a_broken_promise_is_found(path, value):
    with pytest.raises((AssertionError, ValidationError, LookupError)):
        check_compose(*broken(path, value)["compose.yaml"])


def test_compose_accepts_the_file():
    done = run_tool("docker-compose", "--profile", "cpu", "--profile", "gpu", "config", "--quiet")
    assert done.returncode == 0, done.stderr
