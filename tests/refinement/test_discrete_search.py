"""The discrete search against known maps."""

import numpy as np
import pytest
from scenes import blobs
from scipy.spatial.transform import Rotation

from tfreg.config import Refinement
from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.pyramid import cubes
from tfreg.refinement import discrete_search as module
from tfreg.refinement.discrete_search import discrete_search
from tfreg.refinement.refine import identity_start
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume


def centred(lattice, centre_world):
    """A lattice moved to a centre, mm."""
    affine = np.array(lattice.affine)
    affine[:3, 3] += centre_world - lattice.centre_world
    return Lattice(lattice.shape, affine)


TURN = Rotation.from_euler("xyz", [15, -25, 40], degrees=True).as_matrix()
# Thick slices, oblique and flipped.
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN @ np.diag([2.0, -1.6, 4.0])
AFFINE[:3, 3] = [-30.0, 20.0, 100.0]
LATTICE = Lattice((36, 44, 16), AFFINE)
OTHER = centred(Lattice((50, 44, 48), np.diag([-2.2, 2.4, 2.0, 1])), LATTICE.centre_world + np.array([3, -4, 2]))


@pytest.fixture(autouse=True)
def fewer_cubes(monkeypatch):
    monkeypatch.setattr(module, "SEARCH_VOXELS", 150_000)


def scene(lattice, world_map=lambda points: points):
    """What a lattice shows of the scene, its points mapped before."""
    return Volume(blobs()(world_map(lattice.points()) - LATTICE.centre_world).astype(np.float32), lattice.affine)


def found(fixed, moving, init=None, masks=(None, None)):
    init = np.eye(4) if init is None else init
    start, _ = identity_start(fixed.lattice, init, Refinement())
    return discrete_search(AlignedPair(fixed, moving, init, *masks), start)


def errors_voxels(transform, lattice, world_map, where=None):
    """How far from a world map a transform lies, in voxels of the search, at the voxels that count."""
    points = lattice.points()
    errors = (
        np.linalg.norm(transform(points) - world_map(points), axis=-1)
        / cubes(lattice, module.SEARCH_VOXELS, module.SIZE_STEP).spacing[0]
    )
    return errors if where is None else errors[where]


def inner(shape, share=0.2):
    """The middle of a volume, `(i, j, k)` bool."""
    inside = np.zeros(shape, bool)
    inside[tuple(slice(int(share * n), n - int(share * n)) for n in shape)] = True
    return inside


def same(points):
    return points


def well_inside(lattice, points):
    """Which points lie in a field of view, a tenth of it away from its borders."""
    return (np.abs(lattice.to_voxel(points) / (np.array(lattice.shape) - 1) - 0.5) < 0.4).all(-1)


def test_equal_images_stay():
    image = scene(LATTICE)
    np.testing.assert_allclose(found(image, image).deformation.logits, 0, atol=1e-5)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_shift_of_a_fifth_of_the_field(inverted):
    """Beyond the largest of a slope: along every axis, onto another lattice."""
    shift = np.array([12.0, -10, 11])
    fixed, moving = scene(LATTICE), scene(OTHER, lambda points: points - shift)
    if inverted:
        moving = moving.with_array(1 - moving.array)
    transform = found(fixed, moving)
    both = inner(LATTICE.shape) & (
        np.abs(OTHER.to_voxel(LATTICE.points() + shift) / (np.array(OTHER.shape) - 1) - 0.5) < 0.4
    ).all(-1)
    assert both.sum() > 2000
    errors = errors_voxels(transform, LATTICE, lambda points: points + shift, both)
    assert np.median(errors) < 1.5
    assert np.mean(errors < 2) > 0.95


def bent(points):
    """A smooth map that moves the middle of the scene by up to 14 mm."""
    away = points - LATTICE.centre_world
    return points + np.array([14.0, -10, 8]) * np.exp(-np.square(away / 40).sum(-1, keepdims=True))


def test_a_deformation_is_found_and_its_inverse_the_other_way_round():
    fixed, moving = scene(LATTICE, bent), scene(OTHER)
    inside = inner(LATTICE.shape)
    moved = errors_voxels(lambda points: points, LATTICE, bent, inside)
    transform = found(fixed, moving)
    assert errors_voxels(transform, LATTICE, bent, inside).mean() < 0.25 * moved.mean()
    np.testing.assert_array_equal(found(fixed, moving).deformation.logits, transform.deformation.logits)
    back = found(moving, fixed)
    points = LATTICE.points()[inside]
    there = bent(points)
    visible = well_inside(OTHER, there)
    round_trip = np.linalg.norm(back(there[visible]) - points[visible], axis=-1)
    assert round_trip.mean() < 0.3 * np.linalg.norm(there[visible] - points[visible], axis=-1).mean()


def test_what_a_mask_leaves_out_hardly_pulls():
    """An object that alone has moved, masked in either image."""
    image, texture = scene(LATTICE), np.random.default_rng(0).random((14, 16, 8))
    here, there = image.array.copy(), image.array.copy()
    here[8:22, 12:28, 4:12] = there[14:28, 8:24, 4:12] = texture
    counts = np.ones((2, *LATTICE.shape), np.uint8)
    counts[0, 7:23, 11:29, 3:13] = counts[1, 13:29, 7:25, 3:13] = 0
    images, masks = ([Volume(array, AFFINE) for array in arrays] for arrays in ((here, there), counts))
    outside = counts.min(0) > 0
    plain, *masked = (
        errors_voxels(found(*images, masks=chosen), LATTICE, same)[outside].mean()
        for chosen in ((None, None), (masks[0], None), (None, masks[1]))
    )
    assert plain > 0.3
    assert max(masked) < 0.8 * plain


def test_outside_the_field_of_view_nothing_is_dark():
    """The moving image ends in the middle of the fixed one, and has not moved."""
    image = scene(LATTICE)
    middle = LATTICE.shape[0] // 2
    errors = errors_voxels(found(image, Volume(image.array[:middle], AFFINE)), LATTICE, same)
    assert errors[:middle].mean() < 0.5
    assert np.mean(errors[:middle] < 1) > 0.9


def test_lattice_has_as_many_cubes_for_any_volume():
    for lattice in (
        LATTICE,
        OTHER,
        Lattice((300, 200, 150), np.eye(4)),
        Lattice((250, 250, 9), np.diag([1, 1, 8.0, 1])),
    ):
        search = cubes(lattice, module.SEARCH_VOXELS, module.SIZE_STEP)
        assert np.ptp(search.spacing) < 1e-6
        assert not any(n % block for n in search.shape for block, _ in module.ROUNDS)
        assert module.SEARCH_VOXELS <= np.prod(search.shape) < 2.5 * module.SEARCH_VOXELS
        np.testing.assert_allclose(search.centre_world, lattice.centre_world, atol=1e-6)
