"""Smoothing by products, against SciPy's filter."""

import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from tfreg.ops.gaussian_smoothing import smoothed


@pytest.mark.parametrize("sigmas", [(0.4, 1.3, 2.2), (0.0, 0.0, 0.9), (3.9, 0.6, 0.1)], ids=str)
def test_it_is_scipys(rng, sigmas):
    """Kernels longer than the axis among them."""
    volume = rng.random((2, 4, 9, 13, 2)).astype(np.float32)
    values = ops.convert_to_numpy(smoothed(volume, [ops.convert_to_tensor(s, "float32") for s in sigmas]))
    for b in range(2):
        for channel in range(2):
            expected = ndimage.gaussian_filter(volume[b, ..., channel], sigmas, mode="nearest")
            np.testing.assert_allclose(values[b, ..., channel], expected, rtol=0, atol=2e-6)


def test_without_a_width_nothing_changes(rng):
    volume = rng.random((1, 4, 5, 6, 1)).astype(np.float32)
    zero = ops.zeros(())
    np.testing.assert_array_equal(ops.convert_to_numpy(smoothed(volume, (zero, zero, zero))), volume)


def test_a_width_beyond_the_axis_counts_as_the_axis(rng):
    volume = rng.random((1, 4, 5, 6, 1)).astype(np.float32)
    huge, axis = (
        smoothed(volume, [ops.convert_to_tensor(s, "float32") for s in sigmas]) for sigmas in ((1e9,) * 3, (4, 5, 6))
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(huge), ops.convert_to_numpy(axis))
