"""`tfreg request`: what a server's answer becomes is what `tfreg register` writes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import grpc
import keras
import nibabel as nib
import numpy as np
import pytest

from tfreg import cli
from tfreg.config import RequestOptions, dump_config, parse_config
from tfreg.errors import UserError

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports run on TensorFlow", allow_module_level=True)

import tensorflow as tf
from pairs import registered_files

from tfreg.io.formats import read_volume
from tfreg.io.transform_archive import load_transform
from tfreg.registration.predictor import Predictor
from tfreg.registration.registration_report import RegistrationReport
from tfreg.registration.trained_run import load_run
from tfreg.serving.client.channel import Refusal
from tfreg.serving.client.client import Client
from tfreg.serving.saved_model import export as module
from tfreg.serving.saved_model.export import export
from tfreg.training.build_model import build_model

COMMAND = str(Path(sys.executable).with_name("tfreg"))
MODEL = {"encoder_filters": [4, 6], "encoder_dilations": [1, 3], "squeeze_ratio": 4, "decoder_filters": [5]}
IMPATIENT = {"timeout": 20, "retries": 0}
POLLED = ("--poll-seconds", 0.2)


def write_run(folder, perturb, seed=4, spacing=8):
    """A run whose network moves everything by some voxels, on a grid of its own."""
    folder.mkdir(parents=True)
    grid = {"orientation": "LSA", "spacing": spacing}
    config = parse_config({"model": MODEL, "preprocessing": {"network_grid": grid, "init": "moments"}})
    model = build_model(config)
    perturb(model, np.random.default_rng(seed), 0.05)
    model.save(folder / "model.keras")
    (folder / "config.yaml").write_text(dump_config(config))
    return folder


@pytest.fixture(scope="module")
def run(outside_run, tmp_path_factory, perturb):
    """The run whose export is served."""
    return outside_run or write_run(tmp_path_factory.mktemp("runs") / "tiny", perturb)


@pytest.fixture(scope="module")
def models(run, tmp_path_factory):
    """The model's folder, with version 1."""
    folder = tmp_path_factory.mktemp("served") / "tfreg"
    export(run, folder)
    return folder


@pytest.fixture(scope="module")
def server(outside, request):
    return outside or request.getfixturevalue("start_server")(request.getfixturevalue("models"), *POLLED)


@pytest.fixture(scope="module")
def lungs(shared_data):
    """Two people's lungs: paths of fixed, moving and their labels."""
    data = shared_data / "lung_mri"
    return {
        "fixed": data / "0004.nii.gz",
        "moving": data / "0006.nii.gz",
        "fixed_labels": data / "0004_lungs.nii.gz",
        "moving_labels": data / "0006_lungs.nii.gz",
    }


@pytest.fixture
def coarse(lungs, tmp_path):
    """Every second voxel along each axis of the lungs."""
    for path in lungs.values():
        nib.load(path).slicer[::2, ::2, ::2].to_filename(tmp_path / path.name)
    return {name: tmp_path / path.name for name, path in lungs.items()}


@pytest.fixture(scope="module")
def local(run, lungs, tmp_path_factory):
    """What `tfreg register` writes of them."""
    out = tmp_path_factory.mktemp("local") / "result"
    registered_files(**lungs, out=out, model=run)
    return out


def words_of(server, lungs, out, *options):
    """The words after `tfreg`."""
    words = ["request", "--address", server.address, "--out", out]
    for name, path in lungs.items():
        words += [f"--{name.replace('_', '-')}", path]
    return [str(word) for word in (*words, *options)]


def requested(*arguments):
    """Runs `tfreg request` in this process."""
    cli.app(words_of(*arguments), standalone_mode=False)


@pytest.fixture
def refused(monkeypatch, capfd):
    """`refused(server, lungs, out, *options)`: what `tfreg request`, which must end with two, writes as errors."""

    def refused(*arguments):
        monkeypatch.setattr(sys, "argv", ["tfreg", *words_of(*arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        return capfd.readouterr().err

    return refused


def check_same(found, expected, tolerance_voxels=1e-3):
    """Two result folders agree: fields and their inverses, images, exact transforms."""
    assert {path.name for path in found.iterdir()} == {path.name for path in expected.iterdir()}
    for name in ("displacement", "inverse_displacement"):
        fields = [nib.load(folder / f"{name}.nii.gz") for folder in (found, expected)]
        spacing = min(fields[0].header.get_zooms()[:3])
        difference = np.abs(fields[0].get_fdata() - fields[1].get_fdata()).max()
        assert difference < tolerance_voxels * spacing, name
        assert np.abs(fields[0].get_fdata()).max() > 1
    images = [read_volume(folder / "warped.nii.gz").array for folder in (found, expected)]
    assert np.abs(images[0] - images[1]).max() < 0.02 * np.ptp(images[1])
    reports = [json.loads((folder / "report.json").read_text()) for folder in (found, expected)]
    dice = [report["metrics"]["after"]["mean_dice"] for report in reports]
    assert dice[0] == pytest.approx(dice[1], abs=2e-3)
    return reports[0]


def test_the_result_is_that_of_register(server, lungs, local, tmp_path):
    command = [COMMAND, *words_of(server, lungs, tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = check_same(tmp_path / "out", local)
    assert report["model"]["version"] == server.version
    assert report["model"]["sha256"] == json.loads((local / "report.json").read_text())["model"]["sha256"]
    assert report["config"] == json.loads((local / "report.json").read_text())["config"]
    assert str(lungs["fixed"].parent) not in (tmp_path / "out" / "report.json").read_text()
    points = np.random.default_rng(0).uniform(-50, 50, (100, 3))
    transforms = [load_transform(folder / "transform.npz")[0] for folder in (tmp_path / "out", local)]
    assert np.abs(transforms[0](points) - transforms[1](points)).max() < 1e-3
    assert "look at" in done.stdout


def test_every_option_of_register_is_one_of_request(server, run, coarse, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())  # `--threads` is for processes that begin later, too
    options = {"refine": True, "preset": "fast", "similarity": "ncc", "smoothness": 0.2, "parts": "linear"}
    mask = {"fixed_mask": coarse["fixed_labels"], "moving_mask": coarse["moving_labels"]}
    words = ["--refine", "--check", "--seed", 3, "--threads", 1, "--device", "cpu"]
    words += [word for name in ("preset", "similarity", "smoothness", "parts") for word in (f"--{name}", options[name])]
    requested(server, coarse | mask, tmp_path / "out", *words)
    registered_files(**coarse, **mask, out=tmp_path / "local", model=run, check=True, seed=3, **options)
    served, expected = (RegistrationReport.read(tmp_path / name / "report.json") for name in ("out", "local"))
    assert (served.parts, served.seed, served.model.version) == ("linear", 3, server.version)
    assert served.refinement.settings == expected.refinement.settings
    assert served.refinement.settings["similarity"] == "ncc"
    assert served.quality_indicators.inverse_consistency is not None
    # What is optimised from a place that no training chose is only roughly the same on another number of threads.
    assert served.metrics.after.mean_dice == pytest.approx(expected.metrics.after.mean_dice, abs=0.1)


def test_over_mutual_tls_too(models, start_server, certificates, lungs, local, refused, tmp_path):
    options = {"certificate": "server.pem", "key": "server.key", "client-ca": "ca.pem"}
    words = [word for name, file in options.items() for word in (f"--tls-{name}", certificates / file)]
    server = start_server(models, *words)
    mine = ("--tls-certificate", certificates / "client.pem", "--tls-key", certificates / "client.key")
    requested(server, lungs, tmp_path / "out", "--tls-ca", certificates / "ca.pem", *mine)
    check_same(tmp_path / "out", local)
    for words in ((), ("--tls-ca", certificates / "ca.pem"), mine):  # no TLS, no own certificate, no known authority
        line = refused(server, lungs, tmp_path / "other", *words, "--retries", "1", "--timeout", "10")
        assert "no server answers" in line
        assert not (tmp_path / "other").exists()


def test_whole_numbers_are_nearly_as_good(server, lungs, local, tmp_path):
    with Client(server.address, RequestOptions(encoding="int16")) as client:
        registered_files(**lungs, out=tmp_path / "out", model=client.open)
    report = check_same(tmp_path / "out", local, tolerance_voxels=0.05)
    assert report["model"]["encoding"] == "int16"


def test_in_python_it_is_one_call(server, run, lungs):
    fixed, moving = (read_volume(lungs[name]) for name in ("fixed", "moving"))
    with Client(server.address) as client:
        found = client.register(fixed, moving)
        signatures = client.signatures()
        assert isinstance(client.open(), Predictor)
    from tfreg import register

    expected = register(fixed, moving, model=load_run(run))
    assert np.abs(found.displacement_mm - expected.displacement_mm).max() < 1e-3 * min(fixed.spacing)
    assert set(signatures) >= {"serving_default", "int16", "warp", "config"}
    assert signatures["int16"]["inputs"]["fixed"] == (tf.int16.as_datatype_enum, (-1, -1, -1, -1, 1))
    assert set(signatures["serving_default"]["outputs"]) == {"warped", "displacement", "linear", "logits"}


def test_a_large_pair_goes_through(server):
    """64 x 192 x 192: the field alone is seven times gRPC's own limit."""
    rng = np.random.default_rng(0)
    pair = {name: rng.random((1, 64, 192, 192, 1), np.float32) for name in ("fixed", "moving")}
    with Client(server.address) as client:
        found, version = client.predict(pair)
        few, _ = client.predict(pair, outputs=("linear",))
    assert version == server.version
    assert found["displacement"].shape == (1, 64, 192, 192, 3)
    assert found["displacement"].nbytes == 28_311_552
    assert np.isfinite(found["displacement"]).all()
    np.testing.assert_allclose(few.pop("linear"), found["linear"], atol=1e-6)
    assert few == {}


def test_a_message_limit_that_is_too_small_is_told(server):
    pair = {name: np.zeros((1, 64, 64, 64, 1), np.float32) for name in ("fixed", "moving")}
    options = RequestOptions(max_message_mb=1)
    with Client(server.address, options) as client, pytest.raises(Refusal, match="a message is too large"):
        client.predict(pair)


@pytest.fixture(scope="module")
def another(start_server, base_path):
    """A server of another kind of model, which takes and gives 8 MiB at most."""
    return start_server(base_path, "--max-message-mb", 8)


def test_an_answer_that_is_too_large_is_computed_once(another):
    pair = {name: np.zeros((1, 64, 128, 100, 1), np.float32) for name in ("fixed", "moving")}
    with Client(another.address) as client, pytest.raises(Refusal, match=r"too large .*output_filter.*fewer outputs"):
        client.predict(pair)
    assert another.log.count("status=RESOURCE_EXHAUSTED") == 1


def test_the_servers_own_words_are_told(server):
    pair = {name: np.full((1, 8, 8, 8, 1), np.nan, np.float32) for name in ("fixed", "moving")}
    with Client(server.address, RequestOptions(**IMPATIENT)) as client:
        with pytest.raises(Refusal, match=r"the server refuses: .*fixed holds values that are not finite") as caught:
            client.predict(pair)
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
        assert "\n" not in str(caught.value)
    with Client(server.address, RequestOptions(model_name="other", **IMPATIENT)) as client:
        with pytest.raises(Refusal, match="Servable not found for request: Latest") as caught:
            client.open()
        assert caught.value.code == grpc.StatusCode.NOT_FOUND


def test_another_kind_of_model_is_refused(another):
    with (
        Client(another.address, RequestOptions(**IMPATIENT)) as client,
        pytest.raises(UserError, match="model tfreg lacks the signature config, int16; serve what `tfreg export`"),
    ):
        client.open()


def test_nobody_there(lungs, refused, tmp_path):
    class Nobody:
        address = "127.0.0.1:9"

    started = time.monotonic()
    line = refused(Nobody, lungs, tmp_path / "out", "--retries", "2")
    assert time.monotonic() - started < 60
    assert "127.0.0.1:9: no server answers; start one with `tfreg serve`" in line
    assert len(line.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--address", "localhost"], "--address localhost: give HOST:PORT"),
        (["--address", "localhost:99999"], "--address localhost:99999: give HOST:PORT"),
        (["--address", "localhost:²"], "--address localhost:²: give HOST:PORT"),
        (["--encoding", "int8"], "--encoding int8: choose float32 or int16"),
        (["--tls-key", "key.pem"], "--tls-certificate and --tls-key belong together"),
        (["--tls-ca", "nowhere.pem"], "nowhere.pem: cannot be read"),
        (["--transform", "rigid"], "--parts rigid: choose linear"),
    ],
)
def test_bad_options_get_one_line(server, lungs, refused, tmp_path, options, text):
    line = refused(server, lungs, tmp_path / "out", *options)
    assert text in line
    assert len(line.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_server_that_comes_back_is_found_again(start_server, models, server):
    """Killed between two requests and started again on the same port, while the client tries."""
    pair = {name: np.eye(10, dtype=np.float32)[None, :8, None, :, None].repeat(9, 2) for name in ("fixed", "moving")}
    port = server.address.rpartition(":")[2]
    with Client(server.address, RequestOptions(timeout=150, retries=60)) as client:
        client.predict(pair)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(client.predict(pair)))
        thread.start()
        start_server(models, "--port", port, *POLLED)
        thread.join(160)
        assert not thread.is_alive()
    assert answers[0][1] == 1


@pytest.mark.usefixtures("start_server")
def test_a_version_replaced_meanwhile(models, perturb, server, lungs, tmp_path, monkeypatch):
    """Between the config and the pair the server takes over another version: one like it is used, another refused."""
    from tfreg import register

    fixed, moving = (read_volume(lungs[name]) for name in ("fixed", "moving"))

    def replaced_by(version):
        for path in models.iterdir():
            if path.name != str(version):
                shutil.rmtree(path)
        with Client(server.address) as other:
            deadline = time.monotonic() + 90
            while other.open().version != version:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    with Client(server.address) as client:
        served = client.open()
        shutil.copytree(models / "1", models / "2")
        replaced_by(2)
        assert register(fixed, moving, model=served).report.model.version == 2
        served = client.open()
        monkeypatch.setattr(module, "difference_in_fresh_process", lambda *_: {"warped": 0.0})
        export(write_run(tmp_path / "runs" / "unlike", perturb, seed=9, spacing=9), models)
        replaced_by(3)
        with pytest.raises(UserError, match="was replaced by one that sees volumes otherwise"):
            register(fixed, moving, model=served)
