"""Random pairs: the true displacement is true, the same number gives the same pair, options do what they say."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from tfreg.config import parse_section
from tfreg.config.simulated_pairs import SimulatedPairs
from tfreg.errors import UserError
from tfreg.simulation.random_pairs.displacement import inverted, random_displacement, steepness
from tfreg.simulation.random_pairs.draws import Draws
from tfreg.simulation.random_pairs.noise import smooth_noise, spline_shares
from tfreg.simulation.random_pairs.pairs import ACCURACY, RandomPairs

SIDE, BATCH = 24, 4
# As perfect scanners would see smooth bodies: what is left is the error of one interpolation.
PERFECT = {
    "sides": (SIDE,),
    "batch_sizes": (BATCH,),
    "shapes": {"tissues": (1, 1), "tubes": 0, "body": 0, "texture": 0.4, "texture_spacing": 6, "blobs": 0},
    "contrasts": {"same": 1, "inverted": 0, "unrelated": 0},
    "displacements": {"translation": 2, "amplitudes": (2, 1, 0), "spacings": (16, 8, 7.5), "amount": (0.7, 1)},
    "scanner": {
        "blur": 0,
        "thick_slices": 0,
        "slice_blur": 0,
        "bias": 0,
        "noise": 0,
        "exponent": 0,
        "not_scanned": 0,
        "window": None,
    },
}


def drawn(seed=(3, 1), **changes):
    """A batch of pairs, as arrays."""
    options = parse_section(SimulatedPairs, PERFECT | changes, "test")
    return {name: np.asarray(value) for name, value in RandomPairs(options, SIDE, BATCH)(seed).items()}


@pytest.fixture(scope="module")
def perfect():
    return drawn()


def warped(moving, displacement):
    """A moving image at p + displacement(p), by SciPy."""
    places = np.stack(np.indices(moving.shape), axis=-1) + displacement
    return ndimage.map_coordinates(moving, np.moveaxis(places, -1, 0), order=1, mode="nearest")


def error(pair, number, displacement):
    """Mean absolute difference between the fixed and the warped image, of what both show, over its value unwarped."""
    fixed, moving = pair["fixed"][number, ..., 0], pair["moving"][number, ..., 0]
    seen = pair["weight"][number, ..., 0] == 1
    apart = np.abs(fixed - warped(moving, displacement))[seen].mean()
    return apart / np.abs(fixed - moving)[seen].mean()


@pytest.mark.parametrize("number", range(BATCH))
def test_the_true_displacement_is_true(perfect, number):
    """Opposite signs, swapped axes and half a voxel more all are further away than the truth."""
    true = perfect["displacement"][number].astype("float64")
    assert np.abs(true).mean() > 0.4
    right = error(perfect, number, true)
    # Half of a batch is made by the displacement itself, half by its inverse: a sign error is one of both.
    assert right < 0.2
    wrong = {"sign": -true, "axes": true[..., ::-1], "half a voxel": true + 0.5, "half a voxel less": true - 0.5}
    for name, other in wrong.items():
        assert error(perfect, number, other) > 2 * right, (name, right)


def test_a_displacement_itself_is_exact(perfect):
    """The second half of a batch: nothing is interpolated twice, so that warping repeats the fixed image."""
    for number in range(BATCH // 2, BATCH):
        assert error(perfect, number, perfect["displacement"][number]) < 0.03


def test_the_same_seed_gives_the_same_pairs(perfect):
    again, other = drawn(), drawn(seed=(3, 2))
    for name, values in perfect.items():
        np.testing.assert_array_equal(again[name], values)
    assert np.abs(other["fixed"] - perfect["fixed"]).mean() > 0.05


def test_contrasts(perfect):
    inverted_pairs = drawn(contrasts={"same": 0, "inverted": 1, "unrelated": 0})
    for number in range(BATCH):
        for pair, sign in ((perfect, 1), (inverted_pairs, -1)):
            moved = warped(pair["moving"][number, ..., 0], pair["displacement"][number])
            assert sign * np.corrcoef(moved.ravel(), pair["fixed"][number].ravel())[0, 1] > 0.8


def test_what_was_not_scanned_counts_little():
    pair = drawn(scanner=PERFECT["scanner"] | {"not_scanned": 1, "slab": 0.5}, supervision={"unseen": 0.25})
    weight = pair["weight"]
    assert set(np.unique(weight)) == {0.25, 1.0}
    empty = 0
    for number, axis in np.ndindex(BATCH, 3):
        for plane in range(SIDE):
            if not np.take(pair["fixed"][number], plane, axis).any():
                empty += 1
                assert (np.take(weight[number], plane, axis) == 0.25).all()
    assert empty > BATCH
    assert (weight == 0.25).mean() > 0.1


def test_the_defaults_are_finite_and_in_range():
    options = SimulatedPairs()
    batch = {name: np.asarray(value) for name, value in RandomPairs(options, SIDE, 3)((1, 2)).items()}
    assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in batch.values())
    for name in ("fixed", "moving"):
        assert batch[name].shape == (3, SIDE, SIDE, SIDE, 1)
        assert batch[name].min() == 0
        assert batch[name].max() <= 1
        assert (batch[name].std((1, 2, 3)) > 0.03).all()
    # Lengths are of the largest side: at 24 of 64 voxels the translation is at most 2.4.
    assert np.abs(batch["displacement"].mean((1, 2, 3))).max() < 6.4


def test_displacements_invert(rng):
    options = SimulatedPairs().displacements
    field = np.asarray(random_displacement(Draws(3, keras.random.SeedGenerator(5)), 20, 1.0, options))
    assert np.abs(field).max() > 1
    assert (np.asarray(steepness(field)) <= options.max_slope + 1e-5).all()
    points = 4 + rng.random((1, 5, 6, 7, 3)).astype("float32") * 11
    inverse, apart = (np.asarray(value) for value in inverted(field, points))
    assert apart.max() < ACCURACY
    for number in range(3):
        places = np.moveaxis(points[0] + inverse[number], -1, 0)
        there = [ndimage.map_coordinates(field[number, ..., d], places, order=1, mode="nearest") for d in range(3)]
        np.testing.assert_allclose(places + np.stack(there), np.moveaxis(points[0], -1, 0), atol=ACCURACY)


def test_noise_has_unit_variance_and_its_scale():
    noise = np.asarray(smooth_noise(Draws(8, keras.random.SeedGenerator(2)), 24, 6.0, 4))
    assert noise.shape == (8, 24, 24, 24, 4)
    assert noise.var() == pytest.approx(1, abs=0.1)
    for axis in (1, 2, 3):
        near, far = (np.mean(noise * np.roll(noise, shift, axis)) for shift in (1, 12))
        assert near > 0.85
        assert abs(far) < 0.1
    shares = spline_shares(7, 2.0)
    np.testing.assert_allclose((shares**2).sum(1), 1, rtol=1e-6)
    # A voxel on a knot sees it and its two neighbours, as 4 to 1 to 1.
    np.testing.assert_allclose(shares[2, 1:4] / shares[2, 1], [1, 4, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"contrasts": {"same": 0.5}}, "must add up to 1"),
        ({"sides": (64, 64), "batch_sizes": (2, 2)}, "names one of them twice"),
        ({"batch_sizes": (2, 2)}, "`sides` and `batch_sizes` must have the same length"),
        ({"displacements": {"max_slope": 0.9}}, "displacements.max_slope"),
        ({"shapes": {"tissues": (5, 3)}}, "two rising numbers"),
    ],
)
def test_options_that_do_not_fit(changes, text):
    with pytest.raises(UserError, match=text):
        parse_section(SimulatedPairs, PERFECT | changes, "config")
