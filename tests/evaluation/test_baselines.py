"""The classical tools find a known displacement, whatever the headers."""

import importlib.util

import numpy as np
import pytest
from scipy import ndimage

from tfreg.errors import UserError
from tfreg.evaluation import methods
from tfreg.evaluation.baselines.greedy import on_cubes
from tfreg.evaluation.baselines.registry import BASELINES
from tfreg.evaluation.commands import COMMANDS
from tfreg.evaluation.methods import check_baselines
from tfreg.io.formats import write_volume
from tfreg.io.tables.manifest import PairFiles
from tfreg.volumes.resampling import sample
from tfreg.volumes.volume import Volume


@pytest.fixture(scope="module")
def known(tools):
    """A fixed image, the moving one that a smooth displacement of up to 4 mm makes of it, and that displacement."""
    rng = np.random.default_rng(3)
    shape = (44, 40, 36)
    affine = tools.placed("oblique", shape, (10.0, -20, 30))
    ramp = (np.stack(np.indices(shape), axis=-1) - (np.array(shape) - 1) / 2) / (np.array(shape) / 2)
    inside = np.clip(3 * (0.75 - np.linalg.norm(ramp, axis=-1)), 0, 1)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    fixed = Volume((100 * inside * (2 + noise / noise.std())).astype(np.float32), affine)
    moving_shape = (60, 52, 40)
    lattice = tools.textured(rng, moving_shape, tools.placed("LPS", moving_shape, (12.0, -21, 29))).lattice

    def displacement_mm(points):
        phase = np.asarray(points) / 25.0
        waves = np.stack([np.sin(phase[..., 1]), np.cos(phase[..., 2]), np.sin(phase[..., 0])], axis=-1)
        return np.array([2.0, -1.0, 1.0]) + 2.0 * waves

    # Where each moving voxel comes from, by fixed-point iteration of x = y - u(x).
    places = lattice.points()
    origin = places
    for _ in range(30):
        origin = places - displacement_mm(origin)
    voxels = fixed.lattice.to_voxel(origin)
    array = sample(fixed.array, voxels, fill=float(fixed.array.min()))
    return fixed, Volume(array.astype(np.float32), lattice.affine), displacement_mm(fixed.lattice.points())


# ITK's bindings warn while they are loaded, and crash if that becomes an error.
@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
@pytest.mark.peers
@pytest.mark.parametrize("name", BASELINES)
def test_a_known_displacement_is_found(known, name):
    if importlib.util.find_spec(BASELINES[name].module) is None:
        pytest.skip(f"{BASELINES[name].package} is not installed")
    fixed, moving, truth = known
    found, seconds = BASELINES[name].register(fixed, moving, "header", threads=2)
    assert found.shape == (*fixed.shape, 3)
    assert seconds > 0
    # Where there is something to see: the object in the middle.
    inside = ndimage.gaussian_gradient_magnitude(fixed.array, 1.0) > 10
    before = np.linalg.norm(truth[inside], axis=-1).mean()
    after = np.linalg.norm((found - truth)[inside], axis=-1).mean()
    assert before > 2
    assert after < 0.5 * before


@pytest.mark.peers
def test_greedy_takes_an_image_too_thin_for_its_levels(known):
    pytest.importorskip("picsl_greedy")
    fixed, moving, truth = known
    middle = (slice(None), slice(None), slice(13, 23))
    affine = np.array(fixed.affine)
    affine[:3, 3] = fixed.lattice.to_world([0, 0, 13])
    found, _ = BASELINES["greedy"].register(Volume(fixed.array[middle], affine), moving, "header", threads=2)
    inside = ndimage.gaussian_gradient_magnitude(fixed.array, 1.0)[middle] > 10
    left = np.linalg.norm((found - truth[middle])[inside], axis=-1).mean()
    assert left < 0.7 * np.linalg.norm(truth[middle][inside], axis=-1).mean()


def test_a_thin_stack_is_laid_on_cubes():
    volume = Volume(np.arange(4 * 6 * 3, dtype=np.float32).reshape(4, 6, 3), np.diag([1.0, -1, 8, 1]))
    cubes = on_cubes(volume, 2.0)
    np.testing.assert_allclose(cubes.spacing, 2.0)
    assert cubes.shape == (2, 3, 12)
    low = volume.lattice.to_world([-0.5, -0.5, -0.5])
    np.testing.assert_allclose(cubes.lattice.to_world([-0.5, -0.5, -0.5]), low)
    # The first cube's centre lies at voxel (0.5, 0.5, -0.375), whose last coordinate is the border's.
    assert cubes.array[0, 0, 0] == pytest.approx(volume.array[:2, :2, 0].mean())


def test_unknown_and_missing_tools_are_refused(monkeypatch):
    check_baselines(["demons"])
    with pytest.raises(UserError, match="--baselines warp9: choose greedy, greedy_r4, syn"):
        check_baselines(["demons", "warp9"])
    monkeypatch.setattr(methods.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--baselines syn: antspyx is not installed; try pip install 'tfreg\[bench\]'"):
        check_baselines(["syn"])


@pytest.mark.peers
@pytest.mark.parametrize("name", COMMANDS)
def test_a_whole_command_finds_a_known_displacement(known, name, tmp_path):
    if importlib.util.find_spec(COMMANDS[name].module) is None:
        pytest.skip(f"{COMMANDS[name].package} is not installed")
    fixed, moving, truth = known
    for side, volume in (("fixed", fixed), ("moving", moving)):
        write_volume(tmp_path / f"{side}.nii.gz", volume)
    (tmp_path / "out").mkdir()
    pair = PairFiles("a", tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz")
    displacement_mm, seconds, peak_mb = COMMANDS[name].run(pair, tmp_path / "out", "header", 2)
    assert displacement_mm.shape == (*fixed.shape, 3)
    assert seconds > 0
    assert peak_mb > 50
    inside = ndimage.gaussian_gradient_magnitude(fixed.array, 1.0) > 10
    after = np.linalg.norm((displacement_mm - truth)[inside], axis=-1).mean()
    assert after < 0.5 * np.linalg.norm(truth[inside], axis=-1).mean()
