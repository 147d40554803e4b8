"""A deformation found by comparing displacements one by one: it finds what no slope of a similarity leads to."""

from dataclasses import replace
from functools import partial

import numpy as np
from keras import ops

from tfreg.losses.mind import descriptors
from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.pyramid import cubes, onto_level
from tfreg.refinement.block_matching import MIN_SHARE, Blocks, matched, read_displacement
from tfreg.runtime.threads import in_threads
from tfreg.transforms.interpolation import sampled, upsampled
from tfreg.transforms.projection import control_centres, nearest_deformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

# Cubes over the fixed field of view, whatever its size: blocks and windows are shares of it.
SEARCH_VOXELS = 500_000

# (side of a block in cubes, largest displacement in blocks) of each round; the first reaches a fifth of the field.
ROUNDS = ((4, 4), (4, 3), (3, 2), (3, 2))

# The sizes of the cubes' lattice are multiples of every round's block.
SIZE_STEP = 12


def discrete_search(pair: AlignedPair, start: Transform) -> Transform:
    """The deformation that a coarse-to-fine search over displacements finds.

    Blocks of self-similarity (MIND-SSC), which contrast does not change, are compared at every displacement of a
    window, in both directions between the images. Costs become a smooth displacement by coupled convex optimisation,
    and the two directions are made inverse to each other. Each round goes on from the moving image as warped so far.
    What was not measured, or is left out by a mask, neither pulls nor pushes. Takes about 200 MB (measured).

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
        onto_level(*side)
        for side in (
            (pair.fixed, lattice, None, pair.fixed_mask),
            (pair.moving, lattice.extended(margin, margin), start.init, pair.moving_mask),
        )
    ]
    still = _described(*images[0])
    index = np.stack(np.indices(lattice.shape, np.float32), axis=-1)
    last_block = ROUNDS[0][0]
    displacement = np.zeros((*(n // last_block for n in lattice.shape), 3), np.float32)
    for block, largest in ROUNDS:
        points = index + upsampled(displacement, last_block) + margin
        warped = _described(*in_threads(partial(sampled, points_voxel=points), images[1]))
        step = block * matched(_blocks(*still, block), _blocks(*warped, block), largest)
        # After it, what was found before.
        centres = block * index[tuple(slice(n) for n in step.shape[:3])] + (block - 1) / 2
        displacement = step + _at(displacement, last_block, centres + step)
        last_block = block
    return _nearest_deformation(displacement, block, lattice, start)


def _at(displacement, block, points):
    """A displacement in blocks `(i, j, k, 3)`, read at voxels `(..., 3)`."""
    return read_displacement(displacement, (points + 0.5) / block - 0.5)


def _described(image, weights):
    """Descriptors `(12, i, j, k, 1)` of an image, and its weights `(1, i, j, k, 1)`, tensors."""
    image, weights = (ops.convert_to_tensor(array[None, ..., None]) for array in (image, weights))
    return ops.squeeze(descriptors(image, mask=weights), axis=1), weights


def _blocks(features, weights, block):
    """The `Blocks` of what `_described` returns."""

    def mean(volume):
        pooled = ops.average_pool(volume, (block,) * 3, (block,) * 3, data_format="channels_last")
        return np.moveaxis(ops.convert_to_numpy(pooled)[..., 0], 0, -1)

    share = mean(weights)
    return Blocks(mean(features * weights) / np.maximum(share, MIN_SHARE), share[..., 0])


def _nearest_deformation(displacement: np.ndarray, block: int, lattice: Lattice, start: Transform) -> Transform:
    """The start with the composed deformation that follows a displacement `(i, j, k, 3)` in blocks of a lattice."""
    stride, shape = start.deformation.stride, start.lattice.shape
    to_search = np.linalg.inv(lattice.affine) @ start.lattice.affine
    centres = control_centres(shape, stride)
    places = (centres @ to_search[:3, :3].T + to_search[:3, 3]).astype(np.float32)
    moved = _at(displacement, block, places)
    mapped = centres + moved @ np.linalg.inv(to_search[:3, :3]).T
    return replace(start, deformation=nearest_deformation(mapped, shape, stride))
