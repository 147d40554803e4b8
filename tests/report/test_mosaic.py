"""A volume as a picture, and back."""

import io

import numpy as np
import pytest
from PIL import Image

from tfreg.report.mosaic import mosaic


@pytest.mark.parametrize(
    "shape", [(4, 5, 6), (7, 3, 2), (2, 9, 13), (30, 4, 1), (3, 40, 5), (4, 5, 6, 3), (5, 3, 7, 3)]
)
def test_every_voxel_is_where_it_says(rng, shape):
    array = rng.integers(0, 256, shape, np.uint8)
    made = mosaic(array)
    picture = np.array(Image.open(io.BytesIO(made.png)))
    x, y, z = np.indices(shape[:3])
    rows, columns = z // made.columns * shape[1] + y, z % made.columns * shape[0] + x
    np.testing.assert_array_equal(picture[rows, columns], array)
    assert made.checksum == array.sum()


def test_it_is_about_as_wide_as_high():
    width, height = Image.open(io.BytesIO(mosaic(np.zeros((60, 50, 100), np.uint8)).png)).size
    assert 0.7 < width / height < 1.4


@pytest.mark.parametrize("array", [np.zeros((3, 4), np.uint8), np.zeros((3, 4, 5, 2), np.uint8), np.zeros((3, 4, 5))])
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match=r"Received: .*\(3, 4"):
        mosaic(array)
