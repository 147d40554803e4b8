"""The SavedModel against the Keras model, SciPy and the exact transform; what it refuses, and where it runs."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.config import ExportOptions, checked, dump_config, parse_config
from tfreg.errors import UserError, WorkError
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports run on TensorFlow", allow_module_level=True)

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfreg.registration.trained_run import load_run
from tfreg.serving.protocol.export_manifest import ExportedModel, ExportManifest, ModelManifest
from tfreg.serving.saved_model import export as module
from tfreg.serving.saved_model.checks import check_operations, difference_in_fresh_process
from tfreg.serving.saved_model.export import claimed_version, export_run, next_version
from tfreg.serving.saved_model.signatures import MAX_KEYS, NAMES
from tfreg.serving.saved_model.warm_up import write_warm_up
from tfreg.serving.server import loaded_model
from tfreg.training.build_model import build_model

SMALL = {"encoder_filters": [4, 6], "encoder_dilations": [1, 3], "squeeze_ratio": 4, "decoder_filters": [5]}
MODELS = {
    "both": {"transform": "both", "stride": 2},
    "linear": {"transform": "linear"},
    "deformable": {
        "transform": "deformable",
        "stride": 3,
        "integration": "axiswise",
        "anchor": "start",
        "border": "zero",
    },
}
SHAPE = (2, 11, 14, 9, 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, perturb):
    """Of each kind of model its run and its export, loaded without Keras."""
    folder = tmp_path_factory.mktemp("exports")
    found = {}
    for name, options in MODELS.items():
        run = folder / "runs" / name
        run.mkdir(parents=True)
        grid = {"network_grid": {"spacing": 3, "shape": [10, 12, 8]}} if name == "both" else {}
        config = parse_config({"model": SMALL | options, "preprocessing": grid, "loss": {"beta": 1e-5}})
        model = build_model(config)
        perturb(model, np.random.default_rng(4), 0.05)
        model.save(run / "model.keras")
        (run / "config.yaml").write_text(dump_config(config))
        path, manifest = export_run(run, folder / "models" / name, ExportOptions(max_voxels=50_000))
        found[name] = (load_run(run), path, manifest, tf.saved_model.load(path).signatures)
    return found


def volumes(seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape, np.float32) for name in ("fixed", "moving")}


def answer(signature, **inputs):
    return {
        name: np.asarray(value) for name, value in signature(**{k: tf.constant(v) for k, v in inputs.items()}).items()
    }


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [SHAPE, (1, 6, 7, 16, 1)])
def test_the_answer_is_the_models(exported, name, shape):
    run, _, _, signatures = exported[name]
    inputs = volumes(shape=shape)
    found, expected = answer(signatures["serving_default"], **inputs), run.network.predict_on_batch(inputs)
    assert set(found) == {"warped", "displacement", "linear", "logits"}
    assert np.abs(expected["displacement"]).max() > 0.1
    for key in ("warped", "displacement", "linear"):
        if key in expected:
            np.testing.assert_allclose(found[key], expected[key], atol=2e-5)
    if name == "linear":
        assert (found["logits"] == 0).all()
    if name == "deformable":
        np.testing.assert_array_equal(found["linear"], np.tile(np.eye(3, 4), (shape[0], 1, 1)))


@pytest.mark.parametrize("name", MODELS)
def test_matrix_and_logits_make_the_exact_transform(exported, name):
    run, _, _, signatures = exported[name]
    found = answer(signatures["serving_default"], **volumes())
    lattice, model = Lattice(SHAPE[1:4], np.eye(4)), run.config.model
    deformation = Deformation(found["logits"][1], SHAPE[1:4], model.stride, model.integration, model.anchor)
    transform = Transform(lattice, found["linear"][1], deformation, np.eye(4))
    np.testing.assert_allclose(transform.displacement_mm(lattice), found["displacement"][1], atol=1e-4)


def test_whole_numbers_mean_the_same(exported):
    *_, signatures = exported["both"]
    whole = {name: np.rint(volume * 32767).astype(np.int16) for name, volume in volumes().items()}
    found = answer(signatures["int16"], **whole)
    same = answer(signatures["serving_default"], **{name: (v / 32767).astype(np.float32) for name, v in whole.items()})
    for name, value in same.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_warp_is_scipys(exported, name):
    _, _, _, signatures = exported[name]
    registered = answer(signatures["serving_default"], **volumes())
    image = volumes(1)["fixed"]
    labels = np.random.default_rng(2).integers(-3, 100_000, SHAPE, np.int32)
    warped = answer(
        signatures["warp"], image=image, labels=labels, linear=registered["linear"], logits=registered["logits"]
    )
    index = np.moveaxis(np.indices(SHAPE[1:4]), 0, -1)
    for b in range(SHAPE[0]):
        points = np.moveaxis(index + registered["displacement"][b].astype(np.float64), -1, 0)
        inner = np.all([(p > 0) & (p < n - 1) for p, n in zip(points, SHAPE[1:4], strict=True)], axis=0)
        assert inner.mean() > 0.3
        expected = ndimage.map_coordinates(image[b, ..., 0], points, order=1, mode="nearest")
        np.testing.assert_allclose(warped["image"][b, ..., 0][inner], expected[inner], atol=1e-4)
        # Where a place lies half-way between two voxels, rounding decides.
        clear = (np.abs(points - np.floor(points) - 0.5) > 1e-3).all(axis=0)
        expected = ndimage.map_coordinates(labels[b, ..., 0], points, order=0, mode="constant", cval=0)
        np.testing.assert_array_equal(warped["labels"][b, ..., 0][inner & clear], expected[inner & clear])


def test_a_label_that_is_not_reached_is_background(exported):
    *_, signatures = exported["linear"]
    linear = np.eye(3, 4, dtype=np.float32)[None].copy()
    linear[0, 0, 3] = 100
    shape = (1, *SHAPE[1:])
    logits = np.zeros((1, 6, 7, 5, 3), np.float32)
    found = answer(
        signatures["warp"],
        image=np.ones(shape, np.float32),
        labels=np.full(shape, 7, np.int32),
        linear=linear,
        logits=logits,
    )
    assert (found["labels"] == 0).all()


def said_by(signatures):
    """What a model answers to `config`, nested dictionaries."""
    return json.loads(signatures["config"](key=tf.constant(["x"]))["config"].numpy()[0])


def test_what_an_earlier_version_exported_is_understood():
    path = Path(__file__).parents[1] / "goldens" / "export" / "1"
    manifest = ExportManifest.read(path / "assets.extra" / "tfreg.json")
    answered = ModelManifest.parse(said_by(tf.saved_model.load(path).signatures), "the answer")
    assert {name: getattr(manifest, name) for name in ModelManifest.model_fields} == dict(answered)
    assert set(loaded_model.load(path, 1).signatures) >= set(manifest.signatures)


def test_a_client_learns_what_it_must_know(exported):
    run, path, manifest, signatures = exported["both"]
    answered = ModelManifest.parse(said_by(signatures), "the answer")
    assert answered.config == run.config.model_dump(mode="json")
    assert answered.model == ExportedModel("both", run.sha256, 1)
    assert answered.max_voxels == 50_000
    assert manifest == ExportManifest.read(path / "assets.extra" / "tfreg.json")
    assert {name: getattr(manifest, name) for name in ModelManifest.model_fields} == dict(answered)
    assert manifest.signatures == NAMES
    assert "saved_model.pb" in manifest.files
    for name, digest in manifest.files.items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest


def test_few_bytes_do_not_ask_for_many_answers(exported):
    """A string tensor without values stands for any number of empty ones."""
    *_, signatures = exported["both"]
    assert len(answer(signatures["config"], key=np.full(MAX_KEYS, b"", object))["config"]) == MAX_KEYS
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"at most {MAX_KEYS} keys a request"):
        answer(signatures["config"], key=np.full(MAX_KEYS + 1, b"", object))


NAN = np.full((1, 4, 4, 4, 1), np.nan, np.float32)
ONES = np.ones((1, 4, 4, 4, 1), np.float32)
RAMP = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 4, 4, 4, 1)
CURE = "; the model was trained on intensities from 0 to {}, to which `intensity` in the answer of `config` brings"


@pytest.mark.parametrize(
    ("fixed", "moving", "text"),
    [
        (NAN, ONES, "fixed holds values that are not finite"),
        (ONES, NAN / 0, "moving holds values that are not finite"),
        (ONES, ONES[:, :3], "fixed and moving must have the same shape"),
        (np.ones((1, 50, 50, 50, 1), np.float32),) * 2 + ("at most 50000 voxels a request",),
        (ONES[:, :0], ONES[:, :0], "fixed must not be empty"),
        (ONES[:0], ONES[:0], "fixed must not be empty"),
    ],
)
def test_bad_volumes_are_refused_in_the_graph(exported, fixed, moving, text):
    *_, signatures = exported["both"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        answer(signatures["serving_default"], fixed=fixed, moving=moving)


@pytest.mark.parametrize(
    ("volume", "range_got"),
    [
        (2895 * RAMP - 1024, "from -1024 to 1871"),  # Hounsfield units
        (255 * RAMP, "from 0 to 255"),
        (2 * RAMP - 1, "from -1 to 1"),
        (RAMP + 0.01, "from 0.01 to 1.01"),
        (0 * RAMP, "only from 0 to 0"),
        (ONES, "only from 1 to 1"),
        (RAMP / 256, "only from 0 to 0.003906"),
    ],
)
@pytest.mark.parametrize("name", ["fixed", "moving"])
def test_intensities_that_the_model_was_not_trained_on_are_refused_with_both_ranges(exported, name, volume, range_got):
    *_, signatures = exported["both"]
    both = {"fixed": RAMP, "moving": RAMP} | {name: volume}
    text = re.escape(f"{name} holds intensities {range_got}" + CURE.format(1))
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        answer(signatures["serving_default"], **both)
    # In a batch a good volume does not hide it.
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name} holds intensities"):
        answer(signatures["serving_default"], **{side: np.concatenate([RAMP, both[side]]) for side in both})


@pytest.mark.parametrize(
    ("volume", "range_got"),
    [
        (2895 * RAMP - 1024, "from -1024 to 1871"),
        (4095 * RAMP, "only from 0 to 4095"),  # what a scanner counts
        (255 * RAMP, "only from 0 to 255"),
        (RAMP, "only from 0 to 1"),
    ],
)
def test_whole_numbers_of_another_scale_are_refused(exported, volume, range_got):
    *_, signatures = exported["both"]
    good = np.rint(32767 * RAMP).astype(np.int16)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=re.escape(f"moving holds intensities {range_got}" + CURE.format(32767))
    ):
        answer(signatures["int16"], fixed=good, moving=np.rint(volume).astype(np.int16))


def test_rounding_beyond_the_range_is_taken(exported):
    *_, signatures = exported["both"]
    found = answer(signatures["serving_default"], fixed=RAMP * np.float32(1.00001) - np.float32(5e-6), moving=RAMP)
    assert np.isfinite(found["warped"]).all()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"linear": np.diag([-1.0, 1, 1, 0]).astype(np.float32)[None, :3]}, "linear mirrors or collapses space"),
        ({"linear": np.zeros((1, 3, 4), np.float32)}, "linear mirrors or collapses space"),
        (
            {"linear": np.eye(3, 4, dtype=np.float32)[None].repeat(2, 0)},
            "linear must be of as many volumes as the image",
        ),
        ({"logits": np.zeros((2, 2, 2, 2, 3), np.float32)}, "logits must be of as many volumes as the image"),
    ],
)
def test_answers_that_are_not_the_images_are_refused(exported, changed, text):
    *_, signatures = exported["both"]
    earlier = {"linear": np.eye(3, 4, dtype=np.float32)[None], "logits": np.zeros((1, 2, 2, 2, 3), np.float32)}
    raw = 2895 * RAMP - 1024  # `warp` takes images as they are
    found = answer(signatures["warp"], image=raw, labels=ONES.astype(np.int32), **earlier)
    np.testing.assert_allclose(found["image"], raw, atol=1e-3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        answer(signatures["warp"], image=raw, labels=ONES.astype(np.int32), **(earlier | changed))


def test_logits_of_another_size_are_refused(exported):
    *_, signatures = exported["both"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="sizes of the image divided by 2, rounded up"):
        answer(
            signatures["warp"],
            image=ONES,
            labels=ONES.astype(np.int32),
            linear=np.eye(3, 4, dtype=np.float32)[None],
            logits=np.zeros((1, 4, 2, 2, 3), np.float32),
        )


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
    path, manifest = export_run(run, tmp_path / "m", ExportOptions(onednn=True))
    assert not manifest.portable
    assert "SpaceToBatchND" not in check_operations(path)
    assert loaded_model.load(path, 1).version == 1
    monkeypatch.setattr(loaded_model, "_dilates_natively", lambda: False)
    with pytest.raises(ValueError, match="its convolutions need oneDNN"):
        loaded_model.load(path, 1)
    assert loaded_model.load(exported["linear"][1], 1).version == 1  # the portable one
    monkeypatch.setattr(module, "dilates_natively", lambda: False)
    with pytest.raises(UserError, match="--onednn: TensorFlow does without oneDNN on this processor"):
        export_run(run, tmp_path / "m", ExportOptions(onednn=True))


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
        export_run(run, tmp_path / "models" / "tfreg")
    assert list(tmp_path.iterdir()) == []


def test_every_signature_and_the_warm_up_are_proved(exported, tmp_path):
    """A warm-up request that the model refuses would keep a server from loading it."""
    _, path, manifest, _ = exported["both"]
    names = {"warped", "displacement", "linear", "logits"}
    names |= {f"int16 {name}" for name in names} | {"warp image", "warp labels", "config config"}
    assert set(manifest.largest_difference) == names
    copy = shutil.copytree(path, tmp_path / "7")
    write_warm_up(copy, "tfreg", [(50, 50, 50)])
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
        export_run(run, tmp_path / "m")
    assert not (tmp_path / "m/1").exists()


def test_a_network_that_diverged_is_refused(exported, tmp_path):
    run = shutil.copytree(exported["both"][1].parents[2] / "runs" / "both", tmp_path / "run")
    network = load_run(run).network
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    network.save(run / "model.keras")
    with pytest.raises(UserError, match=r"model\.keras: holds weights that are not finite, .*; train it again"):
        export_run(run, tmp_path / "m")
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
            export_run(run, tmp_path, checked(ExportOptions, **options))
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="holds no trained model"):
        export_run(Path(tmp_path) / "nowhere", tmp_path)
