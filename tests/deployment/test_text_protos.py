"""The text protos of export/, by the schemas of TensorFlow Serving, and their promises."""

import re

import pytest
from export_folder import EXPORT, METRICS
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

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
    assert parsed.prometheus_config.path == METRICS


def check_ssl(text):
    parsed = text_format.Parse(text, declared_message("SSLConfig")())
    assert parsed.client_verify
    for value in (parsed.server_key, parsed.server_cert, parsed.custom_ca):
        assert value.startswith("REPLACE_WITH_"), "a template holds no keys"


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
