"""What there is to see in a pair: regions, tubes, textures, and the body's outline."""

from dataclasses import dataclass

from keras import ops

from tfreg.config.simulated_pairs import RandomShapes
from tfreg.ops.grids import identity_grid
from tfreg.ops.tensor import Tensor
from tfreg.simulation.random_pairs.draws import Draws, per_pair
from tfreg.simulation.random_pairs.noise import mixed_noise, smooth_noise

TUBES = 2
ABSENT = 1e6  # what keeps a tissue from being anywhere


@dataclass(frozen=True)
class Anatomy:
    """Random bodies.

    Args:
        tissue: `(batch, i, j, k, 1)` int32, the kind of tissue at each voxel.
        kinds: How many kinds there may be.
        textures: `(batch, i, j, k, 2)`, variance 1, a fine one and one of several scales.
        inside: `(batch, i, j, k, 1)`, one in the body and zero around it.
    """

    tissue: Tensor
    kinds: int
    textures: Tensor
    inside: Tensor


def random_anatomy(draws: Draws, size: int, unit: float, options: RandomShapes) -> Anatomy:
    """Draws bodies.

    Args:
        draws: Random numbers.
        size: Voxels along each axis.
        unit: Voxels per voxel of the options.
        options: What is drawn.

    Returns:
        An `Anatomy`.
    """
    fewest, most = options.tissues
    fields = mixed_noise(draws, size, [spacing * unit for spacing in options.spacings], most)
    count = fewest + draws.choice(most - fewest + 1)
    size_of = 0.3 * draws.normal(most) - ABSENT * ops.cast(ops.arange(most) >= ops.expand_dims(count, 1), "float32")
    tissue = ops.cast(ops.argmax(fields + per_pair(size_of), axis=-1, keepdims=True), "int32")
    for number in range(TUBES):
        # Two fields are near zero together along lines.
        pair = mixed_noise(draws, size, [spacing * unit for spacing in options.spacings[:2]], 2)
        width = draws.uniform(between=options.tube_width) * draws.chance(options.tubes)
        tube = ops.sum(ops.square(pair), axis=-1, keepdims=True) < per_pair(ops.square(width))
        tissue = ops.where(tube, most + number, tissue)
    textures = [
        smooth_noise(draws, size, options.texture_spacing * unit),
        mixed_noise(draws, size, [2.0 * options.texture_spacing * unit, 0.8 * options.texture_spacing * unit]),
    ]
    return Anatomy(tissue, most + TUBES, ops.concatenate(textures, axis=-1), _body(draws, size, unit, options.body))


def _body(draws, size, unit, share):
    """One inside a bumpy ellipsoid about a random centre, for a share of the pairs; for the others everywhere."""
    offset = identity_grid((size,) * 3) * (2.0 / (size - 1)) - 1.0 - per_pair(0.15 * draws.normal(3))
    radii = per_pair(draws.uniform(3, between=(0.45, 1.1)))
    level = ops.sqrt(ops.sum(ops.square(offset / radii), axis=-1, keepdims=True))
    level = level + 0.12 * smooth_noise(draws, size, 20.0 * unit)
    return ops.maximum(ops.cast(level < 1.0, "float32"), 1.0 - per_pair(draws.chance(share)))
