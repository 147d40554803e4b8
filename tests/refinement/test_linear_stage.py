"""The linear stage against known maps: the same voxels under a turned header, and fields of view that differ."""

import numpy as np
import pytest
from data_sets import VOLUMES
from scenes import about_centre, blobs, rigid_about_centre
from scipy.spatial.transform import Rotation

from tfreg.config import Preprocessing
from tfreg.io.formats import read_volume
from tfreg.preprocessing.aligned_pair import AlignedPair, align_pair
from tfreg.preprocessing.pyramid import cubes, onto_level
from tfreg.refinement import linear_stage, turned_starts
from tfreg.refinement.linear_stage import CHANGES, COARSE, STEPS, _Level, refine_linear
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

ANISOTROPIC = Lattice((44, 40, 9), np.diag([1.4, 1.4, 7.0, 1.0]))
CUBES = Lattice((24, 28, 22), np.diag([2.0, 2.0, 2.0, 1]) - np.outer([24, 28, 22, 0], [0, 0, 0, 1]))


def errors_voxels(lattice, found, right):
    """How far two world maps put each voxel apart, in the lattice's voxels."""
    points = lattice.points()
    apart = points @ (found - right)[:3, :3].T + (found - right)[:3, 3]
    return np.linalg.norm(apart @ np.linalg.inv(lattice.affine[:3, :3]).T, axis=-1)


@pytest.mark.parametrize("kind", CHANGES)
def test_changes_have_the_slopes_that_they_say(kind, rng):
    """And each parameter moves a lattice's voxels by one, RMS, as its neighbours do."""
    change, count = CHANGES[kind]
    shape = np.array((30, 20, 12))
    parameters = rng.normal(size=count)
    _, slopes = change(parameters, shape)
    for number, slope in enumerate(slopes):
        step = 1e-6 * np.eye(count)[number]
        expected = (change(parameters + step, shape)[0] - change(parameters - step, shape)[0]) / 2e-6
        np.testing.assert_allclose(slope, expected, atol=1e-8)
    offsets = np.stack(np.indices(shape), axis=-1) - (shape - 1) / 2
    for slope in change(np.zeros(count), shape)[1]:
        moved = offsets @ slope[:3, :3].T + slope[:3, 3]
        assert np.sqrt(np.square(moved).sum(axis=-1).mean()) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("kind", CHANGES)
def test_only_what_may_change_does(kind):
    """A volume under a header that is turned, shifted, made larger and sheared: what it may, and one thing more."""
    turned = rigid_about_centre(CUBES, 10, (4, -3, 2))
    larger = about_centre(CUBES, 1.15 * np.eye(3), (0, 0, 0))
    sheared = about_centre(CUBES, np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1.0]]), (0, 0, 0))
    rights = [turned, turned @ larger, turned @ larger @ sheared]
    fixed = Volume(blobs()(CUBES.points() - CUBES.centre_world).astype(np.float32), CUBES.affine)
    may, *more = rights[list(CHANGES).index(kind) :][:2]
    for right in (may, *more):
        moving = Volume(fixed.array, right @ CUBES.affine)
        found = refine_linear(AlignedPair(fixed, moving, np.eye(4)), kind=kind).matrix
        stretches = np.linalg.svd(found[:3, :3], compute_uv=False)
        assert np.linalg.det(found[:3, :3]) > 0
        if kind == "rigid":
            np.testing.assert_allclose(stretches, 1, atol=1e-9)
        elif kind == "similarity":
            np.testing.assert_allclose(stretches, stretches.mean(), atol=1e-9)
        errors = errors_voxels(CUBES, found, right)
        if right is may:
            assert errors.max() < 0.1
        else:
            assert errors.mean() > 0.1


@pytest.mark.parametrize("similarity", ["lncc", "mi", "mind"])
@pytest.mark.parametrize("degrees", [0, 10, 30])
def test_turned_header_of_a_thick_stack(degrees, similarity):
    lattice = ANISOTROPIC
    fixed = Volume(blobs()(lattice.points() - lattice.centre_world).astype(np.float32), lattice.affine)
    right = rigid_about_centre(lattice, degrees, (0, 0, 0) if not degrees else (6, -5, 6))
    moving = Volume(fixed.array, right @ lattice.affine)
    done = []
    found = refine_linear(AlignedPair(fixed, moving, np.eye(4)), similarity, progress=done.append).matrix
    assert errors_voxels(lattice, found, right).max() < 0.01
    assert sum(done) == STEPS


@pytest.mark.parametrize("kind", ["rigid", "affine"])
@pytest.mark.parametrize("similarity", ["lncc", "mi"])
def test_partial_overlap(kind, similarity):
    """Both fields of view are cut out of one scene, unlike in size, spacing and place."""
    scene = blobs()
    fixed_lattice = Lattice((40, 36, 30), np.diag([-1.8, 1.6, 2.2, 1]) + np.outer([35, -30, -34, 0], [0, 0, 0, 1]))
    matrix = np.eye(3) if kind == "rigid" else np.array([[1.12, 0.05, 0], [-0.04, 0.93, 0.03], [0.02, 0, 1.05]])
    turn = Rotation.from_euler("xyz", [8, -12, 10], degrees=True).as_matrix()
    right = about_centre(fixed_lattice, turn @ matrix, (14, -9, 8))
    fixed = Volume(scene(fixed_lattice.points()).astype(np.float32), fixed_lattice.affine)
    affine = np.array([[1.5, 0, 0.2, -22], [0, 1.9, 0, -44], [-0.2, 0, 1.7, -28], [0, 0, 0, 1]])
    moving_lattice = Lattice((44, 34, 38), affine)
    back = np.linalg.inv(right)
    moving = Volume(scene(moving_lattice.points() @ back[:3, :3].T + back[:3, 3]).astype(np.float32), affine)
    errors = errors_voxels(
        fixed_lattice, refine_linear(AlignedPair(fixed, moving, np.eye(4)), similarity).matrix, right
    )
    assert errors.mean() < 0.15
    assert errors.max() < 0.4


def test_the_other_way_round_is_the_inverse():
    scene, lattice = blobs(), CUBES
    right = rigid_about_centre(lattice, 9, (4, -3, 5))
    back = np.linalg.inv(right)
    fixed = Volume(scene(lattice.points()).astype(np.float32), lattice.affine)
    other = lattice.extended((4, -2, 1), (0, 3, 2))
    moving = Volume(scene(other.points() @ back[:3, :3].T + back[:3, 3]).astype(np.float32), other.affine)
    pair = AlignedPair(fixed, moving, np.eye(4))
    there, and_back = refine_linear(pair).matrix, refine_linear(pair.reversed()).matrix
    assert errors_voxels(lattice, and_back @ there, np.eye(4)).max() < 0.05


def test_what_masks_leave_out_does_not_count():
    """A part of one image that lies elsewhere pulls, unless a mask leaves it out."""
    lattice, wrong = CUBES, slice(0, 10)
    right = rigid_about_centre(lattice, 8, (5, -4, 3))
    array = blobs()(lattice.points()).astype(np.float32)
    spoilt, counts = array.copy(), np.ones(lattice.shape, np.uint8)
    spoilt[wrong], counts[wrong] = np.roll(array, 3, axis=1)[wrong], 0
    fixed, moving = Volume(array, lattice.affine), Volume(spoilt, right @ lattice.affine)
    found = refine_linear(AlignedPair(fixed, moving, np.eye(4), None, moving.with_array(counts))).matrix
    assert errors_voxels(lattice, found, right)[10:].max() < 0.3
    unmasked = refine_linear(AlignedPair(fixed, moving, np.eye(4))).matrix
    assert errors_voxels(lattice, unmasked, right)[10:].max() > 0.6


def test_what_is_nowhere_measured_keeps_the_start():
    lattice = Lattice((20, 22, 24), np.eye(4))
    fixed = Volume(blobs()(lattice.points()).astype(np.float32), lattice.affine)
    init = rigid_about_centre(lattice, 5, (1, 2, 3))
    nothing = fixed.with_array(np.zeros(lattice.shape, np.uint8))
    np.testing.assert_array_equal(refine_linear(AlignedPair(fixed, fixed, init, None, nothing)).matrix, init)


@pytest.mark.parametrize("name", VOLUMES)
def test_real_volumes_against_themselves(name, shared_data):
    volume = read_volume(shared_data / name / VOLUMES[name])
    fixed = align_pair(volume, volume, Preprocessing()).fixed
    same = refine_linear(AlignedPair(fixed, fixed, np.eye(4))).matrix
    assert errors_voxels(fixed.lattice, same, np.eye(4)).max() <= 0.05
    right = rigid_about_centre(fixed.lattice, 10, (6, -5, 6.2))
    found = refine_linear(AlignedPair(fixed, Volume(fixed.array, right @ fixed.affine), np.eye(4))).matrix
    assert errors_voxels(fixed.lattice, found, right).max() <= 0.1


def test_a_search_loses_nothing_that_is_near(shared_data):
    """Until sizes agree, chests that are turned wrong are more alike than the one that is right."""
    volume = read_volume(shared_data / "lung_ct" / VOLUMES["lung_ct"])
    lattice = cubes(volume.lattice, 100_000)
    fixed = Volume(onto_level(volume, lattice)[0], lattice.affine)
    right = about_centre(lattice, 0.6 * np.eye(3), (0, 0, 0))
    pair = AlignedPair(fixed, Volume(fixed.array, right @ fixed.affine), np.eye(4))
    assert errors_voxels(lattice, refine_linear(pair, search="normal").matrix, right).max() <= 0.1


def test_a_search_finds_other_sizes(monkeypatch):
    monkeypatch.setattr(linear_stage, "COARSE", 1_500)
    monkeypatch.setattr(turned_starts, "SCANNED_VOXELS", 1_000)
    fixed = Volume(blobs(1)(CUBES.points() - CUBES.centre_world).astype(np.float32), CUBES.affine)
    right = rigid_about_centre(CUBES, 10, (4, -3, 2)) @ about_centre(CUBES, 0.5 * np.eye(3), (0, 0, 0))
    pair = AlignedPair(fixed, Volume(fixed.array, right @ CUBES.affine), np.eye(4))
    assert errors_voxels(CUBES, refine_linear(pair, search="normal").matrix, right).max() <= 0.1
    monkeypatch.setattr(linear_stage, "SIZES", ())
    assert errors_voxels(CUBES, refine_linear(pair, search="normal").matrix, right).mean() > 5


def test_rival_is_the_best_of_the_alignments_that_differ():
    """A shift of 0.12 of the size is another alignment, of 0.08 the same one; a turn about the centre moves corners."""
    image = Volume(blobs()(CUBES.points() - CUBES.centre_world).astype(np.float32), CUBES.affine)
    level = _Level(AlignedPair(image, image, np.eye(4)), "lncc", [np.eye(4)], COARSE)
    size = np.mean(np.array(CUBES.shape) * CUBES.spacing)

    def fit(shift, value, degrees=0.0):
        return rigid_about_centre(CUBES, degrees, (shift * size, 0, 0)), value

    assert level.rival([fit(0, 0.2)]) == level.rival([fit(0, 0.2), fit(0.08, 0.3)]) == 0
    assert level.rival([fit(0.12, 0.6), fit(0, 0.2), fit(0.08, 0.3)]) == pytest.approx(0.5)
    assert level.rival([fit(0.12, 0.6), fit(0, 0.2), fit(0, 0.36, 90.0)]) == pytest.approx(0.8)
    assert level.rival([fit(0, 0.2), fit(0.12, 1.1)]) == 0


def test_a_scene_unlike_itself_elsewhere_has_no_rival_and_noise_has_one(rng):
    image = Volume(blobs()(CUBES.points() - CUBES.centre_world).astype(np.float32), CUBES.affine)
    noise, other = (image.with_array(rng.random(image.shape, np.float32)) for _ in range(2))
    turned = Volume(image.array, rigid_about_centre(CUBES, 10, (4, -3, 2)) @ CUBES.affine)
    assert refine_linear(AlignedPair(image, turned, np.eye(4))).rival < 0.8
    assert refine_linear(AlignedPair(noise, other, np.eye(4))).rival > 0.8
    assert refine_linear(AlignedPair(image, turned, np.eye(4)), far=False).rival is None
