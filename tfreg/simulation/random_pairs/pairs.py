"""Random pairs by their number: fixed and moving image, the true displacement, and what each place counts."""

import functools

import keras
import numpy as np
from keras import ops

from tfreg.config.simulated_pairs import SimulatedPairs
from tfreg.ops.acceleration import compiling
from tfreg.ops.differentiation import whole_function
from tfreg.ops.grids import identity_grid
from tfreg.ops.tensor import Tensor
from tfreg.ops.trilinear_sampling import sample_trilinear
from tfreg.simulation.random_pairs.anatomy import random_anatomy
from tfreg.simulation.random_pairs.appearance import two_images
from tfreg.simulation.random_pairs.displacement import inverted, random_displacement
from tfreg.simulation.random_pairs.draws import Draws
from tfreg.simulation.random_pairs.scanner import scanned

# Voxels; where an inverse is less exact than this, its place counts as not seen.
ACCURACY = 0.05


class RandomPairs:
    """Endless random pairs, made on the accelerator; a number names a batch.

    The moving image of the first half of a batch, and the fixed image of the second, is the other one's body under a
    random displacement D, sampled trilinearly at p + D(p). The true displacement, from a fixed voxel to its place in
    the moving image, is D for the second half, and for the first its inverse, exact to 0.05 voxels wherever it counts.

    Args:
        options: What is drawn.
        side: Voxels along each axis.
        batch: Pairs a batch.

    Example:
        >>> from tfreg.config import SimulatedPairs
        >>> pairs = RandomPairs(SimulatedPairs(), side=16, batch=2)
        >>> batch = pairs(seed=(0, 7))
        >>> sorted(batch), tuple(batch["displacement"].shape)
        (['displacement', 'fixed', 'moving', 'weight'], (2, 16, 16, 16, 3))
    """

    def __init__(self, options: SimulatedPairs, side: int, batch: int) -> None:
        self.options = options
        self.side = side
        self.batch = batch
        self._generator = keras.random.SeedGenerator(0)
        self._traced = whole_function(self._drawn, [self._generator.state], fixed=True)

    def __call__(self, seed: tuple[int, ...]) -> dict[str, Tensor]:
        """One batch.

        Args:
            seed: Whole numbers of at least 0, such as a training's seed and a step's number.

        Returns:
            Dictionary of float32: `fixed` and `moving` `(batch, i, j, k, 1)`, in [0, 1]; `displacement`
            `(batch, i, j, k, 3)`, voxels, the true one; `weight` `(batch, i, j, k, 1)`, one where both images show the
            place and `supervision.unseen` elsewhere.
        """
        state = np.random.SeedSequence(seed).generate_state(2, np.uint32)
        # TensorFlow's seeds are signed.
        return self._traced(ops.convert_to_tensor(state >> np.uint32(1), dtype=self._generator.state.dtype))

    def _drawn(self, state: Tensor) -> dict[str, Tensor]:
        """A batch, of a generator's state."""
        with keras.StatelessScope([(self._generator.state, state)]), compiling(self.side**3):
            return random_pairs(Draws(self.batch, self._generator), self.side, self.options)


def random_pairs(draws: Draws, side: int, options: SimulatedPairs) -> dict[str, Tensor]:
    """A batch of random pairs, as `RandomPairs` returns it.

    Args:
        draws: Random numbers.
        side: Voxels along each axis.
        options: What is drawn.
    """
    unit, margin = side / max(options.sides), round(options.margin * side)
    size, halves = side + 2 * margin, (draws.batch // 2, draws.batch - draws.batch // 2)
    anatomy = random_anatomy(draws, size, unit, options.shapes)
    still, moved = two_images(draws, anatomy, unit, options.shapes, options.contrasts)
    field = random_displacement(draws, size, unit, options.displacements)

    inner = (slice(None), *[slice(margin, margin + side)] * 3)
    voxels = identity_grid((side,) * 3)
    points = voxels + float(margin)
    still, moved = still[inner], sample_trilinear(moved, points + field[inner])
    inverse, apart = (
        inverted(field[: halves[0]], points) if halves[0] else (field[:0][inner], field[:0][inner][..., :1])
    )
    displacement = ops.concatenate([inverse, field[halves[0] :][inner]], axis=0)
    exact = ops.concatenate([ops.cast(apart < ACCURACY, "float32"), ops.ones_like(moved[halves[0] :])], axis=0)

    images, seen = scanned(
        Draws(2 * draws.batch, draws.generator), ops.concatenate([still, moved], axis=0), unit, options.scanner
    )
    fixed, moving = _by_side(images, halves[0])
    fixed_seen, moving_seen = _by_side(seen, halves[0])
    places = voxels + displacement
    within = ops.all(ops.logical_and(places > -0.5, places < side - 0.5), axis=-1, keepdims=True)
    moving_seen = ops.cast(sample_trilinear(moving_seen, places) > 0.5, "float32")
    seen = fixed_seen * moving_seen * exact * ops.cast(within, "float32")
    unseen = options.supervision.unseen
    weight = unseen + (1.0 - unseen) * seen
    return {"fixed": fixed, "moving": moving, "displacement": displacement, "weight": weight}


def _by_side(images, backward):
    """What belongs to the fixed images, and what to the moving ones; the first are `still` in the first half."""
    still, moved = ops.split(images, 2, axis=0)
    fixed = ops.concatenate([still[:backward], moved[backward:]], axis=0)
    return fixed, ops.concatenate([moved[:backward], still[backward:]], axis=0)


@functools.cache
def pairs_of(options: SimulatedPairs, side: int, batch: int) -> RandomPairs:
    """The pairs of one size, whose program is compiled once a process."""
    return RandomPairs(options, side, batch)
