"""The API: answers, states, and every error's code and text."""

import re
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.wrappers_pb2 import Int64Value
from grpc_health.v1 import health_pb2
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from tfreg.serving.protocol.tensors import to_array, to_proto

SHAPE = (1, 32, 48, 32, 1)
OUTPUTS = ["displacement", "linear", "logits", "warped"]
SECONDS = 60


@pytest.fixture(scope="module")
def server(start_server, base_path):
    return start_server(base_path, "--max-message-mb", 8)


@pytest.fixture
def api(outside, request):
    """(PredictionService, ModelService) of tfreg's server, and of the one outside where there is one."""
    return (outside or request.getfixturevalue("server")).connect()[:2]


@pytest.fixture
def volumes(rng):
    return {name: rng.random(SHAPE, np.float32) for name in ("fixed", "moving")}


def request_of(inputs, as_content=True, name="tfreg", signature="", outputs=(), version=None, label=None):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for alias, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else to_proto(value, as_content)
        request.inputs[alias].CopyFrom(proto)
    return request


def refusal(method, request):
    """(code, text) of a call that must fail."""
    with pytest.raises(grpc.RpcError) as raised:
        method(request, timeout=SECONDS)
    return raised.value.code(), raised.value.details()


@pytest.mark.parametrize("as_content", [False, True])
def test_predict(api, volumes, as_content):
    response = api[0].Predict(request_of(volumes, as_content), timeout=SECONDS)
    assert sorted(response.outputs) == OUTPUTS
    assert response.model_spec.name == "tfreg"
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.version.value >= 1
    for proto in response.outputs.values():
        assert proto.tensor_content == b""
        assert len(proto.float_val) > 0
    assert to_array(response.outputs["warped"]).shape == SHAPE
    assert to_array(response.outputs["displacement"]).shape == (*SHAPE[:-1], 3)
    assert to_array(response.outputs["linear"]).shape == (1, 3, 4)


def test_predict_is_exact(server, volumes):
    response = server.connect()[0].Predict(request_of(volumes), timeout=SECONDS)
    found = {alias: to_array(proto) for alias, proto in response.outputs.items()}
    np.testing.assert_array_equal(found["warped"], volumes["moving"] + np.float32(7))
    both = [volumes["fixed"], volumes["moving"], volumes["fixed"]]
    np.testing.assert_array_equal(found["displacement"], np.concatenate(both, -1))
    np.testing.assert_array_equal(found["linear"][0], np.eye(3, 4))
    assert response.model_spec.version.value == 7


def test_one_value_stands_for_a_volume(api):
    zeros = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[0.5])
    for size in SHAPE:
        zeros.tensor_shape.dim.add(size=size)
    request = request_of({"fixed": zeros, "moving": zeros}, outputs=["warped"])
    assert to_array(api[0].Predict(request, timeout=SECONDS).outputs["warped"]).shape == SHAPE


def test_neither_keras_nor_jax_is_loaded(server):
    """TensorFlow looks for both; optree comes with Keras."""
    libraries = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "libtensorflow" in libraries
    assert not any(package in libraries for package in ("optree", "jaxlib"))


@pytest.mark.parametrize("outputs", [["warped"], ["linear", "logits"]])
def test_output_filter(api, volumes, outputs):
    response = api[0].Predict(request_of(volumes, outputs=outputs), timeout=SECONDS)
    assert sorted(response.outputs) == outputs


@pytest.mark.parametrize("as_content", [False, True])
def test_other_dtypes(server, as_content):
    inputs = {
        "text": np.array([b"a", b"", b"\xff\0"], object),
        "number": np.int32(-5),
        "scan": np.array([-1024, 0, 32767, -32768], np.int16),
    }
    response = server.connect()[0].Predict(request_of(inputs, as_content, signature="echo"), timeout=SECONDS)
    assert response.model_spec.signature_name == "echo"
    for alias, sent in inputs.items():
        found = to_array(response.outputs[alias])
        assert found.dtype == sent.dtype
        np.testing.assert_array_equal(found, sent)


def test_answers_in_tensor_content_where_asked_for(start_server, base_path, volumes):
    server = start_server(base_path, "--tensor-content", "--model-name", "chest", "--threads", 1)
    assert server.first_line.startswith("serving chest at 127.0.0.1:")
    response = server.connect()[0].Predict(request_of(volumes, name="chest"), timeout=SECONDS)
    assert (len(response.outputs["warped"].float_val), response.model_spec.name) == (0, "chest")
    np.testing.assert_array_equal(to_array(response.outputs["warped"]), volumes["moving"] + np.float32(7))


def test_metadata(api):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tfreg"
    response = api[0].GetModelMetadata(request, timeout=SECONDS)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert sorted(signature.inputs) == ["fixed", "moving"]
    assert sorted(signature.outputs) == OUTPUTS
    assert signature.method_name == "tensorflow/serving/predict"
    assert [dim.size for dim in signature.inputs["fixed"].tensor_shape.dim] == [-1, -1, -1, -1, 1]
    assert response.model_spec.name == "tfreg"
    assert response.model_spec.version.value >= 1


def test_metadata_errors(api):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    code, text = refusal(api[0].GetModelMetadata, request)
    assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
    request.model_spec.name = "tfreg"
    code, text = refusal(api[0].GetModelMetadata, request)
    assert (code, text) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    request.metadata_field.append("weights")
    assert refusal(api[0].GetModelMetadata, request)[0] is grpc.StatusCode.INVALID_ARGUMENT


def status_request(name="tfreg", version=None):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.CopyFrom(Int64Value(value=version))
    return request


def test_status(api):
    answer = api[1].GetModelStatus(status_request(), timeout=SECONDS).model_version_status[0]
    assert answer.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert (answer.status.error_code, answer.status.error_message) == (0, "")
    one = api[1].GetModelStatus(status_request(version=answer.version), timeout=SECONDS)
    assert [entry.version for entry in one.model_version_status] == [answer.version]


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (get_model_status_pb2.GetModelStatusRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (status_request("other"), "NOT_FOUND", "Could not find any versions of model other"),
        (status_request(version=987), "NOT_FOUND", "Could not find version 987 of model tfreg"),
    ],
)
def test_status_errors(api, request_, code, text):
    assert refusal(api[1].GetModelStatus, request_) == (grpc.StatusCode[code], text)


def test_health(server):
    check = server.connect()[2].Check
    for name in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        answer = check(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert refusal(check, health_pb2.HealthCheckRequest(service="other"))[0] is grpc.StatusCode.NOT_FOUND


def test_closed_methods(server):
    predictions, models, _ = server.connect()
    for method, request in (
        (predictions.Classify, classification_pb2.ClassificationRequest()),
        (predictions.Regress, regression_pb2.RegressionRequest()),
        (predictions.MultiInference, inference_pb2.MultiInferenceRequest()),
    ):
        assert refusal(method, request)[0] is grpc.StatusCode.UNIMPLEMENTED
    code, text = refusal(models.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest())
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "new version into the model's folder" in text


def volume(shape=SHAPE, dtype=np.float32, value=0.5):
    return np.full(shape, value, dtype)


def pair(**changes):
    """A request's inputs: both volumes, with changes; None leaves one out."""
    inputs = {"fixed": volume(), "moving": volume(), **changes}
    return {alias: value for alias, value in inputs.items() if value is not None}


def shaped(proto, *sizes):
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


FLOATS = types_pb2.DT_FLOAT
REFUSED = {
    "no model": (
        predict_pb2.PredictRequest(),
        "INVALID_ARGUMENT",
        "Missing ModelSpec",
    ),
    "no name": (request_of(pair(), name="", signature="x"), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "other model": (request_of(pair(), name="x"), "NOT_FOUND", "Servable not found for request: Latest(x)"),
    "long name": (request_of(pair(), name="肺" * 2000), "NOT_FOUND", "Servable not found for request: Latest.肺+.*"),
    "other version": (request_of({}, version=987), "NOT_FOUND", "Servable not found for request: Specific(tfreg, 987)"),
    "label": (request_of(pair(), label="stable"), "INVALID_ARGUMENT", ".*version.label.*"),
    "signature": (request_of(pair(), signature="x"), "FAILED_PRECONDITION", 'Serving signature key "x" not found.'),
    "missing": (
        request_of(pair(fixed=None)),
        "INVALID_ARGUMENT",
        "input size does not match signature: 1!=2 len({moving}) != len({fixed,moving}). "
        "Sent extra: {}. Missing but required: {fixed}.",
    ),
    "nothing": (
        request_of({}),
        "INVALID_ARGUMENT",
        "input size does not match signature: 0!=2 len({}) != len({fixed,moving}). "
        "Sent extra: {}. Missing but required: {fixed,moving}.",
    ),
    "extra": (
        request_of(pair(mask=volume())),
        "INVALID_ARGUMENT",
        "input size does not match signature: 3!=2 len({fixed,mask,moving}) != len({fixed,moving}). "
        "Sent extra: {mask}. Missing but required: {}.",
    ),
    "other input": (request_of(pair(fixed=None, reference=volume())), "INVALID_ARGUMENT", ".*fixed.*"),
    "other output": (
        request_of(pair(), outputs=["warped", "x"]),
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: x Outputs expected to be in the set "
        "{displacement,linear,logits,warped}.",
    ),
    "output twice": (
        request_of(pair(), outputs=["warped", "warped"]),
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: warped",
    ),
    "dtype": (request_of(pair(fixed=volume(dtype=np.int32))), "INVALID_ARGUMENT", ".*to be float but int32 is.*"),
    "text": (request_of(pair(moving=np.array([b"a"], object))), "INVALID_ARGUMENT", ".*to be float but string is.*"),
    "short": (
        request_of(pair(fixed=shaped(tensor_pb2.TensorProto(dtype=FLOATS, tensor_content=b"123"), *SHAPE))),
        "INVALID_ARGUMENT",
        "tensor parsing error: fixed.*",
    ),
    "no dtype": (
        request_of(pair(fixed=shaped(tensor_pb2.TensorProto(), 2))),
        "INVALID_ARGUMENT",
        "tensor parsing error: fixed.*",
    ),
    "negative shape": (
        request_of(pair(fixed=shaped(tensor_pb2.TensorProto(dtype=FLOATS), 1, -5, 4, 4, 1))),
        "INVALID_ARGUMENT",
        "tensor parsing error: fixed.*",
    ),
    "huge shape": (
        request_of(pair(fixed=shaped(tensor_pb2.TensorProto(dtype=FLOATS, float_val=[1]), 1, 2**20, 2**20, 2**20, 1))),
        "INVALID_ARGUMENT",
        "tensor parsing error: fixed.*",
    ),
    "rank": (request_of(pair(fixed=volume(SHAPE[1:]))), "INVALID_ARGUMENT", ".*"),
    "channels": (request_of(pair(fixed=volume((*SHAPE[:-1], 2)))), "INVALID_ARGUMENT", ".*"),
    "nan": (request_of(pair(fixed=volume(value=np.nan))), "INVALID_ARGUMENT", ".*finite.*"),
}
# What the real server answers in other words, or with no error, is tried with tfreg's alone.
OURS = ("rank", "channels", "huge shape", "long name")


@pytest.mark.parametrize("name", REFUSED)
def test_predict_errors(api, outside, name):
    if name in OURS and outside:
        pytest.skip("the real server says this in other words")
    sent, code, text = REFUSED[name]
    found = refusal(api[0].Predict, sent)
    assert found[0] is grpc.StatusCode[code], found
    pattern = text if ".*" in text else re.escape(text)
    assert re.fullmatch(pattern, found[1], re.DOTALL), found


def test_the_graphs_own_assertion_is_all_that_is_told(server):
    code, text = refusal(server.connect()[0].Predict, REFUSED["nan"][0])
    assert (code.name, text) == (
        "INVALID_ARGUMENT",
        "assertion failed: [fixed: holds values that are not finite]",
    )
    inputs = pair(moving=volume((1, 2, 3, 4, 1)))
    text = refusal(server.connect()[0].Predict, request_of(inputs))[1]
    assert text.startswith("assertion failed: [fixed and moving differ in shape] [Condition x == y did not hold")
    assert "{{node" not in text


def test_bytes_that_are_no_request(server):
    with grpc.insecure_channel(server.address) as channel:
        method = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        assert refusal(method, b"\xff\xff no request")[0] is grpc.StatusCode.INVALID_ARGUMENT
        method = channel.unary_unary("/tensorflow.serving.PredictionService/Nonsense")
        assert refusal(method, b"")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_messages_that_are_too_large(server):
    """8 MiB each way: what comes is refused by gRPC, what goes by the server, in words that help."""
    predict = server.connect()[0].Predict
    large = volume((1, 128, 128, 65, 1))
    assert refusal(predict, request_of(pair(fixed=large, moving=large)))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    half = volume((1, 64, 128, 100, 1))
    request = request_of(pair(fixed=half, moving=half))
    code, text = refusal(predict, request)
    assert (code, "output_filter" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    request.output_filter.append("linear")
    assert list(predict(request, timeout=SECONDS).outputs) == ["linear"]


def test_a_request_has_one_line_in_the_log(server, volumes):
    predict = server.connect()[0].Predict
    before = len(server.log.splitlines())
    predict(request_of(volumes, name="tfreg", outputs=["linear"]), timeout=SECONDS)
    refusal(predict, request_of(volumes, name="Doe^Jane\nforged line"))
    refusal(predict, REFUSED["nan"][0])
    lines = server.log.splitlines()[before:]
    shapes = ",".join(["x".join(map(str, SHAPE))] * 2)
    time = r"\d+-\d\d-\d\d \d\d:\d\d:\d\d,\d\d\d"
    expected = [("7", r"\d{2,3}", "OK"), ("-", "0", "NOT_FOUND"), ("-", "0", "INVALID_ARGUMENT")]
    assert len(lines) == 3, "\n".join(lines)
    for line, (version, size, status) in zip(lines, expected, strict=True):
        sizes = rf"in=\d\d\d\d\d\d out={size} seconds=\d+\.\d+"
        pattern = rf"{time} Predict version={version} shapes={shapes} {sizes} status={status} peer=ipv4:127\S+:\d+"
        assert re.fullmatch(pattern, line), line
