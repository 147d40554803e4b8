"""Which start of a refinement is the better one."""

import numpy as np
import pytest
from scenes import blobs

from tfreg.config import RegistrationOptions
from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.refinement import discrete_search
from tfreg.refinement.refine import refine_pair
from tfreg.refinement.starts import DISCRETE, LINEAR, ROUGHNESS_COST, Likeness
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

FIXED = Lattice((30, 34, 26), np.diag([-2.0, 2.0, 2.2, 1]))
MOVING = Lattice((33, 30, 28), np.diag([2.1, 1.9, 2.0, 1]) - np.outer([60, 0, 4, 0], [0, 0, 0, 1]))


def scene(lattice, shift=(0, 0, 0)):
    places = lattice.points() + shift - FIXED.centre_world
    return Volume(blobs()(places).astype(np.float32), lattice.affine)


def shifted(shift):
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return Transform.identity(FIXED, matrix)


@pytest.mark.parametrize("similarity", ["lncc", "mi"])
def test_the_right_map_is_the_likest(similarity):
    likeness = Likeness(AlignedPair(scene(FIXED), scene(MOVING, (-4, 3, -5)), np.eye(4)), similarity)
    values = [likeness(shifted(shift)) for shift in ([4, -3, 5], [2, -3, 5], [4, 0, 5], [0, 0, 0], [40, 0, 0])]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[1] + 0.05


def test_the_reversed_pair_under_the_inverse_is_as_like():
    pair = AlignedPair(scene(FIXED), scene(MOVING), np.eye(4))
    there = Likeness(pair, "lncc")(shifted([1, 2, -1]))
    assert Likeness(pair.reversed(), "lncc")(shifted([-1, -2, 1])) == pytest.approx(there, abs=1e-9)


def test_a_mask_takes_away_what_spoils():
    moving, counts = scene(MOVING), np.ones(MOVING.shape, np.uint8)
    spoiled = moving.array.copy()
    spoiled[:12] = np.random.default_rng(0).random((12, *MOVING.shape[1:]))
    counts[:15] = 0
    spoiled = moving.with_array(spoiled)
    masked = AlignedPair(scene(FIXED), spoiled, np.eye(4), None, Volume(counts, MOVING.affine))
    plain = AlignedPair(scene(FIXED), spoiled, np.eye(4))
    whole = AlignedPair(scene(FIXED), moving, np.eye(4))
    identity = shifted([0, 0, 0])
    values = [Likeness(pair, "lncc")(identity) for pair in (plain, masked, whole)]
    # The overlap is smaller, what it shows is like.
    assert values[0] < 0.9 * values[1]
    assert values[1] < values[2]


def test_roughness_is_the_mean_squared_slope_beyond_the_linear_part(rng):
    likeness = Likeness(AlignedPair(scene(FIXED), scene(MOVING), np.eye(4)), "lncc")
    linear = np.eye(4)
    linear[:3] += 0.1 * rng.normal(size=(3, 4))
    assert likeness.roughness(Transform.identity(FIXED, linear)) == pytest.approx(0, abs=1e-20)
    # Along one axis alone, a ramp that begins at the lattice's first voxel: every slope is tanh(0.1).
    control = np.zeros((15, 17, 13, 3))
    control[..., 0] = 0.2
    ramp = Deformation(control, FIXED.shape, 2, "composed", "start")
    bent = likeness.roughness(Transform(FIXED, np.eye(3, 4), ramp, linear))
    assert bent == pytest.approx(np.tanh(0.1) ** 2, rel=0.1)


def far(points):
    """A map that no slope leads to: the middle of the scene moves by several widths of its structures."""
    away = points - FIXED.centre_world
    return points + np.array([16.5, -13.5, 12]) * np.exp(-np.square(away / 26).sum(-1, keepdims=True))


def test_what_moved_far_is_found_by_a_search_alone(monkeypatch):
    monkeypatch.setattr(discrete_search, "SEARCH_VOXELS", 200_000)
    fine = blobs(scales=(1.6,))
    fixed, moving = (
        Volume(fine(places - FIXED.centre_world).astype(np.float32), lattice.affine)
        for lattice, places in ((FIXED, far(FIXED.points())), (MOVING, MOVING.points()))
    )
    pair = AlignedPair(fixed, moving, np.eye(4))
    middle = np.zeros(FIXED.shape, bool)
    middle[9:-9, 10:-10, 8:-8] = True
    points = FIXED.points()[middle]
    errors = {}
    for search in ("none", "normal"):
        # What differs is what the search finds, not what detail makes up for.
        settings = RegistrationOptions(search=search).settings().model_copy(update={"detail_steps": 0})
        transform, report = refine_pair(pair, settings)
        errors[search] = np.linalg.norm(transform(points) - far(points), axis=-1).mean()
    assert [start["name"] for start in report["starts"]] == [LINEAR, DISCRETE]
    linear, discrete = report["starts"]
    assert discrete["worth"] > linear["worth"]
    assert report["directions_apart"] is None  # both began at what the search had made
    assert discrete["worth"] == pytest.approx(discrete["likeness"] - ROUGHNESS_COST * discrete["roughness"])
    assert [level["direction"] for level in report["levels"]] == ["forward", "backward", "forward"]  # one is spared
    assert errors["normal"] < 0.5 * errors["none"]
