"""Pairs of an image and a negative: which one is inverted, and that a network sees the same as without it."""

from dataclasses import replace

import numpy as np
import pytest
from pairs import ChosenRun
from scenes import blobs, lattice_about

from tfreg.config import Preprocessing, RegistrationOptions, parse_config
from tfreg.io.formats import read_volume
from tfreg.preprocessing.aligned_pair import AlignedPair, align_pair
from tfreg.registration.contrast import negative_side
from tfreg.registration.image_pair import ImagePair
from tfreg.registration.register import register_pair
from tfreg.registration.register_volumes import register
from tfreg.registration.trained_run import load_weights
from tfreg.volumes.volume import Volume

FIXED = lattice_about(np.diag([2.0, 2.5, 3.0]), (24, 21, 17), np.array([3.0, 5, 7]))
MOVING = lattice_about(np.diag([-2.2, 2.4, 2.8]), (22, 23, 18), np.array([1.0, 6, 6]))


def scene(lattice, seed=4):
    """A scene with dark surroundings."""
    points = lattice.points()
    near = np.clip(1.6 - np.linalg.norm((points - [2, 5, 7]) / 20, axis=-1), 0, 1)
    return Volume((blobs(seed)(points) * near).astype(np.float32), lattice.affine)


def negative(volume):
    return volume.with_array(volume.array.max() + volume.array.min() - volume.array)


class Watched(ChosenRun):
    """Remembers what it is shown."""

    def __init__(self, match_contrast, **preprocessing):
        intensity = {"match_contrast": match_contrast}
        super().__init__(preprocessing={"intensity": intensity, "network_grid": {"voxels": 4000}, **preprocessing})
        self.inputs = []

    def predict(self, pair):
        self.inputs.append(pair)
        return super().predict(pair)


def registered(fixed, moving, match_contrast=True, check=False, **preprocessing):
    run = Watched(match_contrast, **preprocessing)
    report = register_pair(ImagePair(fixed, moving), RegistrationOptions(refine=False, check=check), run).report
    return run.inputs, report


def test_the_negative_is_named():
    fixed, moving = scene(FIXED), scene(MOVING)
    assert negative_side(AlignedPair(fixed, moving, np.eye(4))) is None
    assert negative_side(AlignedPair(fixed, negative(moving), np.eye(4))) == "moving"
    # Its border is bright, where what lies outside counts as dark.
    assert negative_side(AlignedPair(negative(fixed), moving, np.eye(4))) == "fixed"
    assert negative_side(AlignedPair(negative(fixed), negative(moving), np.eye(4))) is None


def test_without_a_dark_border_it_is_the_moving_image():
    fixed, moving = (Volume(blobs()(lattice.points()), lattice.affine) for lattice in (FIXED, MOVING))
    assert negative_side(AlignedPair(fixed, negative(moving), np.eye(4))) == "moving"
    assert negative_side(AlignedPair(negative(fixed), moving, np.eye(4))) == "moving"


def test_only_voxels_that_both_have_count():
    """All around the part that both have, the fixed image is dark, and the moving one would be as dark outside it."""
    fixed, moving = scene(FIXED), scene(MOVING)
    middle = (slice(7, 16), slice(7, 16), slice(6, 12))
    shifted = np.array(MOVING.affine)
    shifted[:3, 3] = MOVING.to_world(np.array([7, 7, 6]))
    assert negative_side(AlignedPair(fixed, Volume(negative(moving).array[middle], shifted), np.eye(4))) == "moving"
    half = moving.array.copy()
    half[:10] = negative(moving).array[:10]
    counts = np.zeros(MOVING.shape, np.uint8)
    for part, side in ((slice(0, 10), "moving"), (slice(10, None), None)):
        counts[:] = 0
        counts[part] = 1
        mask = Volume(counts, MOVING.affine)
        assert negative_side(AlignedPair(fixed, moving.with_array(half), np.eye(4), None, mask)) == side


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_unlike_images_are_left_alone(seed):
    fixed, other = blobs()(FIXED.points()), blobs(seed)(MOVING.points())
    pair = AlignedPair(Volume(fixed, FIXED.affine), Volume(other, MOVING.affine), np.eye(4))
    assert negative_side(pair) is None
    flat = Volume(np.ones(MOVING.shape, np.float32), MOVING.affine)
    assert negative_side(AlignedPair(pair.fixed, flat, np.eye(4))) is None
    elsewhere = np.eye(4)
    elsewhere[:3, 3] = 1000
    assert negative_side(AlignedPair(pair.fixed, pair.moving, elsewhere)) is None


@pytest.mark.parametrize("init", ["header", "best", "moments"])
@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_a_network_sees_what_it_sees_without_the_negative(side, init):
    images = {"fixed": scene(FIXED), "moving": scene(MOVING)}
    (expected,), plain = registered(**images, init=init)
    assert plain.contrast_inverted is None
    (seen,), report = registered(**images | {side: negative(images[side])}, init=init)
    assert report.contrast_inverted == side
    assert any(warning.startswith(f"{side}: bright and dark were exchanged") for warning in report.warnings)
    np.testing.assert_allclose(seen.fixed, expected.fixed, rtol=0, atol=1e-4)
    np.testing.assert_allclose(seen.moving, expected.moving, rtol=0, atol=1e-4)
    np.testing.assert_allclose(seen.init, expected.init, rtol=0, atol=1e-2)
    (unmatched,), report = registered(**images | {side: negative(images[side])}, match_contrast=False, init=init)
    assert report.contrast_inverted is None
    assert np.abs(getattr(unmatched, side) - getattr(expected, side)).max() > 0.5


def test_the_other_direction_sees_the_same_images():
    fixed, moving = scene(FIXED), scene(MOVING)
    (_, expected), _ = registered(fixed, moving, check=True)
    (_, seen), _ = registered(fixed, negative(moving), check=True)
    np.testing.assert_allclose(seen.fixed, expected.fixed, rtol=0, atol=1e-4)
    np.testing.assert_allclose(seen.moving, expected.moving, rtol=0, atol=1e-4)
    pair = align_pair(fixed, negative(moving), Preprocessing(), inverted="moving")
    assert pair.reversed().inverted == "fixed"
    assert pair.reversed().reversed().inverted == "moving"


def test_what_was_not_measured_stays_dark():
    moving = negative(scene(MOVING))
    array = moving.array.copy()
    array[:5] = np.nan
    pair = align_pair(scene(FIXED), moving.with_array(array), Preprocessing(), inverted="moving")
    assert not pair.moving.array[:5].any()
    assert pair.moving.array[5:].max() == 1


def test_only_the_weights_that_ship_ask_for_it_unasked():
    assert not Preprocessing().intensity.match_contrast
    assert load_weights().config.preprocessing.intensity.match_contrast


def test_the_weights_that_ship_take_a_negative(shared_data):
    fixed, moving = (read_volume(shared_data / "cardiac" / f"patient001_{phase}.nii.gz") for phase in ("ES", "ED"))
    points = fixed.lattice.points()[::4, ::4, ::2]
    weights = load_weights()
    content = weights.config.model_dump()
    content["preprocessing"]["network_grid"]["voxels"] = 40_000
    run = replace(weights, config=parse_config(content))
    maps = [
        register(fixed, image, model=run, refine=False, passes=2).transform(points)
        for image in (moving, negative(moving))
    ]
    assert np.linalg.norm(maps[0] - points, axis=-1).max() > 3  # mm
    assert np.linalg.norm(maps[1] - maps[0], axis=-1).max() < 0.05
