"""Training on simulated pairs: it learns, goes on as if uninterrupted, and leaves a run and named weights."""

import itertools

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from tfreg.cli import app
from tfreg.config import dump_config, load_config, parse_config
from tfreg.errors import UserError
from tfreg.io.network_weights import read_weights
from tfreg.io.training_report import TrainingReport
from tfreg.registration.trained_run import load_run
from tfreg.training.build_model import create_state
from tfreg.training.simulated_pairs import SimulatedDataset
from tfreg.training.supervised_network import build_supervised
from tfreg.training.train import train

PAIRS = {
    "sides": (16, 20),
    "batch_sizes": (3, 2),
    "shapes": {"tissues": (3, 4), "spacings": (12, 6), "tubes": 0, "texture_spacing": 4, "blobs": 0},
    "contrasts": {"same": 1, "inverted": 0, "unrelated": 0},
    "displacements": {"translation": 3, "amplitudes": (), "spacings": (), "amount": (1, 1)},
    "scanner": {"thick_slices": 0, "noise": 0.02, "not_scanned": 0},
    "supervision": {"warmup_steps": 5, "averaging": 0.8},
}
MODEL = {
    "head": "displacement",
    "transform": "deformable",
    "encoder_filters": (8, 12),
    "encoder_dilations": (1, 2),
    "squeeze_ratio": 4,
    "decoder_filters": (8,),
}


def simulated(pairs=PAIRS, **training):
    settings = {"steps_per_epoch": 3, "epochs": 2, "learning_rate": 0.01} | training
    return parse_config({"pairs": "simulated", "model": MODEL, "simulated": pairs, "training": settings})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that was not interrupted."""
    run = tmp_path_factory.mktemp("pretrained") / "run"
    return run, train(simulated(), None, run)


def test_the_error_falls():
    """Of one batch that is shown again and again; of endless pairs it does after thousands of steps."""
    config = simulated(PAIRS | {"sides": (16,), "batch_sizes": (2,)}, epochs=20, learning_rate=0.02)
    keras.utils.set_random_seed(0)
    _, model = build_supervised(config)
    create_state(model)
    images, target = SimulatedDataset(config.simulated, 1, config.seed)[0]
    before = model.test_on_batch(images, target, return_dict=True)
    assert before["mean_distance"] == pytest.approx(before["distance_before"], abs=1e-5)
    for _ in range(59):
        model.train_on_batch(images, target)
    after = model.test_on_batch(images, target, return_dict=True)
    assert after["mean_distance"] < 0.6 * before["mean_distance"]
    # The expected error follows the error.
    assert abs(after["log_error_bias"]) < 0.5


def test_the_command(tmp_path):
    file, run = tmp_path / "config.yaml", tmp_path / "run"
    file.write_text(dump_config(simulated(epochs=1, steps_per_epoch=1)))
    result = CliRunner().invoke(app, ["train", str(file), "--run", str(run)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 epochs; best: epoch 0, val_mean_distance" in result.output


def test_the_run(trained):
    run, report = trained
    assert TrainingReport.read(run / "report.json") == report
    assert report.finished
    assert (report.epochs, report.training_pairs, report.validation_pairs) == (2, 3 * 3 + 3 * 2, 5)
    assert {file.name for file in run.iterdir()} >= {"model.keras", "weights.npz", "config.yaml", "history.csv"}
    weights = read_weights(run / "weights.npz")
    network = load_run(run).network
    assert {variable.path for variable in network.variables} == set(weights)
    for variable in network.variables:
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), weights[variable.path])
    assert np.abs(weights["control/kernel"]).max() > 0
    assert load_run(run).config == simulated()


def test_the_result_is_the_average_of_the_weights(trained, tmp_path):
    """Replayed by hand from the weights after each step."""
    config, average = simulated(), None
    keras.utils.set_random_seed(config.seed)
    _, model = build_supervised(config)
    data, values = SimulatedDataset(config.simulated, 3, config.seed), []
    for data.epoch, index in itertools.product(range(2), range(3)):
        images, target = data[index]
        model.train_on_batch(images, target)
        now = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
        average = now if average is None else [0.8 * a + 0.2 * n for a, n in zip(average, now, strict=True)]
        values.append(now[0])
    assert np.abs(values[-1] - average[0]).max() > 1e-4
    weights = read_weights(trained[0] / "weights.npz")
    for variable, expected in zip(model.trainable_variables, average, strict=True):
        np.testing.assert_allclose(weights[variable.path], expected, atol=2e-5, err_msg=variable.path)


def test_chunks_end_as_an_uninterrupted_training(trained, tmp_path):
    """An epoch in a call of its own: history and weights are those of a single call, whatever time the next one has."""
    run = tmp_path / "run"
    first = train(simulated(seconds=1e-3), None, run)
    assert (first.epochs, first.finished, first.resumed_after_epoch) == (1, False, None)
    assert not (run / "report.json").exists()
    with pytest.raises(UserError, match="another config"):
        train(simulated(learning_rate=0.5), None, run)
    second = train(simulated(), None, run)
    assert (second.epochs, second.finished, second.resumed_after_epoch) == (2, True, 1)
    assert (run / "history.csv").read_text() == (trained[0] / "history.csv").read_text()
    weights = [read_weights(folder / "weights.npz") for folder in (run, trained[0])]
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name])
    with pytest.raises(UserError, match="is a finished run"):
        train(simulated(), None, run)


def test_steps_take_the_sides_in_turn():
    config = simulated()
    data, other = (SimulatedDataset(config.simulated, 3, config.seed, epoch) for epoch in (0, 1))
    assert [data[index][1].shape[:2] for index in range(3)] == [(3, 16), (2, 20), (3, 16)]
    assert [other[index][1].shape[:2] for index in range(3)] == [(2, 20), (3, 16), (2, 20)]
    again, first, third = (np.asarray(data[index][0]["fixed"]) for index in (0, 0, 2))
    np.testing.assert_array_equal(again, first)
    assert np.abs(first - third).mean() > 0.02


def test_what_does_not_go_together(data, tmp_path):
    with pytest.raises(UserError, match=r"--data: pairs `simulated` in the config need none; leave it out"):
        train(simulated(), data, tmp_path / "run")
    with pytest.raises(UserError, match=r"--data: name a subjects manifest"):
        train(parse_config({}), None, tmp_path / "run")
    with pytest.raises(UserError, match=r"--several-gpus"):
        train(simulated(), None, tmp_path / "run", several_gpus=True)
    with pytest.raises(UserError, match=r"need `model.head: displacement`"):
        parse_config({"pairs": "simulated"})
    assert not (tmp_path / "run").exists()


def test_the_config_that_is_shipped(request):
    config = load_config(request.config.rootpath / "configs" / "pretrain.yaml")
    assert config.pairs == "simulated"
    assert config.training.seconds < 540
    assert config.model.encoder_filters == (32, 64, 128, 32, 32)
