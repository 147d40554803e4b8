"""What a deployment reads: every file of export/ by its schema, the files against each other, and their promises.

Nothing here needs a network, Docker or a cluster.
"""

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

EXPORT = Path(__file__).parents[2] / "export"
README = (EXPORT / "README.md").read_text(encoding="utf-8")
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
OPEN = {
    "/tensorflow.serving.PredictionService/Predict",
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
}
# tensorflow_model_server goes on without a flag that it does not know, so that a typing error would stay unseen.
SERVER_FLAGS = {
    "port",
    "rest_api_port",
    "model_config_file",
    "allow_version_labels_for_unavailable_models",
    "file_system_poll_wait_seconds",
    "max_num_load_retries",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "enable_batching",
    "batching_parameters_file",
    "monitoring_config_file",
    "ssl_config_file",
}
IMAGE = r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+(-gpu)?(@sha256:[0-9a-f]{64})?"


# Text protos. tensorflow-serving-api has model_server_config_pb2; the other three messages are declared here, with the
# names, numbers and types of TensorFlow Serving's monitoring_config, ssl_config and session_bundle_config.proto.
FIELDS = {
    "PrometheusConfig": "enable:1:bool path:2:string",
    "MonitoringConfig": "prometheus_config:1:.t.PrometheusConfig",
    "SSLConfig": "server_key:1:string server_cert:2:string custom_ca:3:string client_verify:4:bool",
    "BatchingParameters": "max_batch_size:1:.google.protobuf.Int64Value "
    "batch_timeout_micros:2:.google.protobuf.Int64Value max_enqueued_batches:3:.google.protobuf.Int64Value "
    "num_batch_threads:4:.google.protobuf.Int64Value thread_pool_name:5:.google.protobuf.StringValue "
    "allowed_batch_sizes:6:int64* pad_variable_length_inputs:7:bool",
}


def declared_message(name):
    """The message class of `FIELDS[name]`."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="t.proto", package="t", syntax="proto3", dependency=["google/protobuf/wrappers.proto"]
    )
    for message, fields in FIELDS.items():
        declared = file.message_type.add(name=message)
        for field in fields.split():
            key, number, kind = field.split(":")
            entry = declared.field.add(name=key, number=int(number), label=kinds.LABEL_OPTIONAL)
            if kind.endswith("*"):
                entry.label, kind = kinds.LABEL_REPEATED, kind[:-1]
            if kind.startswith("."):
                entry.type, entry.type_name = kinds.TYPE_MESSAGE, kind
            else:
                entry.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers.ParseFromString(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(wrappers)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}"))


def check_models(text):
    """Parses a models.config and returns its one model."""
    from tensorflow_serving.config import model_server_config_pb2

    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = parsed.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("tfreg", "/models/tfreg", "tensorflow")
    assert model.model_version_policy.WhichOneof("policy_choice") in ("latest", "specific")
    assert set(model.version_labels.values()) <= set(model.model_version_policy.specific.versions)
    assert not model.HasField("logging_config"), "requests hold patient data"
    return model


def check_batching(text):
    parsed = text_format.Parse(text, declared_message("BatchingParameters")())
    sizes = list(parsed.allowed_batch_sizes)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == parsed.max_batch_size.value
    assert parsed.num_batch_threads.value >= 1
    assert not parsed.pad_variable_length_inputs


def check_monitoring(text):
    parsed = text_format.Parse(text, declared_message("MonitoringConfig")())
    assert parsed.prometheus_config.enable
    return parsed.prometheus_config.path


def check_ssl(text):
    parsed = text_format.Parse(text, declared_message("SSLConfig")())
    assert parsed.client_verify
    for value in (parsed.server_key, parsed.server_cert, parsed.custom_ca):
        assert value.startswith("REPLACE_WITH_"), "a template holds no keys"


class Strict(BaseModel):
    """A schema: every key known, every type exact."""

    model_config = ConfigDict(extra="forbid", strict=True)


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


class Compose(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: Literal["tfreg"]
    services: dict[str, Server]
    networks: dict[str, dict[str, bool]]


def mounts_of(service):
    """Mount path -> host path of a service of compose.yaml."""
    pairs = (volume.removesuffix(":ro").rsplit(":", 1) for volume in service.volumes)
    return {target: source for source, target in pairs}


def check_server_arguments(arguments, mounted):
    """The promises of tensorflow_model_server's flags; `mounted` says whether a path exists in the container."""
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    assert len(flags) == len(arguments)
    assert set(flags) <= SERVER_FLAGS, set(flags) - SERVER_FLAGS
    assert flags["port"] == "8500"
    assert flags["rest_api_port"] == "0", "REST is off"
    assert "enable_batching" not in flags
    for name, value in flags.items():
        assert not name.endswith("_file") or mounted(value), f"{value} is in no mount"
    return flags


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


class Security(Strict):
    allowPrivilegeEscalation: Literal[False]
    privileged: Literal[False] = False
    readOnlyRootFilesystem: Literal[True]
    capabilities: dict[Literal["drop"], list[Literal["ALL"]]]


class Mount(Strict):
    name: str
    mountPath: str
    readOnly: bool = False


class Container(Strict):
    name: str
    image: Annotated[str, Field(pattern=rf"^{IMAGE}$")]
    command: list[str]
    args: list[str]
    env: list[dict[Literal["name", "value"], str]] = []
    ports: list[dict[Literal["name", "containerPort"], str | int]]
    resources: dict[Literal["requests", "limits"], dict[Literal["cpu", "memory", "nvidia.com/gpu"], str | int]]
    securityContext: Security
    startupProbe: dict[str, Any] = {}
    readinessProbe: dict[str, Any]
    livenessProbe: dict[str, Any]
    lifecycle: dict[str, Any]
    volumeMounts: list[Mount]


class PodSecurity(Strict):
    runAsNonRoot: Literal[True]
    runAsUser: Annotated[int, Field(gt=0)]
    runAsGroup: Annotated[int, Field(gt=0)]
    fsGroup: int
    fsGroupChangePolicy: str
    seccompProfile: dict[Literal["type"], Literal["RuntimeDefault"]]


class Pod(Strict):
    """A pod; what is not listed (hostNetwork, hostPID, serviceAccountName, ...) is refused."""

    automountServiceAccountToken: Literal[False]
    enableServiceLinks: Literal[False]
    terminationGracePeriodSeconds: int
    securityContext: PodSecurity
    hostAliases: list[dict[str, Any]]
    topologySpreadConstraints: list[dict[str, Any]] = []
    tolerations: list[dict[str, str]] = []
    containers: list[Container] = Field(min_length=2, max_length=2)
    volumes: list[dict[Literal["name", "persistentVolumeClaim", "configMap", "secret", "emptyDir"], Any]]


class Manifest(Strict):
    apiVersion: Literal["v1", "apps/v1", "policy/v1", "networking.k8s.io/v1"]
    kind: Literal["Namespace", "PersistentVolumeClaim", "Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"]
    metadata: dict[Literal["name", "labels"], Any]
    spec: dict[str, Any] = {}


class Policy(Strict):
    podSelector: dict[str, Any]
    policyTypes: list[Literal["Ingress", "Egress"]] = Field(min_length=1)
    ingress: list[dict[Literal["from", "ports"], list[Any]]] = []


def selects(selector, labels):
    return selector.items() <= labels.items()


def check_deployment(spec, files):
    """A Deployment's spec; `files` maps config maps to their files. Returns the pods' labels and named ports."""
    assert set(spec) == {"replicas", "revisionHistoryLimit", "selector", "strategy", "template"}
    labels = spec["template"]["metadata"]["labels"]
    assert selects(spec["selector"]["matchLabels"], labels)
    pod = Pod.model_validate(spec["template"]["spec"])
    assert pod.hostAliases == [{"ip": "127.0.0.1", "hostnames": ["model-server"]}]
    volumes = {volume["name"]: volume for volume in pod.volumes}
    used, ports = set(), {}
    for container in pod.containers:
        mounts = {mount.mountPath: mount for mount in container.volumeMounts}
        used |= {mount.name for mount in mounts.values()}
        assert container.securityContext.capabilities == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container.resources["limits"].keys() & container.resources["requests"].keys()
        for mount in mounts.values():
            assert mount.readOnly or "emptyDir" in volumes[mount.name], f"{mount.mountPath} can be written"

        def mounted(path, mounts=mounts):
            folder, name = path.rsplit("/", 1)
            return name in files[volumes[mounts[folder].name]["configMap"]["name"]]

        own = {port["name"]: port["containerPort"] for port in container.ports}
        ports |= own
        for probe in filter(None, (container.startupProbe, container.readinessProbe, container.livenessProbe)):
            (kind,) = {"tcpSocket", "httpGet"} & set(probe)
            assert probe[kind]["port"] in own
        seconds = container.lifecycle["preStop"]["exec"]["command"][-1]
        assert int(seconds) < pod.terminationGracePeriodSeconds
        if container.name == "server":
            assert container.command == ["/usr/bin/tensorflow_model_server"]
            flags = check_server_arguments(container.args, mounted)
            assert own == {"grpc": int(flags["port"])}
            assert container.startupProbe
            assert volumes[mounts["/models"].name]["persistentVolumeClaim"]["readOnly"] is True
            gpu = container.resources["limits"].get("nvidia.com/gpu", 0)
            assert gpu == (1 if labels["app.kubernetes.io/component"] == "gpu" else 0)
            assert bool(gpu) == ("-gpu" in container.image)
            threads = flags.get("tensorflow_intra_op_parallelism")
            assert threads == (None if gpu else container.resources["limits"]["cpu"])
        else:
            assert mounted(container.args[container.args.index("--config-path") + 1])
            assert container.readinessProbe["httpGet"] == {"path": "/ready", "port": "operations"}
            assert volumes[mounts["/etc/tfreg-tls"].name]["secret"]["defaultMode"] == 0o440
    assert used == set(volumes)
    return labels, ports


def check_kubernetes(documents):
    """All manifests of kubernetes/, by file name, with kustomization.yaml."""
    kustomization = documents["kustomization.yaml"][0]
    assert set(kustomization) == {"apiVersion", "kind", "namespace", "resources", "configMapGenerator"}
    listed = {name.removeprefix("kubernetes/") for name in kustomization["resources"]}
    assert listed == set(documents) - {"kustomization.yaml", "deployment-gpu.yaml"}
    files = {entry["name"]: entry["files"] for entry in kustomization["configMapGenerator"]}
    assert all((EXPORT / file).is_file() for names in files.values() for file in names)
    every = [Manifest.model_validate(d) for name, each in documents.items() if name in listed for d in each]
    every += [Manifest.model_validate(d) for d in documents["deployment-gpu.yaml"]]
    kinds = {}
    for manifest in every:
        kinds.setdefault(manifest.kind, {})[manifest.metadata["name"]] = manifest
    (namespace,) = kinds["Namespace"].values()
    assert namespace.metadata["name"] == kustomization["namespace"]
    assert namespace.metadata["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = [check_deployment(manifest.spec, files) for manifest in kinds["Deployment"].values()]
    assert len({tuple(labels.items()) for labels, _ in pods}) == 2, "each deployment has pods of its own"
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for manifest in kinds["Deployment"].values()
        for volume in manifest.spec["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == set(kinds["PersistentVolumeClaim"])
    (service,) = kinds["Service"].values()
    assert service.spec["type"] == "ClusterIP"
    (budget,) = kinds["PodDisruptionBudget"].values()
    policies = {name: Policy.model_validate(manifest.spec) for name, manifest in kinds["NetworkPolicy"].items()}
    deny = policies.pop("default-deny")
    assert deny.podSelector == {}
    assert (set(deny.policyTypes), deny.ingress) == ({"Ingress", "Egress"}, [])
    opened = set()
    for labels, ports in pods:
        assert selects(service.spec["selector"], labels)
        assert [port["targetPort"] for port in service.spec["ports"]] == ["grpc-tls"]
        assert selects(budget.spec["selector"]["matchLabels"], labels)
        for policy in policies.values():
            assert selects(policy.podSelector["matchLabels"], labels)
            assert policy.policyTypes == ["Ingress"], "no egress is opened"
            for rule in policy.ingress:
                assert all("podSelector" in peer for peer in rule["from"]), "only labelled pods"
                assert all(peer["podSelector"]["matchLabels"] for peer in rule["from"])
                assert rule["from"]
                opened |= {port["port"] for port in rule["ports"]}
        assert {name: ports[name] for name in opened} == {"grpc-tls": 8443, "operations": 9902}


def check_envoy(document):
    """The promises of envoy.yaml; Envoy itself knows the schema (see the tests at the end)."""
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
    metrics = check_monitoring((EXPORT / "monitoring.config").read_text(encoding="utf-8"))
    assert paths == {"/stats/prometheus": "admin", metrics: "model_server_rest"}
    clusters = {cluster["name"]: cluster for cluster in document["static_resources"]["clusters"]}
    (endpoint,) = clusters["model_server"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    assert address == {"address": "model-server", "port_value": 8500}
    assert set(paths.values()) | {"model_server"} == set(clusters)


def load_all():
    """Every YAML file, by name, each a list of documents."""
    paths = [*EXPORT.glob("*.yaml"), *(EXPORT / "kubernetes").glob("*.yaml")]
    return {path.name: list(yaml.safe_load_all(path.read_text(encoding="utf-8"))) for path in paths}


def check_yaml(documents):
    documents = dict(documents)
    (compose,), (envoy,) = documents.pop("compose.yaml"), documents.pop("envoy.yaml")
    check_compose(compose)
    check_envoy(envoy)
    check_kubernetes(documents)


def test_the_files_keep_their_promises():
    check_yaml(load_all())


TEXTS = {
    "models.config": check_models,
    "batching.config": check_batching,
    "monitoring.config": check_monitoring,
    "ssl.config": check_ssl,
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_protos_parse(name):
    TEXTS[name]((EXPORT / name).read_text(encoding="utf-8"))


def test_the_pinned_variant_in_the_comments_parses():
    text = (EXPORT / "models.config").read_text(encoding="utf-8")
    commented = "\n".join(re.findall(r"^# {4}(.*)$", text, re.M))
    pinned = re.sub(r"model_version_policy \{.*?\n    \}\n", lambda _: commented + "\n", text, count=1, flags=re.S)
    pinned = re.sub(r"^#.*", "", pinned, flags=re.M)
    model = check_models(pinned)
    assert list(model.model_version_policy.specific.versions) == [3, 4]
    assert dict(model.version_labels) == {"stable": 3, "canary": 4}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("models.config", "base_path", "path"),
        ("models.config", "num_versions: 1", "num_versions: one"),
        ("models.config", "latest {", "newest {"),
        ("models.config", '"/models/tfreg"', '"/models/tfreg/1"'),
        ("models.config", 'name: "tfreg"', 'name: "tfreg" logging_config {}'),
        ("batching.config", "max_batch_size { value: 2 }", "max_batch_size { value: 4 }"),
        ("batching.config", "max_batch_size { value: 2 }", "max_batch_size: 2"),
        ("batching.config", "inputs: false", "inputs: true"),
        ("monitoring.config", "enable: true", "enabled: true"),
        ("monitoring.config", "prometheus_config", "prometheus"),
        ("ssl.config", "client_verify: true", "client_verify: false"),
        ("ssl.config", "REPLACE_WITH_SERVER_KEY", "-----BEGIN"),
        ("ssl.config", "custom_ca", "ca"),
    ],
)
def test_a_damaged_text_proto_is_found(name, old, new):
    text = (EXPORT / name).read_text(encoding="utf-8")
    body = re.sub(r"^\s*#.*\n", "", text, flags=re.M)
    assert old in body
    with pytest.raises((text_format.ParseError, AssertionError)):
        TEXTS[name](body.replace(old, new))


CPU = ("deployment-cpu.yaml", 0, "spec", "template", "spec")
PROXY = ("compose.yaml", 0, "services", "proxy")
SERVER = ("compose.yaml", 0, "services", "server-cpu")
GRPC = ("envoy.yaml", 0, "static_resources", "listeners", 0, "filter_chains", 0)
ROUTES = (*GRPC, "filters", 0, "typed_config", "route_config", "virtual_hosts", 0, "routes")
GONE = object()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*CPU, "containers", 0, "securityContext", "readOnlyRootFilesystem"), GONE),
        ((*CPU, "containers", 1, "securityContext", "readOnlyRootFilesystem"), False),
        ((*CPU, "containers", 0, "securityContext", "privileged"), True),
        ((*CPU, "containers", 0, "securityContext", "capabilities", "add"), ["NET_ADMIN"]),
        ((*CPU, "containers", 0, "args", 1), "--rest_api_port=8501"),
        ((*CPU, "containers", 0, "args", 1), "--rest_api_prot=0"),
        ((*CPU, "containers", 0, "args", 2), "--model_config_file=/etc/tfreg/model.config"),
        ((*CPU, "containers", 0, "volumeMounts", 0, "readOnly"), False),
        ((*CPU, "containers", 0, "volumeMounts", 0, "name"), "model"),
        ((*CPU, "containers", 0, "resources", "limits", "memory"), GONE),
        ((*CPU, "containers", 0, "image"), "tensorflow/serving:latest"),
        ((*CPU, "containers", 1, "readinessProbe", "httpGet", "port"), "metrics"),
        ((*CPU, "securityContext", "runAsNonRoot"), GONE),
        ((*CPU, "securityContext", "runAsUser"), 0),
        ((*CPU, "hostNetwork"), True),
        ((*CPU, "automountServiceAccountToken"), GONE),
        ((*CPU, "volumes", 1, "configMap", "name"), "tfreg"),
        ((*CPU[:4], "metadata", "labels", "app.kubernetes.io/name"), "other"),
        (("service.yaml", 0, "spec", "selector", "app.kubernetes.io/name"), "other"),
        (("service.yaml", 0, "spec", "type"), "LoadBalancer"),
        (("service.yaml", 0, "spec", "ports", 0, "targetPort"), "grpc"),
        (("networkpolicy.yaml", 0, "spec", "policyTypes"), ["Ingress"]),
        (("networkpolicy.yaml", 1, "spec", "podSelector", "matchLabels", "app.kubernetes.io/name"), "other"),
        (("networkpolicy.yaml", 1, "spec", "ingress", 0, "from"), []),
        (("networkpolicy.yaml", 1, "spec", "ingress", 0, "ports", 0, "port"), "grpc"),
        (("networkpolicy.yaml", 1, "spec", "egress"), [{}]),
        (("poddisruptionbudget.yaml", 0, "spec", "selector", "matchLabels", "app.kubernetes.io/name"), "other"),
        (("models-volume.yaml", 0, "metadata", "name"), "models"),
        (("namespace.yaml", 0, "metadata", "labels", "pod-security.kubernetes.io/enforce"), "privileged"),
        (("kustomization.yaml", 0, "resources", 0), "kubernetes/spacename.yaml"),
        (("service.yaml", 0, "specification"), {}),
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
        ((*GRPC, "transport_socket", "typed_config", "require_client_certificate"), False),
        ((*ROUTES, 0), GONE),
        ((*ROUTES, 0, "direct_response"), {"status": 200}),
        ((*ROUTES, 0, "match", "path"), "/tensorflow.serving.ModelService/HandleReloadConfig"),
        ((*ROUTES, -1), {"match": {"prefix": "/"}, "route": {"cluster": "model_server", "timeout": "300s"}}),
        (("envoy.yaml", 0, "admin", "address", "socket_address", "address"), "0.0.0.0"),
        (("envoy.yaml", 0, "admin", "allow_paths"), GONE),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_broken_promise_is_found(path, value):
    documents = copy.deepcopy(load_all())
    place = documents
    for key in path[:-1]:
        place = place[key]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises((AssertionError, ValidationError, LookupError)):
        check_yaml(documents)


def test_every_file_is_described():
    for path in EXPORT.iterdir():
        if path.is_file() and not path.name.startswith(".") and path.name != "README.md":
            assert f"`{path.name}`" in README


def run_tool(name, *arguments):
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"no {name} here")
    return subprocess.run([program, *arguments], capture_output=True, text=True, cwd=EXPORT)


def test_kustomize_builds():
    done = run_tool("kubectl", "kustomize", ".")
    assert done.returncode == 0, done.stderr
    kinds = [document["kind"] for document in yaml.safe_load_all(done.stdout)]
    assert kinds.count("ConfigMap") == 2


def test_compose_accepts_the_file():
    done = run_tool("docker-compose", "--profile", "cpu", "--profile", "gpu", "config", "--quiet")
    assert done.returncode == 0, done.stderr
