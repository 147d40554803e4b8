"""The folder export/ and what its files have in common."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

EXPORT = Path(__file__).parents[2] / "export"
README = (EXPORT / "README.md").read_text(encoding="utf-8")
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
OPEN = {
    "/tensorflow.serving.PredictionService/Predict",
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
}
METRICS = "/monitoring/prometheus/metrics"
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
GONE = object()


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


def load_all():
    """Every YAML file, by name, each a list of documents."""
    paths = [*EXPORT.glob("*.yaml"), *(EXPORT / "kubernetes").glob("*.yaml")]
    return {path.name: list(yaml.safe_load_all(path.read_text(encoding="utf-8"))) for path in paths}


def broken(path, value):
    """`load_all()` with another value at a path of keys, or without it if the value is `GONE`."""
    documents = place = load_all()
    for key in path[:-1]:
        place = place[key]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return documents


def promises(*cases):
    """The mark that runs a test of `path` and `value` for each case."""
    return pytest.mark.parametrize(
        ("path", "value"), cases, ids=lambda part: ".".join(map(str, part)) if isinstance(part, tuple) else None
    )


def run_tool(name, *arguments):
    """Runs a program in the folder; the test is skipped where it is not installed."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"no {name} here")
    return subprocess.run([program, *arguments], capture_output=True, text=True, cwd=EXPORT)
