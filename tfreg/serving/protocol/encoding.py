"""Intensities as whole numbers, in half the bytes."""

import numpy as np

# What stands for the intensity 1.
INT16_SCALE = 32767.0


def whole_numbers(volume: np.ndarray) -> np.ndarray:
    """Intensities in [0, 1] as int16, the same shape."""
    return np.rint(volume * INT16_SCALE).astype(np.int16)
