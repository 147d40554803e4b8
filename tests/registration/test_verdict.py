"""What report.json says for and against a result, against closed forms."""

import numpy as np
import pytest
from scipy import ndimage

from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.registration.register_volumes import register
from tfreg.registration.verdict import (
    LIMITS,
    LIMITS_OF_AGREEMENT,
    LIMITS_OF_PREDICTION,
    exceedance,
    quality_indicators,
    verdict,
)
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

# Oblique, with axes in another order than the world's.
AFFINE = np.array([[0.0, -2.0, 0.3, 10], [3.0, 0.1, 0.0, -40], [0.2, 0.0, 2.5, 5], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def image():
    """A textured volume with intensities in [0, 1]."""
    array = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(30, 40, 36)), 2)
    array = (array - array.min()) / np.ptp(array)
    return Volume(array.astype(np.float32), AFFINE)


def moved(image, matrix=None, shift_mm=(0, 0, 0)):
    """A linear `Transform` about the image's centre."""
    world = np.eye(4)
    world[:3, :3] = np.eye(3) if matrix is None else matrix
    centre = image.lattice.centre_world
    world[:3, 3] = centre - world[:3, :3] @ centre + shift_mm
    network = np.linalg.inv(image.affine) @ world @ image.affine
    middle = image.lattice.centre_voxel
    shift = network[:3, 3] + network[:3, :3] @ middle - middle
    return Transform(image.lattice, np.concatenate([network[:3, :3], shift[:, None]], axis=1), None, np.eye(4))


def test_identity_is_trusted(image):
    indicators = quality_indicators(AlignedPair(image, image, np.eye(4)), moved(image), moved(image))
    assert indicators["local_correlation"] == pytest.approx(1, abs=1e-4)
    assert indicators["local_correlation_before"] == pytest.approx(1, abs=1e-4)
    assert indicators["outside_fraction"] == 0
    assert indicators["implausible_volume_fraction"] == 0
    assert indicators["linear_volume_ratio"] == pytest.approx(1)
    assert indicators["inverse_consistency_mm"] == pytest.approx({"mean": 0, "median": 0, "p95": 0}, abs=1e-9)
    assert verdict(indicators) == ("pass", [])


def test_inverse_consistency_is_the_distance_to_the_identity(image):
    forward, backward = moved(image, shift_mm=(3, -2, 1)), moved(image, shift_mm=(0, 2, -1))
    indicators = quality_indicators(AlignedPair(image, image, np.eye(4)), forward, backward)
    assert indicators["inverse_consistency_mm"] == pytest.approx({"mean": 3, "median": 3, "p95": 3})
    size_mm = np.mean(np.array(image.shape) * image.spacing)
    assert indicators["inverse_consistency"] == pytest.approx(3 / size_mm)
    exact = quality_indicators(AlignedPair(image, image, np.eye(4)), forward, moved(image, shift_mm=(-3, 2, -1)))
    assert exact["inverse_consistency_mm"]["p95"] < 1e-9


def test_backward_transform_is_taken_where_the_forward_one_leads(image):
    double, half = 2.0 * np.eye(3), 0.5 * np.eye(3)
    right = quality_indicators(AlignedPair(image, image, np.eye(4)), moved(image, double), moved(image, half))
    assert right["inverse_consistency_mm"]["p95"] < 1e-9
    wrong = quality_indicators(AlignedPair(image, image, np.eye(4)), moved(image, half), moved(image, half))
    assert wrong["inverse_consistency_mm"]["mean"] > 10


def test_structure_outside_the_moving_image(image):
    axis_mm = image.affine[:3, 0] * 15  # half the field of view along the first axis
    indicators = quality_indicators(AlignedPair(image, image, np.eye(4)), moved(image, shift_mm=axis_mm))
    assert indicators["outside_fraction"] == pytest.approx(0.5, abs=0.06)
    gone = quality_indicators(AlignedPair(image, image, np.eye(4)), moved(image, shift_mm=(0, 0, 1000)), moved(image))
    assert gone["outside_fraction"] == 1
    assert np.isnan(gone["local_correlation"])
    judgement, reasons = verdict(gone)
    assert judgement == "review"
    assert "100% of the fixed image's structure is mapped outside the moving image" in reasons


@pytest.mark.parametrize(("stretch", "fraction"), [(1.5, 0), (1.7, 1), (1 / 1.5, 0), (1 / 1.7, 1)])
def test_volume_changes_of_more_than_four_times_are_implausible(image, stretch, fraction):
    indicators = quality_indicators(AlignedPair(image, image, np.eye(4)), moved(image, stretch * np.eye(3)))
    assert indicators["implausible_volume_fraction"] == pytest.approx(fraction)
    assert indicators["linear_volume_ratio"] == pytest.approx(stretch**3)


def test_init_is_neither_stretch_nor_miss(image):
    init = moved(image, shift_mm=(30, 0, 0)).linear_world
    elsewhere = Volume(image.array, init @ image.affine)
    indicators = quality_indicators(AlignedPair(image, elsewhere, init), Transform.identity(image.lattice, init))
    assert indicators["local_correlation_before"] == indicators["local_correlation"] == pytest.approx(1, abs=1e-4)


def test_masks_leave_out_what_is_wrong(image):
    spoiled = image.array.copy()
    spoiled[:, :16] = np.random.default_rng(0).random((30, 16, 36))
    mask = np.ones(image.shape, np.uint8)
    mask[:, :20] = 0
    plain, *masked = (
        quality_indicators(AlignedPair(image, image.with_array(spoiled), np.eye(4), *masks), moved(image))
        for masks in ((None, None), (image.with_array(mask), None), (None, image.with_array(mask)))
    )
    assert plain["local_correlation"] < 0.8
    assert [indicators["local_correlation"] for indicators in masked] == pytest.approx([1, 1], abs=0.02)


def test_verdict_names_what_is_beyond_its_limit():
    good = {
        "inverse_consistency": LIMITS["inverse_consistency"],
        "inverse_consistency_mm": {"mean": 12.34, "median": 1.0, "p95": 30.0},
        "local_correlation": LIMITS["local_correlation"],
        "outside_fraction": LIMITS["outside_fraction"],
        "implausible_volume_fraction": LIMITS["implausible_volume_fraction"],
        "linear_volume_ratio": 1 / LIMITS["linear_volume_ratio"],
        "rival": LIMITS["rival"],
        "directions_apart": None,
        "expected_error": None,
        "expected_error_mm": None,
    }
    usual = LIMITS.keys() - {"directions_apart", "expected_error"}
    assert exceedance(good) == pytest.approx(dict.fromkeys(usual, 1.0))
    agreed = good | LIMITS_OF_AGREEMENT | {"directions_apart": LIMITS["directions_apart"]}
    assert exceedance(agreed) == pytest.approx(dict.fromkeys(usual | {"directions_apart"}, 1.0))
    predicted = good | LIMITS_OF_PREDICTION | {"expected_error": LIMITS["expected_error"]}
    assert exceedance(predicted) == pytest.approx(dict.fromkeys(usual | {"expected_error"}, 1.0))
    assert verdict(predicted) == ("pass", [])
    unsure = {"expected_error": 1.1 * LIMITS["expected_error"], "expected_error_mm": {"mean": 7.654, "median": 2.0}}
    assert verdict(predicted | unsure) == ("review", ["the network expects to be off by 7.65 mm on average"])
    # What a network says of itself excuses images that would not be alike enough otherwise, and no others.
    unlike = {"local_correlation": (LIMITS["local_correlation"] + LIMITS_OF_PREDICTION["local_correlation"]) / 2}
    assert verdict(predicted | unlike)[0] == "pass"
    assert verdict(good | unlike)[0] == verdict(predicted | {"local_correlation": 0.0})[0] == "review"
    assert verdict(good) == ("pass", [])
    assert verdict(good, certified=False) == ("review", ["the written field folds"])
    bad = good | {"inverse_consistency": 1.5 * LIMITS["inverse_consistency"], "local_correlation": 0.0}
    assert exceedance(bad)["inverse_consistency"] == pytest.approx(1.5)
    judgement, reasons = verdict(bad)
    assert judgement == "review"
    assert reasons == [
        "from fixed to moving and back it misses by 12.3 mm on average",
        "the aligned images hardly resemble each other (local correlation 0.00)",
    ]
    assert verdict(bad, ignored=("local_correlation",))[1] == reasons[:1]
    shrunk = good | {"linear_volume_ratio": 0.3}
    assert verdict(shrunk) == ("review", ["the linear part alone changes the volume 0.30-fold"])
    assert (
        verdict(good | {"linear_volume_ratio": 3.0})[0] == verdict(good | {"linear_volume_ratio": -1.0})[0] == "review"
    )
    unchecked = bad | {"inverse_consistency": None, "inverse_consistency_mm": None}
    assert "inverse_consistency" not in exceedance(unchecked)
    assert len(verdict(unchecked)[1]) == 1
    assert exceedance(bad | {"local_correlation": float("nan")})["local_correlation"] == np.inf


def test_register_checks_the_other_direction(image, tools):
    """A shifted copy passes; noise in its place does not."""
    rng = np.random.default_rng(8)
    object_ = tools.textured(rng, (24, 32, 28), AFFINE)
    shifted = Volume(object_.array, moved(object_, shift_mm=(4, -3, 2)).linear_world @ AFFINE)
    options = {"refine": True, "preset": "fast", "parts": "linear"}
    result = register(object_, shifted, check=True, **options | {"parts": "both"})
    assert result.report.verdict == "pass"
    assert result.report.reasons == ()
    assert result.report.quality_indicators.inverse_consistency_mm.mean < 1
    assert result.report.seconds["check"] > 0
    noise = shifted.with_array(rng.normal(size=shifted.shape).astype(np.float32))
    failed = register(object_, noise, check=True, **options)
    assert failed.report.verdict == "review"
    assert any("miss" in reason for reason in failed.report.reasons)
    unchecked = register(object_, shifted, **options)
    assert unchecked.report.quality_indicators.inverse_consistency is None
    assert unchecked.report.verdict == "pass"


def test_lattice_of_other_orientation(image):
    """The same image stored with its axes swapped and flipped gives the same indicators."""
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, image.shape[0] - 1
    swap = np.eye(4)[[1, 0, 2, 3]]
    array = np.flip(image.array, 0).transpose(1, 0, 2)
    other = Volume(np.ascontiguousarray(array), image.affine @ flip @ swap)
    coarse = Volume(image.array, Lattice(image.shape, AFFINE).affine)
    ours, theirs = (
        quality_indicators(AlignedPair(coarse, moving, np.eye(4)), moved(image)) for moving in (image, other)
    )
    assert ours["local_correlation"] == pytest.approx(theirs["local_correlation"], abs=1e-4)


def test_directions_that_disagree_matter_where_images_are_not_alike():
    indicators = {
        "inverse_consistency": None,
        "inverse_consistency_mm": None,
        "local_correlation": 0.8,
        "outside_fraction": 0.0,
        "implausible_volume_fraction": 0.0,
        "linear_volume_ratio": 1.0,
        "rival": 0.0,
        "directions_apart": 1.5,
        "expected_error": None,
    }
    judgement, reasons = verdict(indicators)
    assert judgement == "review"
    assert reasons == ["the deformations of the two directions lie 1.50 times as far apart as they move"]
    assert verdict(indicators | {"local_correlation": 0.99}) == ("pass", [])
    assert verdict(indicators | {"directions_apart": None}) == ("pass", [])
    unlike = indicators | {"local_correlation": 0.5}
    assert verdict(unlike | {"directions_apart": 0.5}) == ("pass", [])
    assert verdict(unlike | {"directions_apart": None})[0] == "review"
    assert verdict(indicators | {"directions_apart": 1.0, "rival": 0.97})[1] == [
        "quite another linear alignment makes the images 97% as alike as the one chosen"
    ]
