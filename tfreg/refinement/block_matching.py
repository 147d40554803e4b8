"""Blocks of two images, each compared with the other's blocks around it: one smooth displacement of low cost.

In NumPy: block matching is many small products of matrices, and nothing has to be traced for the sizes of a pair.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tfreg.runtime.threads import in_threads
from tfreg.transforms.interpolation import sampled

# Weights of the distance from the smooth displacement, one after the other.
COUPLINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

# So often both directions are brought together.
CONSISTENCY_STEPS = 15

# Costs that rise by less than this on both sides are level.
SMALLEST_RISE = 1e-12

# A block of which less was measured says nothing.
MIN_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class Blocks:
    """One image of a pair.

    Args:
        features: `(i, j, k, channels)` float32, means over what was measured of each block.
        weights: `(i, j, k)` float32, how much of it was.
    """

    features: np.ndarray
    weights: np.ndarray


def matched(still: Blocks, warped: Blocks, largest: int) -> np.ndarray:
    """The displacement that brings one image onto the other, found in both directions, which are inverse to each other.

    Args:
        still, warped: `Blocks` of one lattice.
        largest: Largest displacement along each axis, blocks.

    Returns:
        `(i, j, k, 3)` float32, blocks.

    Reference:
        Heinrich et al., MICCAI 2014 (coupled convex optimisation); Siebert et al., MICCAI 2021 workshops (both
        directions).
    """
    forward, backward = in_threads(
        lambda sides: smooth_displacement(matching_costs(*sides, largest), largest), [(still, warped), (warped, still)]
    )
    index = np.stack(np.indices(forward.shape[:3], np.float32), axis=-1)
    for _ in range(CONSISTENCY_STEPS):
        forward, backward = in_threads(
            lambda pair: (pair[0] - read_displacement(pair[1], index + pair[0])) / 2,
            [(forward, backward), (backward, forward)],
        )
    return forward


def matching_costs(here: Blocks, there: Blocks, largest: int) -> np.ndarray:
    """What every displacement costs at every block, smoothed, but for what is the same for all displacements.

    It is the squared distance of the features. Where the other image was not measured a displacement costs what the
    block's others do on average.

    Args:
        here, there: `Blocks` of one lattice.
        largest: Largest displacement along each axis, blocks.

    Returns:
        `(i, j, k, n)` float32, n = (2 largest + 1)³, the displacement along k the first to change.
    """
    window, shape = 2 * largest + 1, here.weights.shape
    # |a - b|² = |a|² - 2 a b + |b|²: a product of two vectors but for |a|².
    squares = np.square(there.features).sum(-1, keepdims=True)
    seen = there.weights[..., None]
    measured = seen * np.concatenate([there.features, squares], axis=-1)
    near = np.concatenate([-2 * here.features, np.ones((*shape, 1), np.float32)], axis=-1)
    sums, counts = (_window_sums(values, window) for values in (measured, seen))
    mean = (near * sums).sum(-1, keepdims=True) / np.maximum(counts, MIN_SHARE)
    left = here.weights[..., None] * np.concatenate([near, mean], axis=-1)
    # Around the image nothing was measured.
    around = [*[(largest, largest)] * 3, (0, 0)]
    right = np.concatenate([np.pad(measured, around), np.pad(1 - seen, around, constant_values=1)], axis=-1)
    right = np.ascontiguousarray(np.swapaxes(right, 2, 3))  # (i, j, channels, k)
    result = np.empty((*shape, window**2, window), np.float32)
    for number, (i, j) in enumerate(np.ndindex(window, window)):
        lines = left @ right[i : i + shape[0], j : j + shape[1]]  # (i, j, k, k + 2 largest)
        along_i, along_j, along_k, step = lines.strides
        band = np.lib.stride_tricks.as_strided(
            lines, (*shape, window), (along_i, along_j, along_k + step, step), writeable=False
        )
        result[..., number, :] = band
    return _smoothed(result.reshape(*shape, -1))


def smooth_displacement(costs: np.ndarray, largest: int) -> np.ndarray:
    """A smooth displacement of low cost.

    Args:
        costs: What `matching_costs` returns.
        largest: Largest displacement along each axis, blocks.

    Returns:
        `(i, j, k, 3)` float32, blocks.
    """
    window, shape = 2 * largest + 1, costs.shape[:3]
    steps = np.arange(-largest, largest + 1, dtype=np.float32)
    costs = costs.reshape(-1, window, window**2)
    smooth, total = None, costs
    for coupling in (*COUPLINGS, None):
        smooth = _smoothed(_least(total.reshape(len(costs), -1), window).reshape(*shape, 3))
        if coupling is not None:
            i, j, k = (coupling * np.square(steps - component[:, None]) for component in smooth.reshape(-1, 3).T)
            total = costs + i[:, :, None]
            total += (j[:, :, None] + k[:, None, :]).reshape(len(costs), 1, -1)
    return smooth


def read_displacement(displacement: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A displacement `(i, j, k, n)` between its blocks, at `(..., 3)`; outside, the nearest block's."""
    return np.stack([sampled(component, points) for component in np.moveaxis(displacement, -1, 0)], axis=-1)


def _window_sums(values, window):
    """Sums over a cube of blocks around each, of what lies inside."""
    means = ndimage.uniform_filter(values, (window, window, window, 0), mode="constant")
    return means * window**3


def _smoothed(values):
    """Means of `(i, j, k, channels)` over a cube of three blocks around each along every axis, of what lies inside."""
    for axis in range(3):
        lines = np.moveaxis(values, axis, 0)
        sums = values.copy()
        along = np.moveaxis(sums, axis, 0)
        along[1:] += lines[:-1]
        along[:-1] += lines[1:]
        values = sums
    i, j, k = np.ix_(*(1 + np.minimum(n, 1) + np.minimum(n[::-1], 1) for n in map(np.arange, values.shape[:3])))
    values /= (i * j * k).astype(np.float32)[..., None]
    return values


def _least(costs, window):
    """Where costs `(blocks, n)` are least, between the displacements too, by parabolas: `(blocks, 3)`, blocks."""
    best, place = costs.argmin(axis=1), np.arange(len(costs))
    value, steps = costs[place, best], np.stack(np.unravel_index(best, (window,) * 3), axis=1)
    least = (steps - window // 2).astype(np.float32)
    for axis, step in enumerate((window**2, window, 1)):
        below, above = (costs[place, np.clip(best + side, 0, costs.shape[1] - 1)] - value for side in (-step, step))
        vertex = (below - above) / (2 * np.maximum(below + above, SMALLEST_RISE))
        inside = (steps[:, axis] > 0) & (steps[:, axis] < window - 1)
        least[:, axis] += np.where(inside, vertex, 0)
    return least
