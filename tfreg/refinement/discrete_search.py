"""A deformation found by comparing displacements one by one: it finds what no slope of a similarity leads to."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import ops

from tfreg.losses.local_ncc import box_mean
from tfreg.losses.mind import descriptors
from tfreg.ops.grids import identity_grid
from tfreg.ops.trilinear_sampling import sample_trilinear
from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.pyramid import cubes, onto_level
from tfreg.runtime.threads import in_threads
from tfreg.transforms.projection import control_centres, nearest_deformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

# Cubes over the fixed field of view, whatever its size: blocks and windows are shares of it.
SEARCH_VOXELS = 500_000

# (side of a block in cubes, largest displacement in blocks) of each round; the first reaches a fifth of the field.
ROUNDS = ((4, 4), (4, 3), (3, 2), (3, 2))

# The sizes of the cubes' lattice are multiples of every round's block.
SIZE_STEP = 12

# Weights of the distance from the smooth displacement, one after the other.
COUPLINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

# So often both directions are brought together.
CONSISTENCY_STEPS = 15

# Side of the cube of blocks that costs and displacements are averaged over.
SMOOTHED_BLOCKS = 3

# Costs that rise by less than this on both sides are level.
SMALLEST_RISE = 1e-12

# A block of which less was measured says nothing.
MIN_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class _Side:
    """One image of a pair in blocks.

    Args:
        features: `(channels, i, j, k, 1)`, means over what was measured of each block.
        weights: `(1, i, j, k, 1)`, how much of it was.
    """

    features: Any
    weights: Any

    def padded(self, blocks):
        """The same with blocks around it of which nothing is known."""
        around = [[0, 0], *[[blocks, blocks]] * 3, [0, 0]]
        return _Side(ops.pad(self.features, around), ops.pad(self.weights, around))


def discrete_search(pair: AlignedPair, start: Transform) -> Transform:
    """The deformation that a coarse-to-fine search over displacements finds.

    Blocks of self-similarity (MIND-SSC), which contrast does not change, are compared at every displacement of a
    window, in both directions between the images. Costs become a smooth displacement by coupled convex optimisation,
    and the two directions are made inverse to each other. Each round goes on from the moving image as warped so far.
    What was not measured, or is left out by a mask, neither pulls nor pushes. Takes about 600 MB (measured).

    Args:
        pair: An `AlignedPair`, of which the initial alignment does not count.
        start: A `Transform` whose init is where the search begins, with a composed deformation of the lattice and
            stride that the result is to have.

    Returns:
        The `Transform` with the deformation nearest to what was found.

    Reference:
        Heinrich et al., MICCAI 2014 (coupled convex optimisation); Siebert et al., MICCAI 2021 workshops (both
        directions); Heinrich et al., MICCAI 2013 (MIND-SSC).
    """
    lattice = cubes(pair.fixed.lattice, SEARCH_VOXELS, SIZE_STEP)
    margin = max(block * largest for block, largest in ROUNDS)
    images = [
        [array[None, ..., None] for array in onto_level(*side)]
        for side in (
            (pair.fixed, lattice, None, pair.fixed_mask),
            (pair.moving, lattice.extended(margin, margin), start.init, pair.moving_mask),
        )
    ]
    still = _described(*images[0])
    displacement, last_block = ops.zeros((1, 1, 1, 1, 3), "float32"), max(lattice.shape)
    identity = identity_grid(lattice.shape)
    for block, largest in ROUNDS:
        points = identity + _at(displacement, last_block, identity) + margin
        warped = _described(sample_trilinear(images[1][0], points), sample_trilinear(images[1][1], points))
        step = _step(_blocks(*still, block), _blocks(*warped, block), largest) * block
        # After it, what was found before.
        centres = block * identity_grid(step.shape[1:4]) + (block - 1) / 2
        displacement = step + _at(displacement, last_block, centres + step)
        last_block = block
    return _nearest_deformation(np.asarray(ops.convert_to_numpy(displacement)), last_block, lattice, start)


def _at(displacement, block, points):
    """A displacement in blocks `(1, i, j, k, 3)`, read at voxels `(1, ..., 3)`."""
    return sample_trilinear(displacement, (points + 0.5) / block - 0.5)


def _described(image, weights):
    """Descriptors `(12, i, j, k, 1)` of an image, and its weights `(1, i, j, k, 1)`."""
    image, weights = ops.convert_to_tensor(image), ops.convert_to_tensor(weights)
    return ops.squeeze(descriptors(image, mask=weights), axis=1), weights


def _blocks(features, weights, block):
    """The `_Side` of what `_described` returns."""

    def mean(volume):
        return ops.average_pool(volume, (block,) * 3, (block,) * 3, data_format="channels_last")

    share = mean(weights)
    return _Side(mean(features * weights) / ops.maximum(share, MIN_SHARE), share)


def _step(still, warped, largest):
    """The displacement that brings the warped image onto the other, in blocks.

    Args:
        still, warped: `_Side`s.
        largest: Largest displacement along each axis.

    Returns:
        `(1, i, j, k, 3)`.
    """
    forward, backward = in_threads(
        lambda sides: _coupled(_costs(*sides, largest), largest), [(still, warped), (warped, still)]
    )
    identity = identity_grid(forward.shape[1:4])
    for _ in range(CONSISTENCY_STEPS):
        forward, backward = (
            (one - sample_trilinear(other, identity + one)) / 2
            for one, other in ((forward, backward), (backward, forward))
        )
    return forward


def _costs(here, there, largest):
    """What every displacement costs at every block, smoothed.

    Where the other image was not measured a displacement costs what the block's others do on average.

    Args:
        here, there: `_Side`s of one lattice.
        largest: Largest displacement along each axis.

    Returns:
        `(n, i, j, k)`, n = (2 largest + 1)³, the displacement along k the first to change.
    """
    window, (channels, *shape) = 2 * largest + 1, here.features.shape[:4]
    there = there.padded(largest)
    # Along k all at once.
    features, seen = (
        ops.stack([array[:, :, :, start : start + shape[2]] for start in range(window)])
        for array in (there.features[..., 0], there.weights[..., 0])
    )
    costs, weights = [], []
    for corner in np.ndindex(window, window):
        begin = np.array([0, 0, *corner, 0], np.int32)
        displaced = ops.slice(features, begin, (window, channels, *shape))
        costs.append(ops.sum(ops.square(displaced - here.features[..., 0]), axis=1))
        weights.append(ops.slice(seen, begin, (window, 1, *shape))[:, 0])
    costs, weights = ops.concatenate(costs), ops.concatenate(weights)  # (n, i, j, k)
    mean = ops.sum(costs * weights, axis=0) / ops.maximum(ops.sum(weights, axis=0), MIN_SHARE)
    costs = here.weights[..., 0] * (mean + weights * (costs - mean))
    return box_mean(costs[..., None], SMOOTHED_BLOCKS)[..., 0]


def _coupled(costs, largest):
    """A smooth displacement of low cost.

    Args:
        costs: What `_costs` returns.
        largest: Largest displacement along each axis.

    Returns:
        `(1, i, j, k, 3)`.
    """
    window, (count, *shape) = 2 * largest + 1, costs.shape
    costs = ops.reshape(costs, (count, -1))
    offsets = np.array(list(np.ndindex(window, window, window)), np.float32) - largest
    lengths = np.square(offsets).sum(axis=1, keepdims=True)
    total, smooth = costs, None
    for coupling in (*COUPLINGS, None):
        least = ops.reshape(_least(total, offsets, window), (3, *shape, 1))
        smooth = box_mean(least, SMOOTHED_BLOCKS)
        if coupling is not None:
            # |offset - smooth|² but for what is the same for all offsets.
            product = ops.matmul(-2 * coupling * offsets, ops.reshape(smooth, (3, -1)))
            total = costs + (product + coupling * lengths)
    return ops.moveaxis(smooth, 0, -2)[None, ..., 0]


def _least(costs, offsets, window):
    """Where costs `(n, blocks)` are least, between the offsets too, by parabolas: `(3, blocks)`."""
    best = ops.argmin(costs, axis=0)
    flat, place = ops.reshape(costs, (-1,)), ops.arange(costs.shape[1], dtype="int32")

    def at(number):
        return ops.take(flat, number * costs.shape[1] + place)

    best = ops.cast(best, "int32")
    value, least = at(best), []
    for axis, step in enumerate((window**2, window, 1)):
        component = ops.take(offsets[:, axis], best)
        below, above = (at(ops.clip(best + side, 0, len(offsets) - 1)) - value for side in (-step, step))
        vertex = (below - above) / (2 * ops.maximum(below + above, SMALLEST_RISE))
        least.append(component + ops.where(ops.abs(component) < window // 2, vertex, 0.0))
    return ops.stack(least)


def _nearest_deformation(displacement: np.ndarray, block: int, lattice: Lattice, start: Transform) -> Transform:
    """The start with the composed deformation that follows a displacement `(1, i, j, k, 3)` in blocks of a lattice."""
    stride, shape = start.deformation.stride, start.lattice.shape
    to_search = np.linalg.inv(lattice.affine) @ start.lattice.affine
    centres = control_centres(shape, stride)
    places = (centres @ to_search[:3, :3].T + to_search[:3, 3]).astype(np.float32)
    moved = np.asarray(ops.convert_to_numpy(_at(displacement, block, places[None])))[0]
    mapped = centres + moved @ np.linalg.inv(to_search[:3, :3]).T
    return replace(start, deformation=nearest_deformation(mapped, shape, stride))
