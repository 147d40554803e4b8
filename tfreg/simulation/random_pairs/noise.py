"""Smooth random fields: noise at knots, interpolated by cubic B-splines."""

import functools
from collections.abc import Sequence

import numpy as np
from keras import ops

from tfreg.ops.tensor import Tensor
from tfreg.simulation.random_pairs.draws import Draws, per_pair


@functools.cache
def spline_shares(size: int, spacing: float) -> np.ndarray:
    """What each knot contributes to each voxel of a line.

    Args:
        size: Voxels of the line.
        spacing: Voxels from one knot to the next; the second knot lies at the first voxel.

    Returns:
        `(size, knots)` float32: values of the uniform cubic B-spline, scaled so that independent knots of variance 1
        give every voxel the variance 1.
    """
    places = 1 + np.arange(size) / spacing
    apart = np.abs(places[:, None] - np.arange(int(places[-1]) + 3))
    shares = np.where(apart < 1, 2 / 3 - apart**2 + apart**3 / 2, np.clip(2 - apart, 0, None) ** 3 / 6)
    return (shares / np.sqrt((shares**2).sum(1, keepdims=True))).astype("float32")


def smooth_noise(draws: Draws, size: int, spacing: float, channels: int = 1) -> Tensor:
    """Gaussian noise of one scale.

    Args:
        draws: Random numbers.
        size: Voxels along each axis.
        spacing: Voxels between the knots.
        channels: Independent fields a pair.

    Returns:
        `(batch, size, size, size, channels)`, variance 1.
    """
    shares = spline_shares(size, max(spacing, 1.0))
    field = draws.normal(*[shares.shape[1]] * 3, channels)
    for equation in ("ai,bijkc->bajkc", "ai,bjikc->bjakc", "ai,bjkic->bjkac"):
        field = ops.einsum(equation, shares, field)
    return field


def mixed_noise(draws: Draws, size: int, spacings: Sequence[float], channels: int = 1) -> Tensor:
    """Gaussian noise of several scales, of which each pair has its own mixture.

    Args:
        draws, size, channels: As of `smooth_noise`.
        spacings: Voxels between the knots of each scale.

    Returns:
        `(batch, size, size, size, channels)`, variance 1.
    """
    # The amplitude goes with a random power of the scale: from coarse regions to fine ones.
    power = draws.uniform(between=(0.3, 1.6))
    total, variance = 0.0, 0.0
    for spacing in spacings:
        amplitude = (spacing / spacings[0]) ** power
        total = total + per_pair(amplitude) * smooth_noise(draws, size, spacing, channels)
        variance = variance + amplitude**2
    return total / per_pair(ops.sqrt(variance))
