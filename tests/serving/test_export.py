"""An export says what it is, is proved before it counts, and appears whole or not at all."""

import hashlib
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from exports import answer, volumes

from tfreg.config import ExportOptions, checked
from tfreg.errors import UserError, WorkError

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports run on TensorFlow", allow_module_level=True)

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfreg.registration.trained_run import load_run, load_weights
from tfreg.serving.protocol.export_manifest import ExportedModel, ExportManifest, ModelManifest
from tfreg.serving.protocol.signature_names import NAMES
from tfreg.serving.saved_model import export as module
from tfreg.serving.saved_model.checks import check_operations, difference_in_fresh_process
from tfreg.serving.saved_model.export import claimed_version, export, next_version
from tfreg.serving.saved_model.warm_up import write_warm_up
from tfreg.serving.server import loaded_model


def said_by(signatures):
    """What a model answers to `config`, nested dictionaries."""
    return json.loads(signatures["config"](key=tf.constant(["x"]))["config"].numpy()[0])


def test_what_an_earlier_version_exported_is_understood():
    path = Path(__file__).parents[1] / "goldens" / "export" / "1"
    manifest = ExportManifest.read(path / "assets.extra" / "tfreg.json")
    answered = ModelManifest.parse(said_by(tf.saved_model.load(path).signatures), "the answer")
    assert {name: getattr(manifest, name) for name in ModelManifest.model_fields} == dict(answered)
    assert set(loaded_model.load(path, 1).signatures) >= set(manifest.signatures)


def test_without_a_run_the_weights_that_ship_are_exported(tmp_path):
    path, manifest = export(out=tmp_path / "models")
    weights = load_weights()
    assert manifest.model == ExportedModel("zero_shot_v0", weights.sha256, 1)
    assert manifest.config == weights.config.model_dump(mode="json")
    assert manifest.metrics is None
    pair = volumes(shape=(1, 29, 34, 31, 1))
    answered = answer(tf.saved_model.load(path).signatures["serving_default"], **pair)
    own = weights.network(pair)
    np.testing.assert_allclose(answered["displacement"], own["displacement"], atol=1e-3)


def test_a_client_learns_what_it_must_know(exported):
    run, path, manifest, signatures = exported["both"]
    answered = ModelManifest.parse(said_by(signatures), "the answer")
    assert answered.config == run.config.model_dump(mode="json")
    assert answered.model == ExportedModel("both", run.sha256, 1)
    assert answered.max_voxels == 50_000
    assert {name: getattr(manifest, name) for name in ModelManifest.model_fields} == dict(answered)
    assert manifest.signatures == NAMES
    assert "saved_model.pb" in manifest.files
    for name, digest in manifest.files.items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest


def test_the_graph_holds_what_a_stock_server_runs(exported):
    """A dilated convolution on its own would need oneDNN: the portable path goes through space to batch."""
    for _, path, manifest, _ in exported.values():
        operations = check_operations(path)
        assert "Conv3D" in operations
        assert "SpaceToBatchND" in operations
        assert manifest.portable
        assert max(manifest.largest_difference.values()) < 1e-4


def test_python_functions_and_forced_compilation_are_refused(tmp_path):
    functions = {
        "PyFunc": lambda x: tf.numpy_function(lambda x: x, [x], tf.float32),
        "must be compiled by XLA": lambda x: tf.function(lambda x: x * 2, jit_compile=True)(x),
    }
    for number, (text, function) in enumerate(functions.items()):
        module = tf.Module()
        module.call = tf.function(function, input_signature=[tf.TensorSpec([None])])
        tf.saved_model.save(module, tmp_path / str(number), signatures=module.call)
        with pytest.raises(UserError, match=text):
            check_operations(tmp_path / str(number))


def test_onednn_keeps_the_native_convolution_where_there_is_one(exported, tmp_path, monkeypatch):
    run = exported["linear"][1].parents[2] / "runs" / "linear"  # exported quickest, with the same dilations
    path, manifest = export(run, tmp_path / "m", ExportOptions(onednn=True))
    assert manifest == ExportManifest.read(path / "assets.extra" / "tfreg.json")
    assert not manifest.portable
    assert "SpaceToBatchND" not in check_operations(path)
    assert loaded_model.load(path, 1).version == 1
    monkeypatch.setattr(loaded_model, "_dilates_natively", lambda: False)
    with pytest.raises(ValueError, match="its convolutions need oneDNN"):
        loaded_model.load(path, 1)
    assert loaded_model.load(exported["linear"][1], 1).version == 1  # the portable one
    monkeypatch.setattr(module, "dilates_natively", lambda: False)
    with pytest.raises(UserError, match="--onednn: TensorFlow does without oneDNN on this processor"):
        export(run, tmp_path / "m", ExportOptions(onednn=True))


def test_warm_up_requests_can_be_answered(exported):
    _, path, manifest, signatures = exported["both"]
    assert manifest.warm_up_shapes == ((10, 12, 8),)
    records = list(tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests")))
    (log,) = (prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records)
    request = log.predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("tfreg", "serving_default")
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    assert inputs["fixed"].shape == (1, 10, 12, 8, 1)
    assert np.isfinite(answer(signatures["serving_default"], **inputs)["warped"]).all()


def test_versions_are_counted_up(tmp_path):
    assert next_version(tmp_path / "none") == 1
    for name in ("1", "9", "10", "readme", ".11-half", "²"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        next_version(tmp_path / "file")


def test_two_exports_at_once_write_two_versions(tmp_path):
    models = tmp_path / "models" / "tfreg"
    with claimed_version(models) as (first, one), claimed_version(models) as (second, other):
        assert (first, second) == (1, 2)
        for version, written in ((second, other), (first, one)):
            with written() as folder:
                (folder / "saved_model.pb").write_text(str(version))
            with pytest.raises(UserError, match="and is kept"), written():
                pass
    assert sorted(path.name for path in models.iterdir()) == ["1", "2"]
    assert [(models / name / "saved_model.pb").read_text() for name in "12"] == ["1", "2"]


def test_a_version_that_is_copied_in_meanwhile_is_kept(tmp_path):
    def copied_in(version, folder):
        (folder / "saved_model.pb").write_text("exported")
        (tmp_path / str(version)).mkdir()
        (tmp_path / str(version) / "saved_model.pb").write_text("mine")

    with (
        claimed_version(tmp_path) as (version, written),
        pytest.raises(UserError, match="1: was written by something else while"),
        written() as folder,
    ):
        copied_in(version, folder)
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_an_export_that_answers_wrongly_leaves_nothing(exported, tmp_path, monkeypatch):
    run = exported["linear"][1].parents[2] / "runs" / "linear"
    monkeypatch.setattr(module, "difference_in_fresh_process", lambda *_: {"warped": 0.5, "linear": 0.0})
    with pytest.raises(UserError, match=r"the exported model's warped differs by 0\.5 from the run's"):
        export(run, tmp_path / "models" / "tfreg")
    assert list(tmp_path.iterdir()) == []


def test_every_signature_and_the_warm_up_are_proved(exported, tmp_path):
    """A warm-up request that the model refuses would keep a server from loading it."""
    _, path, manifest, _ = exported["both"]
    names = {"warped", "displacement", "linear", "logits"}
    names |= {f"int16 {name}" for name in names} | {"warp image", "warp labels", "config config"}
    assert set(manifest.largest_difference) == names
    copy = shutil.copytree(path, tmp_path / "7")
    write_warm_up(copy, "tfreg", [(50, 50, 50)], NAMES)
    inputs = {name: np.zeros((1, 6, 6, 6, 1), np.float32) for name in ("fixed", "moving")}
    with pytest.raises(UserError, match="does not run in a process of its own"):
        difference_in_fresh_process(copy, {"serving_default": inputs}, {})


@pytest.mark.parametrize("damage", ["cut", "lost"])
def test_what_does_not_arrive_is_not_left_there(exported, tmp_path, monkeypatch, damage):
    run = exported["linear"][1].parents[2] / "runs" / "linear"
    whole = module._check_in_place

    def spoiled(folder, manifest):
        weights = folder / "variables/variables.data-00000-of-00001"
        assert weights.is_file()
        if damage == "cut":
            weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        else:
            weights.unlink()
        whole(folder, manifest)

    monkeypatch.setattr(module, "difference_in_fresh_process", lambda *_: {"warped": 0.0})
    monkeypatch.setattr(module, "_check_in_place", spoiled)
    with pytest.raises(WorkError, match="1: does not hold what was written there, and is removed"):
        export(run, tmp_path / "m")
    assert not (tmp_path / "m/1").exists()


def test_a_network_that_diverged_is_refused(exported, tmp_path):
    run = shutil.copytree(exported["both"][1].parents[2] / "runs" / "both", tmp_path / "run")
    network = load_run(run).network
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    network.save(run / "model.keras")
    with pytest.raises(UserError, match=r"model\.keras: holds weights that are not finite, .*; train it again"):
        export(run, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_model_that_does_not_run_elsewhere_is_refused(exported, tmp_path):
    _, path, _, _ = exported["both"]
    whole = {name: np.zeros((1, 10, 12, 8, 1), np.int16) for name in ("fixed", "moving")}
    for image in whole.values():
        image[0, 4, 5, 3] = 32767  # images without contrast are refused
    with pytest.raises(UserError, match="does not run in a process of its own"):
        difference_in_fresh_process(tmp_path / "none", {"serving_default": volumes()}, {})
    with pytest.raises(UserError, match="in other shapes than the model"):
        difference_in_fresh_process(path, {"int16": whole}, {"int16": {"warped": np.zeros(3)}})


def test_bad_options_get_one_line(exported, tmp_path):
    run = exported["both"][1].parents[2] / "runs" / "both"
    for options, text in (
        ({"shape": [(3, 0, 4)]}, "--shape .*: give a positive number"),
        ({"shape": [(3, 4)]}, "--shape"),
        ({"max_voxels": 0}, "--max-voxels 0: give a positive number"),
        ({"max_voxels": "many"}, "--max-voxels many: give a whole number"),
        ({"max_voxels": 2.5}, r"--max-voxels 2\.5: give a whole number"),
        ({"shape": [(40, 30, 20)], "max_voxels": 20_000}, "--max-voxels 20000: --shape 40x30x20 needs 24000"),
        ({"max_voxels": 900}, "--max-voxels 900: the network grid of 10x12x8 voxels in config.yaml needs 960"),
        ({"shape": [(8, 8, 8)], "max_voxels": 900}, "--max-voxels 900: the network grid of 10x12x8"),
        ({"max_voxels": 10_000}, "--max-voxels 10000: the check of every export needs 13440"),
    ):
        with pytest.raises(UserError, match=text) as caught:
            export(run, tmp_path, checked(ExportOptions, **options))
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="holds no trained model"):
        export(Path(tmp_path) / "nowhere", tmp_path)
