"""One request for all passes: the graph against the passes of a run here, and which ones are asked one by one."""

from pathlib import Path

import keras
import numpy as np
import pytest
from exports import MODELS, SMALL, answer

from tfreg.config import ExportOptions, Prediction, RequestOptions, dump_config, parse_config
from tfreg.errors import UserError
from tfreg.preprocessing.aligned_pair import align_pair
from tfreg.registration.passes import levels_of, predict_in_passes, schedule_of
from tfreg.registration.predictor import PassesPredictor
from tfreg.registration.register_volumes import register
from tfreg.registration.trained_run import TrainedRun, load_run
from tfreg.runtime.resources import versions
from tfreg.serving.protocol.signature_names import NAMES, signature_names
from tfreg.transforms.composed_passes import ComposedPasses
from tfreg.volumes.lattice import Lattice

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports run on TensorFlow", allow_module_level=True)

import tensorflow as tf
from tensorflow.core.framework import types_pb2

from tfreg.ops.acceleration import portable
from tfreg.serving.client.client import Client
from tfreg.serving.client.served_model import ServedModel
from tfreg.serving.protocol.export_manifest import ExportedModel, ModelManifest
from tfreg.serving.saved_model.checks import check_operations
from tfreg.serving.saved_model.export import export
from tfreg.serving.saved_model.passes import pass_factors
from tfreg.serving.saved_model.signatures import Signatures
from tfreg.serving.saved_model.warm_up import FILE
from tfreg.training.build_model import build_model

SCHEDULE = {"passes": 3, "coarser": [2], "least_size": 5}
DISPLACEMENT = {"transform": "deformable", "head": "displacement", "stride": 2}
KINDS = {name: model for name, model in MODELS.items() if name != "displacement"} | {
    "displacement": DISPLACEMENT,
    "displacement with a matrix": {"head": "displacement", "stride": 2},
}


def run_of(model, perturb, **config):
    """A run whose network moves everything by some voxels."""
    config = parse_config(
        {
            "model": SMALL | model,
            "preprocessing": {"network_grid": {"orientation": "LSA", "spacing": 1.9}, "init": "moments"},
            "prediction": SCHEDULE,
        }
        | config
    )
    network = build_model(config)
    perturb(network, np.random.default_rng(4), 0.04)
    return TrainedRun("small", "0" * 64, config, network)


class Requests:
    """Stands for a client and its server: answers from the signatures, and keeps what it was asked."""

    def __init__(self, run, encoding="float32", signatures=None, max_voxels=50_000):
        self.options, self.address, self.asked = RequestOptions(encoding=encoding), "nowhere:9", []
        config = run.config
        with portable():
            self.endpoints = Signatures(run.network, config.model, "", max_voxels, config.prediction).endpoints()
        self.manifest = ModelManifest(
            model=ExportedModel(run.name, run.sha256, 1),
            config=config.model_dump(mode="json"),
            versions=versions(),
            signatures=signature_names(config) if signatures is None else signatures,
            max_voxels=max_voxels,
            portable=True,
            warm_up_shapes=(),
            metrics=None,
        )

    def predict(self, inputs, signature="serving_default", outputs=(), version=None):
        self.asked.append((signature, inputs))
        with portable():
            answered = answer(self.endpoints[signature][0], **inputs)
        return {name: answered[name] for name in outputs}, version

    @property
    def model(self):
        return ServedModel(self, self.manifest, 1)

    @property
    def names(self):
        """The signatures that were asked."""
        return [name for name, _ in self.asked]


@pytest.mark.parametrize("kind", KINDS)
def test_the_transform_is_that_of_the_passes_here(pair, perturb, kind):
    """An oblique and an anisotropic volume of unequal sizes, a coarse pass and two fine ones: one request."""
    run = run_of(KINDS[kind], perturb)
    requests = Requests(run)
    preprocessing = run.config.preprocessing
    aligned = align_pair(*pair, preprocessing)
    assert isinstance(requests.model, PassesPredictor)
    expected, own = predict_in_passes(run, aligned, preprocessing, run.config.prediction)
    served, reports = predict_in_passes(requests.model, aligned, preprocessing, run.config.prediction)
    assert requests.names == ["passes"]
    assert [report.factor for report in reports] == [2, 1, 1]
    assert [report.seconds for report in reports] == [None] * 3
    drop = {"exclude": {"seconds"}}
    assert [report.model_dump(**drop) for report in reports] == [report.model_dump(**drop) for report in own]
    points = aligned.fixed.lattice.points()
    assert np.abs(expected(points) - points - aligned.init[:3, 3]).max() > 0.3
    np.testing.assert_allclose(served(points), expected(points), rtol=0, atol=1e-4)
    np.testing.assert_allclose(served.linear, expected.linear, rtol=0, atol=1e-4)
    assert type(served.deformation) is type(expected.deformation)
    if isinstance(expected.deformation, ComposedPasses):
        for ours, theirs in zip(served.deformation.maps, expected.deformation.maps, strict=True):
            assert ours.shape == theirs.shape
        if "displacement" in kind:
            places = expected.lattice.voxels()
            error = served.deformation.expected_error_at(places)
            np.testing.assert_allclose(error, expected.deformation.expected_error_at(places), rtol=1e-4)


@pytest.mark.parametrize("kind", ["both", "displacement"])
def test_the_composed_displacement_is_that_of_the_parts(pair, perturb, kind):
    """What other clients take: on the network grid, in its voxels, and the moving image read there."""
    run = run_of(KINDS[kind], perturb)
    requests = Requests(run)
    aligned = align_pair(*pair, run.config.preprocessing)
    transform, _ = predict_in_passes(requests.model, aligned, run.config.preprocessing, run.config.prediction)
    inputs = requests.asked[0][1]
    with portable():
        answered = answer(requests.endpoints["passes"][0], **inputs)
    lattice = transform.lattice
    points = transform(lattice.points())
    places = lattice.to_voxel(points @ np.linalg.inv(aligned.init)[:3, :3].T + np.linalg.inv(aligned.init)[:3, 3])
    np.testing.assert_allclose(answered["displacement"][0], places - lattice.voxels(), rtol=0, atol=2e-4)
    inside = (answered["warped"] > 0.2)[0, ..., 0]
    assert inside.mean() > 0.1
    moved = inputs["moving_map"][:, :3] @ places[inside].T + inputs["moving_map"][:, 3:]
    np.testing.assert_allclose(moved.T, aligned.moving.lattice.to_voxel(points[inside]), rtol=0, atol=1e-6)


def test_pairs_of_equal_lattices_make_a_batch(pair, perturb):
    run = run_of(KINDS["both"], perturb)
    requests = Requests(run)
    aligned = align_pair(*pair, run.config.preprocessing)
    predict_in_passes(requests.model, aligned, run.config.preprocessing, run.config.prediction)
    one = requests.asked[0][1]
    swapped = one | {"moving": one["moving"][:, ::-1]}
    both = one | {name: np.concatenate([one[name], swapped[name]]) for name in ("fixed", "moving")}
    with portable():
        first, second, together = (answer(requests.endpoints["passes"][0], **inputs) for inputs in (one, swapped, both))
    for name, values in together.items():
        np.testing.assert_allclose(values, np.concatenate([first[name], second[name]]), rtol=0, atol=1e-4)


def test_whole_numbers_mean_nearly_the_same(pair, perturb):
    run = run_of(DISPLACEMENT, perturb)
    requests = Requests(run, "int16")
    served = register(*pair, model=requests.model, refine=False)
    assert requests.names == ["passes_int16"]
    sent = requests.asked[0][1]
    assert {name: array.dtype.name for name, array in sent.items()} == {
        "fixed": "int16",
        "moving": "int16",
        "fixed_map": "float64",
        "moving_map": "float64",
        "grid": "int32",
    }
    expected = register(*pair, model=run, refine=False)
    np.testing.assert_allclose(served.displacement_mm, expected.displacement_mm, rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("changed", "options", "count"),
    [
        ({}, {"passes": 2}, 2),  # another schedule than the graph's
        ({}, {"passes": 1}, 1),
        ({"signatures": NAMES}, {}, 3),  # an export of one pass, as of an earlier tfreg
        ({"max_voxels": 5000}, {}, 3),  # the volumes have more than that, the network grid has not
    ],
    ids=str,
)
def test_what_the_graph_does_not_hold_is_asked_pass_by_pass(pair, perturb, changed, options, count):
    run = run_of(DISPLACEMENT, perturb, preprocessing={"network_grid": {"spacing": 2.2}})
    requests = Requests(run, **changed)
    served = register(*pair, model=requests.model, refine=False, **options)
    assert requests.names == ["serving_default"] * count
    assert len(served.report.passes) == count
    assert all(report.seconds is not None for report in served.report.passes)
    expected = register(*pair, model=run, refine=False, **options)
    np.testing.assert_allclose(served.displacement_mm, expected.displacement_mm, rtol=0, atol=1e-3)


@pytest.mark.parametrize("schedule", [(4, (4, 2), 7), (2, (4, 2), 7), (3, (), 7), (3, (5, 3, 2), 4)], ids=str)
def test_the_graph_chooses_the_levels_of_the_schedule(schedule):
    passes, coarser, least_size = schedule
    schedule = Prediction(passes=passes, coarser=coarser, least_size=least_size)
    chosen = set()
    for size in (6, 13, 14, 15, 20, 27, 28, 29, 40):
        lattice = Lattice((size, size + 30, size + 5), np.eye(4))
        factors = pass_factors(schedule, tf.constant(lattice.shape)).numpy().tolist()
        assert factors == [factor for factor, _ in levels_of(lattice, schedule)]
        chosen.add(tuple(factors))
    assert len(chosen) > 1 or not coarser


def test_which_networks_have_all_passes():
    for config, more in (
        ({"prediction": SCHEDULE}, ("passes", "passes_int16")),
        ({}, ()),
        ({"prediction": SCHEDULE, "preprocessing": {"interpolation": "cubic"}}, ()),
    ):
        assert signature_names(parse_config(config)) == (*NAMES, *more)


def test_a_server_with_another_schedule_is_refused(pair, perturb):
    """Its config says two voxels a step for the first pass, its graph none."""
    run = run_of(DISPLACEMENT, perturb)
    requests = Requests(run)
    other = Requests(run_of(DISPLACEMENT, perturb, prediction=SCHEDULE | {"coarser": []}))
    requests.endpoints = other.endpoints
    with pytest.raises(UserError, match=r"nowhere:9: the model makes other passes.*export it again") as caught:
        register(*pair, model=requests.model)
    assert "\n" not in str(caught.value)


def test_an_answer_that_lacks_a_pass_is_no_identity(pair, perturb):
    requests = Requests(run_of(DISPLACEMENT, perturb))
    whole = requests.predict
    requests.predict = lambda *words: ({k: v for k, v in whole(*words)[0].items() if k != "control_2"}, 1)
    with pytest.raises(UserError, match="nowhere:9: model: gives no control for this pair"):
        register(*pair, model=requests.model)


BAD = {
    "holds values that are not finite": {"fixed_map": np.full((3, 4), np.nan)},
    "moving_map holds values that are not finite": {"moving_map": np.full((3, 4), np.inf)},
    "grid must not be empty": {"grid": np.array([0, 4, 5], np.int32)},
    "at most 50000 voxels a request": {"grid": np.array([100, 100, 100], np.int32)},
    "grid has an axis that is too long": {"grid": np.array([2, 3, 300], np.int32)},
    "fixed and moving must be as many volumes": {"fixed": np.ones((2, 4, 5, 6, 1), np.float32)},
    "moving holds intensities from 0 to 2": {"moving": np.linspace(0, 2, 120, dtype=np.float32).reshape(1, 4, 5, 6, 1)},
    "fixed has an axis that is too long": {"fixed": np.ones((1, 300, 5, 6, 1), np.float32)},
}


@pytest.mark.parametrize("words", BAD)
def test_bad_requests_are_refused_in_the_graph(perturb, words):
    requests = Requests(run_of(DISPLACEMENT, perturb))
    ramp = np.linspace(0, 1, 120, dtype=np.float32).reshape(1, 4, 5, 6, 1)
    good = {"fixed": ramp, "moving": ramp, "fixed_map": np.eye(3, 4), "moving_map": np.eye(3, 4)}
    good["grid"] = np.array([4, 5, 6], np.int32)
    function, specs = requests.endpoints["passes"]
    with portable(), pytest.raises(tf.errors.InvalidArgumentError, match=words):
        tf.function(function, specs, autograph=False)(**{k: tf.constant(v) for k, v in (good | BAD[words]).items()})


def test_a_pair_is_one_request_to_a_server(tmp_path, perturb, start_server, pair):
    """Of an export that holds all passes, has proved them, and has warmed them up."""
    run = run_of(DISPLACEMENT, perturb)
    (tmp_path / "run").mkdir()
    run.network.save(tmp_path / "run" / "model.keras")
    (tmp_path / "run" / "config.yaml").write_text(dump_config(run.config))
    with pytest.raises(UserError, match="--max-voxels 50000: --shape 2x3x300 needs 90000"):
        export(tmp_path / "run", tmp_path / "models", ExportOptions(shape=((2, 3, 300),), max_voxels=50_000))
    path, manifest = export(tmp_path / "run", tmp_path / "models", ExportOptions(max_voxels=50_000))
    assert manifest.signatures == (*NAMES, "passes", "passes_int16")
    proved = {"passes control_1", "passes control_3", "passes_int16 displacement", "passes warped"}
    assert proved <= set(manifest.largest_difference)
    assert max(manifest.largest_difference.values()) < 1e-4
    assert "Conv3D" in check_operations(path)
    assert len(manifest.warm_up_shapes) == 1
    assert len(list(tf.data.TFRecordDataset(str(path / FILE)).as_numpy_iterator())) == 2
    server = start_server(path.parent)
    with Client(server.address) as client:
        served = client.register(*pair, refine=False)
        signature = client.signatures()["passes"]
    volume, matrix = (types_pb2.DT_FLOAT, (-1, -1, -1, -1, 1)), (types_pb2.DT_DOUBLE, (3, 4))
    maps = {"fixed_map": matrix, "moving_map": matrix}
    assert signature["inputs"] == {"fixed": volume, "moving": volume, "grid": (types_pb2.DT_INT32, (3,)), **maps}
    assert set(signature["outputs"]) == {"control_1", "control_2", "control_3", "displacement", "warped"}
    config, passes = (line for line in server.log.splitlines() if " Predict " in line)
    assert "status=OK" in config
    assert "shapes=1x18x22x14x1,3x4,3,1x20x19x16x1,3x4" in passes
    expected = register(*pair, model=load_run(tmp_path / "run"), refine=False)
    assert len(expected.report.passes) == 3
    np.testing.assert_allclose(served.displacement_mm, expected.displacement_mm, rtol=0, atol=1e-3)
    assert served.report.model.version == 1


def test_an_export_of_one_pass_stays_what_it_was(exported):
    """Of this version and of an earlier one: the same signatures, and nothing made at once."""
    golden = Path(__file__).parents[1] / "goldens" / "export" / "1"
    for path in (golden, exported["displacement"][1]):
        signatures = set(tf.saved_model.load(str(path)).signatures)
        assert signatures == {"serving_default", "int16", "warp", "config"}
    _, _, manifest, _ = exported["displacement"]
    requests = Requests(exported["displacement"][0], signatures=manifest.signatures)
    assert requests.model.schedule is None
    assert schedule_of(requests.model.config).passes == 1
