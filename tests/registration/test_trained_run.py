"""Trained runs: their map is the network's own, and what is damaged or of something else is refused."""

import json
import shutil

import keras
import numpy as np
import pytest
from pairs import SMALL_NETWORK

from tfreg.config import parse_config
from tfreg.errors import UserError
from tfreg.io.transform_archive import load_transform
from tfreg.preprocessing.aligned_pair import prepare_pair
from tfreg.registration.register_volumes import register
from tfreg.registration.trained_run import TrainedRun, load_run, predicted_transform
from tfreg.training.build_model import build_model


def refused(*volumes, **options):
    with pytest.raises(UserError) as caught:
        register(*volumes, **options)
    assert ";" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "model",
    [
        {"integration": "composed", "anchor": "centre", "stride": 2},
        {"integration": "axiswise", "anchor": "start", "stride": 3},
        {"transform": "linear"},
        {"transform": "deformable", "stride": 1},
        {"head": "displacement", "stride": 2},
        {"head": "displacement", "transform": "deformable", "stride": 3},
    ],
    ids=lambda m: "-".join(map(str, m.values())),
)
def test_the_transform_is_the_networks_own_map(rng, pair, perturb, model):
    fixed, moving = pair
    config = parse_config({"model": {**SMALL_NETWORK, **model}})
    network = perturb(build_model(config), rng, 0.1)
    prepared = prepare_pair(fixed, moving, config.preprocessing)
    transform = TrainedRun("tiny", "", config, network).predict(prepared)
    inputs = {"fixed": prepared.fixed[None, ..., None], "moving": prepared.moving[None, ..., None]}
    displacement = keras.ops.convert_to_numpy(network(inputs)["displacement"])[0]
    assert np.abs(displacement).max() > 0.3
    grid = prepared.lattice
    ours = grid.to_voxel(transform(grid.points())) - grid.voxels()
    np.testing.assert_allclose(ours, displacement, atol=1e-3)


def test_a_transform_that_mirrors_is_refused(pair, perturb, rng):
    fixed, moving = pair
    config = parse_config({"model": SMALL_NETWORK})
    network = build_model(config)
    _, bias = network.get_layer("linear").weights
    bias.assign([-2.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    assert "no valid transform" in refused(fixed, moving, model=TrainedRun("bad", "", config, network))
    bias.assign(np.full(12, np.nan))
    assert "bad" in refused(fixed, moving, model=TrainedRun("bad", "", config, network))
    bias.assign(np.zeros(12))
    network.get_layer("logits").bias.assign([0, np.nan, 0])
    assert "not finite" in refused(fixed, moving, model=TrainedRun("bad", "", config, network))


def test_the_expected_error_comes_with_the_transform(rng, pair, perturb):
    """At full resolution, voxels of the network grid, as the network gives it."""
    config = parse_config({"model": {**SMALL_NETWORK, "head": "displacement", "stride": 3}})
    network = perturb(build_model(config), rng, 0.1)
    prepared = prepare_pair(*pair, config.preprocessing)
    transform = TrainedRun("tiny", "", config, network).predict(prepared)
    log_error = keras.ops.convert_to_numpy(network(prepared.batch)["log_error"])[0, ..., 0]
    assert np.ptp(log_error) > 0.3
    assert transform.deformation.expected_error.shape == prepared.lattice.shape
    np.testing.assert_allclose(transform.deformation.expected_error, np.exp(log_error), rtol=1e-3)


def test_a_result_of_predicted_displacements(tmp_path, rng, pair, perturb):
    """Registered, certified, written and read back exactly."""
    fixed, moving = pair
    config = parse_config({"model": {**SMALL_NETWORK, "head": "displacement"}})
    run = TrainedRun("tiny", "0" * 64, config, perturb(build_model(config), rng, 0.05))
    result = register(fixed, moving, model=run)
    assert result.report.certificate.certified
    assert np.abs(result.displacement_mm).max() > 0.3
    result.save(tmp_path / "result")
    loaded, _, _ = load_transform(tmp_path / "result")
    np.testing.assert_array_equal(loaded(fixed.lattice.points()), result.transform(fixed.lattice.points()))
    np.testing.assert_array_equal(loaded.deformation.control, result.transform.deformation.control)
    assert json.loads((tmp_path / "result" / "report.json").read_text())["config"]["model"]["head"] == "displacement"


@pytest.mark.parametrize("head", ["gradients", "displacement"])
def test_a_config_of_the_other_head_is_refused(pair, head):
    """As where it was changed after the training."""
    heads = {"gradients": "logits", "displacement": "control"}
    config = parse_config({"model": {**SMALL_NETWORK, "head": head}})
    other = parse_config({"model": {**SMALL_NETWORK, "head": next(name for name in heads if name != head)}})
    text = refused(*pair, model=TrainedRun("bad", "", config, build_model(other)))
    assert f"bad: gives no {heads[head]} for this pair" in text


def test_a_model_of_something_else_is_refused(tmp_path, run_folder):
    (tmp_path / "config.yaml").write_text((run_folder / "config.yaml").read_text())
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "model.keras")
    with pytest.raises(UserError, match=r"model\.keras: is not a registration network; give"):
        load_run(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "zeros", "half", "last digit"])
def test_a_run_whose_config_was_cut_short_is_refused(run_folder, tmp_path, damage):
    """What is missing must not become a default: the network would see other images than it was trained on."""
    run = shutil.copytree(run_folder, tmp_path / "run")
    content = (run / "config.yaml").read_bytes()
    cut = {
        "empty": b"",
        "zeros": b"\0" * len(content),
        "half": content[: len(content) // 2],
        "last digit": content[:-1],
    }
    (run / "config.yaml").write_bytes(cut[damage])
    with pytest.raises(UserError, match=r"run/config\.yaml: ") as caught:
        load_run(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 100, 0.5, -1])
def test_a_model_that_was_cut_short_is_refused(run_folder, tmp_path, size):
    run = shutil.copytree(run_folder, tmp_path / "run")
    content = (run / "model.keras").read_bytes()
    (run / "model.keras").write_bytes(content[: int(size * len(content)) if 0 < size < 1 else size])
    with pytest.raises(UserError, match=r"run/model\.keras: is not a Keras model, or is damaged; copy it again"):
        load_run(run)


@pytest.mark.parametrize(("head", "array"), [("gradients", "logits"), ("displacement", "control")])
def test_an_answer_that_lacks_a_part_is_no_identity(pair, head, array):
    """As a server's may, that holds another model."""
    prepared = prepare_pair(*pair, parse_config({}).preprocessing)
    values = np.zeros((*(-(-n // 2) for n in prepared.lattice.shape), 3 + (head == "displacement")), np.float32)
    both = {"linear": np.eye(3, 4), array: values}
    for parts, lacking in (("both", array), ("both", "linear"), ("linear", "linear"), ("deformable", array)):
        model = parse_config({"model": {"head": head, "transform": parts}}).model
        predicted_transform(both, prepared.lattice, prepared.init, model, "model m")
        answer = {name: value for name, value in both.items() if name != lacking}
        with pytest.raises(UserError, match=f"model m: gives no {lacking} for this pair; use a model"):
            predicted_transform(answer, prepared.lattice, prepared.init, model, "model m")
    with pytest.raises(UserError, match=f"model m: predicts no valid transform for this pair .*`{array}` must be"):
        predicted_transform(both | {array: values[1:]}, prepared.lattice, prepared.init, model, "model m")
