"""A tiny SavedModel, a server of it in a process of its own, and the server that somebody else has started.

With TFREG_TFS_ADDRESS=HOST:PORT every test of a server runs against that one too, and is skipped there if it needs a
server of its own. It holds, under the name tfreg, the export of the run that TFREG_TFS_RUN names (see "Testing a
server" in export/README.md).
"""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
from exports import MODELS, SMALL
from filelock import FileLock
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc, prediction_service_pb2_grpc

COMMAND = Path(sys.executable).with_name("tfreg")
STARTS_WITHIN = 180  # seconds; TensorFlow's import alone takes long on a busy machine
OUTSIDE, OUTSIDE_RUN = os.environ.get("TFREG_TFS_ADDRESS"), os.environ.get("TFREG_TFS_RUN")
SERVERS = ["tfreg", *([pytest.param("tfs", marks=pytest.mark.tfs)] if OUTSIDE else [])]


@pytest.fixture(scope="session")
def write_tiny_model():
    """`write_tiny_model(folder, offset)`: a SavedModel whose `warped` is `moving + offset`."""
    import tensorflow as tf

    class Tiny(tf.Module):
        def __init__(self, offset):
            super().__init__()
            self.offset = tf.Variable(float(offset))

        def default(self, fixed, moving):
            finite = tf.reduce_all(tf.math.is_finite(fixed))
            tf.debugging.Assert(finite, ["fixed: holds values that are not finite"])
            same = tf.debugging.assert_equal(tf.shape(fixed), tf.shape(moving), "fixed and moving differ in shape")
            with tf.control_dependencies([same]):
                fixed = tf.identity(fixed)
            return {
                "warped": moving + self.offset,
                "displacement": tf.concat([fixed, moving, fixed], -1),
                "linear": tf.eye(3, 4)[None],
                "logits": fixed,
            }

        def slow(self, seconds):
            end = tf.timestamp() + tf.cast(seconds, tf.float64)
            rounds = tf.while_loop(lambda n: tf.timestamp() < end, lambda n: (n + 1,), [0])[0]
            return {"version": self.offset + 0 * tf.cast(rounds, tf.float32)}

        def echo(self, text, number, scan):
            return {"text": text, "number": number, "scan": scan}

    def write_tiny_model(folder, offset):
        def spec(name, shape=(None, None, None, None, 1), dtype=tf.float32):
            return tf.TensorSpec(shape, dtype, name)

        tiny = Tiny(offset)
        default = tf.function(tiny.default, [spec("fixed"), spec("moving")])
        slow = tf.function(tiny.slow, [spec("seconds", ())])
        echo = [spec("text", (None,), tf.string), spec("number", (), tf.int32), spec("scan", (None,), tf.int16)]
        tiny.functions = [default, slow, echo := tf.function(tiny.echo, echo)]
        tf.saved_model.save(tiny, str(folder), {"serving_default": default, "slow": slow, "echo": echo})
        return folder

    return write_tiny_model


class Server:
    """A server of the API, by its address."""

    def __init__(self, address):
        self.address = address
        self.channels = []

    def connect(self, credentials=None, **options):
        """(PredictionService, ModelService, Health) stubs over a new channel."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), *options.items()]
        if credentials is None:
            channel = grpc.insecure_channel(self.address, options)
        else:
            channel = grpc.secure_channel(self.address, credentials, options)
        self.channels.append(channel)
        return (
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
            health_pb2_grpc.HealthStub(channel),
        )

    @property
    def version(self):
        """The newest version of its model that is available."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "tfreg"
        found = self.connect()[1].GetModelStatus(request, timeout=60).model_version_status
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return max(entry.version for entry in found if entry.state == available)

    def close(self):
        """Ends the connections."""
        for channel in self.channels:
            channel.close()


class RunningServer(Server):
    """`tfreg serve` on a free port of this machine."""

    def __init__(self, base_path, log, *options):
        super().__init__(None)
        self.log_file = log
        environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
        command = [COMMAND, "serve", "--model-base-path", base_path, "--port", "0", "--device", "cpu", *options]
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
            )
        # The line comes once a model is loaded; a server that does not get so far is ended.
        late = threading.Timer(STARTS_WITHIN, self.process.kill)
        late.start()
        self.first_line = self.process.stdout.readline()
        late.cancel()
        if not self.first_line.startswith("serving "):
            self.close()
            raise AssertionError(self.log)
        self.address = self.first_line.split(" at ")[1].split(",")[0]

    @property
    def log(self):
        """What it has written to standard error."""
        return self.log_file.read_text()

    def close(self):
        """Ends the connections, and the process by its own number."""
        super().close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module", params=SERVERS)
def outside(request):
    """The `Server` that somebody else has started, or None where a test starts its own."""
    server = Server(OUTSIDE) if request.param == "tfs" else None
    yield server
    if server:
        server.close()


@pytest.fixture(scope="module")
def outside_run(outside):
    """The run whose export the server outside holds; None without such a server."""
    if outside and not OUTSIDE_RUN:
        pytest.skip("TFREG_TFS_RUN does not name the run whose export the server holds")
    return Path(OUTSIDE_RUN) if outside else None


@pytest.fixture(scope="module")
def start_server(outside, tmp_path_factory):
    """`start_server(base_path, *options)`: a RunningServer, which does not outlive the module."""
    if outside:
        pytest.skip("needs a server of its own: another model or options, its files, its log, its end")
    servers = []

    def start_server(base_path, *options):
        log = tmp_path_factory.mktemp("server") / "log.txt"
        servers.append(RunningServer(base_path, log, *options))
        return servers[-1]

    yield start_server
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def base_path(tmp_path_factory, write_tiny_model):
    """A model's folder that holds version 7."""
    folder = tmp_path_factory.mktemp("models") / "tfreg"
    write_tiny_model(folder / "7", 7)
    return folder


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """`certificates / "NAME.pem"` and `"NAME.key"` of ca, server and client, and of another ca."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def run(*arguments):
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        subject = ["-subj", f"/CN={name}", "-days", "2"]
        run("req", "-x509", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.pem", *subject)
    (folder / "names.txt").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        run("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names.txt"]
        run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signer)
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory, perturb):
    """Of each kind of model its run and its export, loaded without Keras; the suite's processes share the files."""
    import tensorflow as tf

    from tfreg.config import ExportOptions, dump_config, parse_config
    from tfreg.registration.trained_run import load_run
    from tfreg.serving.protocol.export_manifest import MANIFEST, ExportManifest
    from tfreg.serving.saved_model.export import export
    from tfreg.training.build_model import build_model

    def write(name, run, models):
        grid = {"network_grid": {"spacing": 3, "shape": [10, 12, 8]}} if name == "both" else {}
        config = parse_config({"model": SMALL | MODELS[name], "preprocessing": grid, "loss": {"beta": 1e-5}})
        model = build_model(config)
        perturb(model, np.random.default_rng(4), 0.05)
        run.mkdir(parents=True, exist_ok=True)
        model.save(run / "model.keras")
        (run / "config.yaml").write_text(dump_config(config))
        export(run, models, ExportOptions(max_voxels=50_000))

    folder, exports = tmp_path_factory.getbasetemp(), {}
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    for name in MODELS:
        run, path = folder / "runs" / name, folder / "models" / name / "1"
        with FileLock(folder / f"{name}.lock"):
            if not path.exists():
                write(name, run, path.parent)
        manifest = ExportManifest.read(path / MANIFEST)
        exports[name] = (load_run(run), path, manifest, tf.saved_model.load(path).signatures)
    return exports
