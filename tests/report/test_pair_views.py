"""Intensities in 8 bits, and how a large volume is cut into blocks."""

import numpy as np
import pytest

from tfreg.report.pair_views import PairViews, block_factors, coded
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume


def test_codes_span_the_window_and_keep_what_is_not_reached(rng):
    array = np.array([[[np.nan, -900.0, -500.0, 0.0, 500.0, 900.0]]], np.float32)
    codes = coded(array, (-500.0, 500.0))
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, [[[0, 1, 1, 128, 255, 255]]])

    array = rng.uniform(-500, 500, (4, 5, 6))
    array[1, 2, 3] = np.nan
    volume = Volume(coded(array, (-500.0, 500.0)), np.eye(4))
    views = PairViews(volume, volume, volume, {"fixed": (-500.0, 500.0), "moving": (-500.0, 500.0)})
    np.testing.assert_allclose(views.picture("warped").array, (array + 500) / 1000, atol=0.5 / 254)


def test_volumes_that_do_not_belong_together_are_refused():
    codes = Volume(np.ones((4, 5, 6), np.uint8), np.eye(4))
    for other in (
        Volume(np.ones((4, 5, 6), np.float32), np.eye(4)),
        Volume(np.ones((4, 5, 7), np.uint8), np.eye(4)),
        Volume(np.ones((4, 5, 6), np.uint8), np.diag([1, 2, 1, 1.0])),
    ):
        for place in range(4):
            volumes = [other if place == index else codes for index in range(4)]
            if place == 0 and other.array.dtype == np.uint8:
                volumes[1:] = [codes] * 3
            with pytest.raises(ValueError, match="on one lattice"):
                PairViews(*volumes[:3], windows={}, labels=volumes[3])


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((100, 100, 100), (1, 1, 1), (1, 1, 1)),
        ((512, 512, 100), (0.7, 0.7, 3), (3, 3, 1)),
        ((100, 512, 512), (3, 0.7, 0.7), (1, 3, 3)),
        ((300, 300, 300), (1, 1, 1), (3, 2, 2)),
        ((4000, 4000, 2), (1, 1, 0.01), (3, 2, 2)),
    ],
)
def test_blocks_even_out_the_spacing(shape, spacing, expected):
    lattice = Lattice(shape, np.diag([*spacing, 1.0]))
    assert block_factors(lattice, 3_000_000) == expected
