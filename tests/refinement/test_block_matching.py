"""Block matching against loops over blocks and displacements."""

import numpy as np
import pytest
from scipy import ndimage

from tfreg.refinement.block_matching import (
    MIN_SHARE,
    Blocks,
    matched,
    matching_costs,
    read_displacement,
    smooth_displacement,
)


def test_costs_agree_with_loops(rng):
    shape, largest = (3, 4, 5), 1
    weights = rng.integers(0, 2, (2, *shape)).astype(np.float32)
    here, there = (Blocks(rng.random((*shape, 12), np.float32), one) for one in weights)
    costs = np.moveaxis(matching_costs(here, there, largest), -1, 0)
    values, seen = np.zeros((2, 27, *shape))
    for block in np.ndindex(shape):
        for number, offset in enumerate(np.ndindex(3, 3, 3)):
            other = tuple(np.array(block) + offset - largest)
            if all(0 <= n < size for n, size in zip(other, shape, strict=True)):
                values[number, *block] = np.square(here.features[block] - there.features[other]).sum()
                seen[number, *block] = there.weights[other]
    mean = (values * seen).sum(0) / np.maximum(seen.sum(0), MIN_SHARE)
    expected = here.weights * np.where(seen, values, mean)
    # All but what is the same for all displacements.
    costs, expected = costs - costs.mean(0), expected - expected.mean(0)
    ones = ndimage.uniform_filter(np.ones(shape), 3, mode="constant")
    expected = np.stack([ndimage.uniform_filter(one, 3, mode="constant") / ones for one in expected])
    np.testing.assert_allclose(costs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("right", [(1, -2, 0), (0.3, -0.4, 1.2)])
def test_coupled_displacement_is_smooth_and_of_low_cost(right):
    """One wild block among blocks that agree follows them, and all are where costs are least, between offsets too."""
    offsets = np.array(list(np.ndindex(5, 5, 5))) - 2
    costs = np.broadcast_to(np.square(offsets - right).sum(1), (6, 5, 7, 125)).copy()
    costs[3, 2, 3] = 0.01 * np.square(offsets - [-2, 2, 2]).sum(1)
    smooth = smooth_displacement(costs.astype(np.float32), 2)
    assert smooth.shape == (6, 5, 7, 3)
    far = np.abs(np.indices((6, 5, 7)) - np.array([3, 2, 3])[:, None, None, None]).max(0) > 2
    np.testing.assert_allclose(smooth[far], np.broadcast_to(right, (far.sum(), 3)), atol=0.05)
    assert np.abs(smooth - right).max() < 0.5


def test_directions_are_inverse_to_each_other(rng):
    """One image is the other moved by a smooth displacement of up to a block and a half."""
    shape, inside = (12, 10, 14), (slice(3, -3),) * 3
    features = ndimage.gaussian_filter(rng.random((*shape, 12)), (1, 1, 1, 0)).astype(np.float32)
    index = np.stack(np.indices(shape), axis=-1)
    bump = 1.5 * np.exp(-np.square((index - [6, 5, 7]) / 4).sum(-1, keepdims=True))
    moved = read_displacement(features, index + bump)
    still, warped = (Blocks(image, np.ones(shape, np.float32)) for image in (moved, features))
    there, back = matched(still, warped, 2), matched(warped, still, 2)
    assert np.abs(there - bump)[inside].mean() < 0.5 * bump[inside].mean()
    np.testing.assert_allclose((there + read_displacement(back, index + there))[inside], 0, atol=0.1)
