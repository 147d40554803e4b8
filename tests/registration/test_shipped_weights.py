"""The weights that ship: what they make of a recorded pair, and every door that they go through."""

import importlib.resources

import numpy as np
import pytest
from pairs import registered_files, textured
from scenes import blobs, lattice_about

from tfreg.config import SHIPPED, EvaluationOptions, model_or_none
from tfreg.errors import UserError
from tfreg.evaluation.evaluate import evaluate
from tfreg.io.digests import file_digest
from tfreg.io.formats import write_volume
from tfreg.io.network_weights import read_weights
from tfreg.io.npz import read_arrays
from tfreg.preprocessing.aligned_pair import AlignedPair, NetworkInput
from tfreg.preprocessing.initial_alignment import initial_alignment
from tfreg.registration.best_alignment import best_alignment
from tfreg.registration.register_volumes import register
from tfreg.registration.trained_run import find_run, load_run, load_weights
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

TOLERANCE = 0.02  # voxels, of half the bytes


@pytest.fixture(scope="module")
def check(shared_data):
    """A pair, and the map that the weights make of it in full precision."""
    path = shared_data.parent / "weights" / "check.npz"
    if not path.is_file():
        pytest.skip(f"no recorded pair: {path} is absent")
    with np.load(path) as file:
        return dict(file)


def test_half_precision_moves_no_voxel_by_more_than_a_fiftieth(check):
    lattice = Lattice(check["fixed"].shape, np.eye(4))
    transform = load_weights().predict(NetworkInput(check["fixed"], check["moving"], lattice, np.eye(4)))
    apart = np.linalg.norm(transform(lattice.points()) - check["grid"], axis=-1)
    assert np.linalg.norm(check["grid"] - lattice.voxels(), axis=-1).max() > 1
    assert apart.max() < TOLERANCE


def test_they_are_loaded_once():
    assert load_weights() is load_weights()
    assert load_run("weights") is load_weights()
    assert load_run(SHIPPED) is load_weights()
    assert all(variable.dtype == "float32" for variable in load_weights().network.variables)


def test_the_model_card_states_their_digest():
    files = importlib.resources.files("tfreg.weights")
    card = files.joinpath("MODEL_CARD.md").read_text(encoding="utf-8")
    assert file_digest(SHIPPED) in card
    count = sum(array.size for array in read_weights(SHIPPED).values())
    assert f"{count:,} parameters" in card
    for word in ("simulated", "Apache-2.0", "not a medical device"):
        assert word in card
    assert all(array.dtype == np.float16 for array in read_arrays(SHIPPED).values())


@pytest.mark.parametrize("shape", [(30, 41, 37), (45, 28, 33)], ids=str)
def test_any_size(rng, shape):
    lattice = Lattice(shape, np.diag([1.5, 1.2, 2.0, 1.0]))
    fixed, moving = (textured(rng, shape, lattice.affine).array / 1000 + 0.2 for _ in range(2))
    transform = load_weights().predict(NetworkInput(fixed, moving, lattice, np.eye(4)))
    assert transform.deformation.expected_error.shape == shape


def test_files_are_registered_by_name(tmp_path, pair):
    for name, volume in zip(("fixed", "moving"), pair, strict=True):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
    paths = [tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz"]
    report = registered_files(*paths, tmp_path / "out", model="weights", init="centre", refine=False).report
    assert (report.model.name, report.model.sha256) == ("zero_shot_v0", file_digest(SHIPPED))
    assert len(report.passes) >= 1
    assert report.certificate.certified
    for name in ("transform.npz", "expected_error.nii.gz"):
        assert (tmp_path / "out" / name).is_file()
    assert report.quality_indicators.expected_error > 0


def test_volumes_are_registered_by_name(pair):
    report = register(*pair, model="weights", init="centre", refine=False).report
    assert report.model.name == "zero_shot_v0"
    assert report.preprocessing["network_grid"]["voxels"] == find_run("weights")[1].preprocessing.network_grid.voxels
    assert register(*pair, model="none", refine=False).report.model is None


@pytest.mark.parametrize(
    ("model", "refine", "used"),
    [
        ("default", False, "weights"),
        ("default", None, None),
        ("default", True, None),
        ("none", False, None),
        (None, False, None),
        ("runs/mine", True, "runs/mine"),
    ],
)
def test_the_model_that_is_used(model, refine, used):
    assert model_or_none(model, refine) == used


def test_a_network_alone_is_the_one_that_ships(pair):
    assert register(*pair, init="centre", refine=False).report.model.sha256 == file_digest(SHIPPED)


def test_a_folder_called_weights_is_named_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    with pytest.raises(UserError, match="holds no trained model"):
        find_run("./weights")
    assert find_run("weights")[0] == SHIPPED


def test_without_an_initial_alignment_the_best_is_taken(pair):
    fixed, moving = pair
    affine = np.array(moving.affine)
    affine[:3, 3] += [300, -200, 150]  # the headers have nothing in common
    moving = Volume(moving.array, affine)
    report = register(fixed, moving, model="weights", refine=False).report
    assert set(report.init_likeness) == {"header", "centre", "moments"}
    assert report.preprocessing["init"] == max(report.init_likeness, key=report.init_likeness.get) != "header"
    named = register(fixed, moving, model="weights", refine=False, init=report.preprocessing["init"]).report
    assert named.init_likeness is None
    np.testing.assert_array_equal(named.init, report.init)
    given = register(fixed, moving, model="weights", refine=False, initial_transform=np.array(report.init)).report
    np.testing.assert_array_equal(given.init, report.init)
    assert given.init_likeness is None


@pytest.mark.parametrize("inverted", [False, True])
def test_the_best_alignment_is_the_most_alike(inverted):
    """One scene in two fields of view, of which the headers, the centres or none but the masses lie on each other."""
    scene = blobs()
    fixed_lattice = lattice_about(np.diag([2.0, 2.5, 3.0]), (24, 21, 17), np.array([60.0, 65, 70]))
    fixed = Volume(scene(fixed_lattice.points()).astype(np.float32), fixed_lattice.affine)
    shifted = np.array(fixed_lattice.affine)
    shifted[:3, 3] += [40, -30, 20]
    window = np.array(fixed_lattice.affine)
    window[:3, 3] += [4, 5, -6]
    for kind, moving in (
        ("centre", Volume(fixed.array, shifted)),
        ("header", Volume(scene(Lattice(fixed.shape, window).points()).astype(np.float32), window)),
    ):
        if inverted:
            moving = moving.with_array(1 - moving.array)
        best, matrix, likeness = best_alignment(AlignedPair(fixed, moving, np.eye(4)))
        assert best == kind
        np.testing.assert_array_equal(matrix, initial_alignment(kind, fixed, moving))
        assert likeness[kind] == max(likeness.values())


def test_an_evaluation_takes_them_by_name(tmp_path, pair):
    for name, volume in zip(("fixed", "moving"), pair, strict=True):
        write_volume(tmp_path / f"{name}.nii.gz", volume)
    (tmp_path / "pairs.csv").write_text("id,fixed,moving\none,fixed.nii.gz,moving.nii.gz\n")
    summary = evaluate(tmp_path / "pairs.csv", tmp_path / "out", EvaluationOptions(models=("weights",)))
    assert list(summary.methods) == ["initial", "weights"]
    assert summary.init == "best"
    assert (summary.failures, summary.measured) == (0, 2)


def test_weights_of_another_network(tmp_path):
    config = SHIPPED.with_name("config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(config.replace("squeeze_ratio: 10", "squeeze_ratio: 5"))
    (tmp_path / "own.npz").write_bytes(SHIPPED.read_bytes())
    with pytest.raises(UserError, match=r"own\.npz: .* has shape"):
        load_run(tmp_path / "own.npz")
