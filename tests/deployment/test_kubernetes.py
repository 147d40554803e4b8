"""The manifests of Kubernetes: their schema, their promises, and that they agree with each other."""

from typing import Annotated, Any, Literal

import pytest
import yaml
from export_folder import EXPORT, GONE, IMAGE, broken, check_server_arguments, load_all, promises, run_tool
from pydantic import BaseModel, Field, ValidationError

CPU = ("deployment-cpu.yaml", 0, "spec", "template", "spec")


class Strict(BaseModel, extra="forbid", strict=True):
    """A schema: every key known, every type exact."""


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
    """All manifests of kubernetes/, by file name, with kustomization.yaml; other files are passed over."""
    documents = {name: each for name, each in documents.items() if name not in ("compose.yaml", "envoy.yaml")}
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


def test_the_files_keep_their_promises():
    check_kubernetes(load_all())


@promises(
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
)
def test_a_broken_promise_is_found(path, value):
    with pytest.raises((AssertionError, ValidationError, LookupError)):
        check_kubernetes(broken(path, value))


def test_kustomize_builds():
    done = run_tool("kubectl", "kustomize", ".")
    assert done.returncode == 0, done.stderr
    kinds = [document["kind"] for document in yaml.safe_load_all(done.stdout)]
    assert kinds.count("ConfigMap") == 2
