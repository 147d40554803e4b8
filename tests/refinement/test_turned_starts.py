"""The scan over turns and shifts: every shift against sums written out, and images that lie far apart."""

import numpy as np
import pytest
from scenes import about_centre, blobs, rigid_about_centre
from scipy.spatial.transform import Rotation

from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.refinement import turned_starts as scan
from tfreg.refinement.linear_objective import weight_of_overlap
from tfreg.refinement.linear_stage import refine_linear
from tfreg.refinement.turned_starts import near_turns, turned_starts, wide_turns
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

CUBES = Lattice((30, 34, 28), np.diag([2.0, 2.0, 2.0, 1]) - np.outer([30, 34, 28, 0], [0, 0, 0, 1]))
OBLIQUE = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()


def scene(lattice, places=None):
    points = lattice.points() if places is None else places
    return Volume(blobs()(points - CUBES.centre_world).astype(np.float32), lattice.affine)


def degrees_apart(first, second):
    return np.degrees(np.linalg.norm(Rotation.from_matrix(first @ second.T).as_rotvec()))


@pytest.mark.parametrize(("turns", "largest"), [(near_turns(), 180), (wide_turns(300), 45)])
def test_turns_are_rotations_and_leave_no_large_gap(turns, largest, rng):
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    anywhere = Rotation.random(200, random_state=1).as_matrix()
    if largest == 180:  # those within 60 degrees alone
        axes = rng.normal(size=(200, 3))
        lengths = np.radians(60) * np.cbrt(rng.random((200, 1)))
        anywhere = Rotation.from_rotvec(lengths * axes / np.linalg.norm(axes, axis=1, keepdims=True)).as_matrix()
        assert (np.abs(turns - np.eye(3)).max(axis=(1, 2)) < 1e-12).sum() == 1
    cosines = (np.einsum("nij,mij->nm", anywhere, turns) - 1) / 2
    assert np.degrees(np.arccos(np.clip(cosines.max(axis=1), -1, 1))).max() < 40


def test_a_shift_is_worth_what_sums_over_voxels_say(rng):
    """Two small images with masks: the best shift and its worth, by loops."""
    shape, other = (5, 4, 6), (4, 6, 4)  # the scan's cubes are then the voxels
    fixed = Volume(rng.random(shape).astype(np.float32), np.eye(4))
    moving = Volume(rng.random(other).astype(np.float32), np.eye(4))
    masks = [Volume((rng.random(n) < 0.8).astype(np.uint8), np.eye(4)) for n in (shape, other)]
    correlation = scan._Correlation(AlignedPair(fixed, moving, np.eye(4), *masks), 1.0)
    worth, world_map = correlation.best(np.eye(3))
    best = {}
    for shift in np.ndindex(9, 9, 9):
        offset = np.array(shift) - 4
        pairs = []
        for place in np.ndindex(*shape):
            there = tuple(np.array(place) + offset)
            inside = all(0 <= t < n for t, n in zip(there, other, strict=True))
            if inside and masks[0].array[place] and masks[1].array[there]:
                pairs.append((fixed.array[place], moving.array[there]))
        shares = [len(pairs) / mask.array.sum() for mask in masks]
        if len(pairs) > scan.MIN_OVERLAP * min(mask.array.sum() for mask in masks) and len(pairs) > 2:
            squared = np.corrcoef(np.array(pairs).T)[0, 1] ** 2
            best[tuple(offset)] = squared * weight_of_overlap(*shares)
    offset = max(best, key=best.get)
    np.testing.assert_allclose(world_map[:3, 3], offset, atol=1e-9)
    assert worth == pytest.approx(best[offset], rel=1e-4)


# The third lies in the middle between two turns that are scanned.
@pytest.mark.parametrize(
    ("degrees", "axis", "inverted"), [(50, (1, 1, 0), False), (50, (1, 1, 0), True), (45, (1, 0, 0), False)]
)
def test_the_first_start_is_near_the_truth(degrees, axis, inverted):
    """Other cubes, along other axes, of a smaller field of view."""
    moving_lattice = Lattice((28, 26, 30), np.eye(4))
    affine = np.eye(4)
    affine[:3, :3] = OBLIQUE @ np.diag([2.1, -1.9, 2.0])
    affine[:3, 3] = CUBES.centre_world - affine[:3, :3] @ ((np.array(moving_lattice.shape) - 1) / 2) + (5, -3, 4)
    moving_lattice = Lattice(moving_lattice.shape, affine)
    right = rigid_about_centre(CUBES, degrees, (20, -15, 10), axis)
    world = moving_lattice.points() @ np.linalg.inv(right)[:3, :3].T + np.linalg.inv(right)[:3, 3]
    moving = scene(moving_lattice, world)
    moving = moving.with_array(1 - moving.array) if inverted else moving
    (first, *_) = turned_starts(AlignedPair(scene(CUBES), moving, np.eye(4)), "normal")
    assert degrees_apart(first[:3, :3], right[:3, :3]) < 10
    middle = CUBES.centre_world
    assert np.linalg.norm((first - right)[:3, :3] @ middle + (first - right)[:3, 3]) < 12


@pytest.mark.parametrize(
    ("search", "degrees", "axis"), [("normal", 45, (1, 1, 0)), ("normal", 45, (1, -1, 1)), ("wide", 170, (2, 1, -1))]
)
def test_what_lies_far_apart_is_aligned(search, degrees, axis, monkeypatch):
    """Shifted by a third of the field of view as well."""
    monkeypatch.setattr(scan, "SCANNED_VOXELS", 2_000)
    fixed = scene(CUBES)
    right = rigid_about_centre(CUBES, degrees, (20, -22, 18), axis)
    pair = AlignedPair(fixed, Volume(fixed.array, right @ CUBES.affine), np.eye(4))
    change = refine_linear(pair, search=search).matrix - right
    assert np.linalg.norm(CUBES.points() @ change[:3, :3].T + change[:3, 3], axis=-1).max() < 0.1


def test_an_image_that_shows_nothing_gives_no_start():
    flat = Volume(np.zeros(CUBES.shape, np.float32), CUBES.affine)
    assert turned_starts(AlignedPair(scene(CUBES), flat, about_centre(CUBES, np.eye(3), (0, 0, 0))), "normal") == []
