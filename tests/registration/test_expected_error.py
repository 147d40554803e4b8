"""How far from the truth a network expects its transform to be: in mm, in the folder, and in the report."""

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np
import pytest
from pairs import HEADERS, ChosenRun, textured
from scipy.spatial.transform import Rotation

from tfreg.config import ErrorCalibration, parse_config
from tfreg.errors import UserError
from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.registration.expected_error import ExpectedError, expected_error_of
from tfreg.registration.page import write_pair_page
from tfreg.registration.register_volumes import register
from tfreg.registration.registration_report import RegistrationReport
from tfreg.registration.trained_run import load_weights
from tfreg.registration.verdict import quality_indicators
from tfreg.transforms.composition import compose_passes
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

ROOT = Path(__file__).parents[2]
DISPLACEMENT = {"transform": "deformable", "head": "displacement"}
CALIBRATION = (ErrorCalibration(scale=3.0, power=1.5), ErrorCalibration(scale=5.0, power=2.0))


def lattice_of(header, shape=(12, 15, 10)):
    affine = np.eye(4)
    affine[:3, :3] = HEADERS[header]
    affine[:3, 3] = [30, -70, 900]
    return Lattice(shape, affine)


def shifted(lattice, shift_voxels=(0, 0, 0), error=2.0, init=None):
    """A transform that moves everything alike, with one expected error everywhere, voxels."""
    control = np.empty((*(-(-n // 2) for n in lattice.shape), 4))
    control[...] = (*shift_voxels, np.log(error))
    deformation = DisplacementDeformation(control, lattice.shape)
    return Transform(lattice, np.eye(3, 4), deformation, np.eye(4) if init is None else init)


class CertainRun:
    """Predicts a shift, and one expected error everywhere."""

    provenance: ClassVar = {"name": "certain", "sha256": "0" * 64}

    def __init__(self, **config):
        self.config = parse_config({"model": DISPLACEMENT, **config})

    def predict(self, pair):
        return shifted(pair.lattice, (0.3, 0, -0.2), init=pair.init)


@pytest.mark.parametrize("header", HEADERS)
def test_a_voxel_is_the_root_mean_square_of_its_sides(header, rng):
    """An error of the same size along every axis of the grid, whatever the header's rotation."""
    lattice = lattice_of(header)
    expected = expected_error_of(shifted(lattice), CALIBRATION, 1)
    errors_voxels = 3 * 2**1.5 / np.sqrt(3) * rng.choice([-1, 1], (500, 3))
    lengths_mm = np.linalg.norm(errors_voxels @ lattice.affine[:3, :3].T, axis=-1)
    points = lattice.to_world(rng.uniform(-3, 15, (20, 3)))
    np.testing.assert_allclose(expected(points), 3 * 2**1.5 * np.sqrt((lattice.spacing**2).mean()), rtol=1e-9)
    np.testing.assert_allclose(expected(points)[0], np.sqrt((lengths_mm**2).mean()), rtol=0.1)


def test_an_initial_alignment_that_enlarges_enlarges_it():
    init = np.eye(4)
    init[:3, :3] = 2.5 * Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    lattice = lattice_of("oblique")
    errors = [expected_error_of(shifted(lattice, init=matrix), CALIBRATION, 1) for matrix in (np.eye(4), init)]
    np.testing.assert_allclose(errors[1].values_mm, 2.5 * errors[0].values_mm, rtol=1e-9)


def test_damping_adds_what_it_moves():
    """3 voxels along an axis of 1.6 mm, damped to a quarter: 3.6 mm off, at right angles to what is expected."""
    lattice = lattice_of("oblique")
    transform = compose_passes([shifted(lattice, (0, 3, 0))])
    before = expected_error_of(transform, CALIBRATION, 1).values_mm
    damped = dataclasses.replace(transform, deformation=transform.deformation.damped(0.25))
    after = expected_error_of(damped, CALIBRATION, 1).values_mm
    np.testing.assert_allclose(after, np.hypot(before, 0.75 * 3 * 1.6), rtol=1e-6)


def test_it_lies_where_the_network_says(rng):
    """A ramp of the logarithm along one axis of an oblique grid, read on another lattice of the same world."""
    lattice = lattice_of("flipped", (40, 12, 14))
    control = np.zeros((20, 6, 7, 4))
    control[..., 3] = np.linspace(0, 2, 20)[:, None, None]
    transform = Transform(lattice, np.eye(3, 4), DisplacementDeformation(control, lattice.shape), np.eye(4))
    expected = expected_error_of(transform, CALIBRATION, 1)
    other = Lattice((9, 8, 7), np.linalg.multi_dot([lattice.affine, np.diag([2.5, 1.1, 1.3, 1.0])]))
    i = 2.5 * np.arange(9)
    size = np.sqrt((lattice.spacing**2).mean())
    inner = slice(1, None)
    ramp = 3 * np.exp(1.5 * (i - 0.5) * (2 / 38)) * size
    on_other = expected.on(other)
    assert on_other.dtype == np.float32
    np.testing.assert_allclose(on_other[inner], np.broadcast_to(ramp[inner, None, None], (8, 8, 7)), rtol=0.01)


def test_the_calibration_is_of_the_number_of_passes():
    lattice = lattice_of("LAS")
    size = np.sqrt((lattice.spacing**2).mean())
    for passes, voxels in ((1, 3 * 2**1.5), (2, 5 * 2**2), (3, 5 * 2**2)):
        transform = compose_passes([shifted(lattice)] * passes)
        np.testing.assert_allclose(expected_error_of(transform, CALIBRATION, passes).values_mm, voxels * size)


def test_there_is_none_without_calibration_or_head(pair):
    lattice = pair[0].lattice
    assert expected_error_of(shifted(lattice), (), 1) is None
    assert expected_error_of(Transform.identity(lattice, np.eye(4)), CALIBRATION, 1) is None
    gradients = register(*pair, model=ChosenRun(prediction={"expected_error": [{"scale": 1.0}]}), init="centre")
    assert gradients.expected_error_mm is None
    uncalibrated = register(*pair, model=CertainRun(), init="centre", refine=False)
    assert uncalibrated.expected_error_mm is None
    assert uncalibrated.report.quality_indicators.expected_error is None


@pytest.mark.parametrize("calibration", [{"scale": 0.0}, {"power": -1.0}, {"factor": 2.0}], ids=str)
def test_a_calibration_that_means_nothing_is_refused(calibration):
    with pytest.raises(UserError, match=r"expected_error"):
        parse_config({"prediction": {"expected_error": [calibration]}})


def test_folder_and_report(pair, tmp_path):
    """An oblique fixed image, and a network grid of voxels of its own."""
    fixed, moving = pair
    prediction = {"passes": 2, "expected_error": [{"scale": 3.0, "power": 1.5}, {"scale": 5.0, "power": 2.0}]}
    grid = {"spacing": [2.2, 1.7, 2.9]}
    run = CertainRun(prediction=prediction, preprocessing={"network_grid": grid})
    result = register(fixed, moving, model=run, init="centre", refine=False)
    expected_mm = 5 * 2**2 * np.sqrt((2.2**2 + 1.7**2 + 2.9**2) / 3)
    result.save(tmp_path / "out")
    written = nib.load(tmp_path / "out" / "expected_error.nii.gz")
    assert written.shape == fixed.shape
    assert written.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(written.affine, fixed.affine, atol=1e-4)
    np.testing.assert_allclose(written.get_fdata(), expected_mm, rtol=1e-5)
    indicators = RegistrationReport.read(tmp_path / "out" / "report.json").quality_indicators
    assert vars(indicators.expected_error_mm) == pytest.approx(
        dict.fromkeys(("mean", "median", "p95"), expected_mm), rel=1e-5
    )
    assert indicators.expected_error == pytest.approx(expected_mm / fixed.lattice.mean_size_mm, rel=1e-5)
    write_pair_page(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Error that the network expects, median (mm)" in page
    assert f"{expected_mm:.2f}" in page


def test_what_was_changed_afterwards_has_none(pair, tmp_path):
    """Refined, or one part of it alone: nobody expected that."""
    run = CertainRun(prediction={"expected_error": [{"scale": 3.0}]})
    whole = register(*pair, model=run, init="centre", refine=False)
    assert whole.expected_error_mm is not None
    for options in ({"refine": True, "preset": "fast"}, {"parts": "linear", "refine": False}):
        result = register(*pair, model=run, init="centre", **options)
        assert result.expected_error_mm is None
        assert result.report.quality_indicators.expected_error_mm is None
    result.save(tmp_path / "out")
    assert not (tmp_path / "out" / "expected_error.nii.gz").exists()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["quality_indicators"]["expected_error"] is None


def test_the_report_weights_it_by_structure(rng):
    """All structure lies in one half of the image, where twice as much is expected."""
    image = textured(rng, (24, 20, 22), lattice_of("oblique").affine)
    flat = np.array(image.array, np.float32)
    flat[:12] = flat.min()
    image = image.with_array((flat - flat.min()) / np.ptp(flat))
    values = np.ones(image.shape)
    values[10:] = 2.0
    transform = Transform.identity(image.lattice, np.eye(4))
    indicators = quality_indicators(
        AlignedPair(image, image, np.eye(4)), transform, expected_error=ExpectedError(image.lattice, values)
    )
    assert indicators["expected_error_mm"] == pytest.approx({"mean": 2, "median": 2, "p95": 2}, rel=0.02)
    assert indicators["expected_error"] == pytest.approx(2 / image.lattice.mean_size_mm, rel=0.02)


@pytest.fixture(scope="module")
def benchmark():
    """The script that calibrates."""
    spec = importlib.util.spec_from_file_location("expected_error", ROOT / "benchmarks" / "expected_error.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_calibration_is_recovered(benchmark, rng):
    """Distances of three Gaussian components whose median is 4 e^1.3."""
    expected = np.exp(rng.normal(-1, 0.7, (20, 4000)))
    median = 1.5382  # of the length of three standard normal numbers
    true = 4 * expected**1.3 * np.linalg.norm(rng.standard_normal((*expected.shape, 3)), axis=-1) / median
    errors = benchmark.Errors(true, expected)
    calibration = benchmark.fitted(errors)
    assert (calibration.scale, calibration.power) == pytest.approx((4.0, 1.3), rel=0.05)
    rows = list(benchmark.rows_of(benchmark.calibrated(errors, calibration), 4, "no"))
    assert [float(row["ratio"]) for row in rows] == pytest.approx([1.0] * 10, rel=0.06)
    assert sum(row["places"] for row in rows) == expected.size
    assert [row["ratio"] for row in benchmark.rows_of(errors, 4, "no")] != [row["ratio"] for row in rows]


def test_the_weights_that_ship_have_the_measured_calibration():
    text = (ROOT / "benchmarks" / "results" / "expected_error.md").read_text(encoding="utf-8")
    measured = parse_config_block(text.split("```yaml")[1].split("```")[0])
    assert load_weights().config.prediction.expected_error == measured


def parse_config_block(text):
    import yaml

    return parse_config(yaml.safe_load(text)).prediction.expected_error
