"""Products along lines, and running sums by them, against NumPy."""

import keras
import numpy as np
import pytest

from tfreg.ops.integration import running_sum
from tfreg.ops.line_products import along_lines

every_axis = pytest.mark.parametrize("axis", range(3))


@every_axis
@pytest.mark.parametrize("channels", [1, 3])
def test_every_line_is_multiplied(axis, channels, rng):
    volume = rng.standard_normal((2, 4, 5, 6, channels)).astype("float32")
    matrix = rng.standard_normal((7, volume.shape[axis + 1]))
    found = keras.ops.convert_to_numpy(along_lines(matrix, keras.ops.convert_to_tensor(volume), axis))
    expected = np.moveaxis(np.tensordot(matrix, volume.astype("float64"), (1, axis + 1)), 0, axis + 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@every_axis
def test_running_sum(path, axis, rng):
    volume = rng.standard_normal((2, 4, 5, 6, 1)).astype("float32")
    with path():
        found = keras.ops.convert_to_numpy(running_sum(keras.ops.convert_to_tensor(volume), axis))
    np.testing.assert_allclose(found, np.cumsum(volume.astype("float64"), axis + 1), atol=1e-5)
