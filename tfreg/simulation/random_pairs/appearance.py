"""The two images of a body: contrasts, textures, and blobs that only one of them shows."""

import math

from keras import ops

from tfreg.config.simulated_pairs import RandomContrasts, RandomShapes
from tfreg.ops.grids import identity_grid
from tfreg.ops.tensor import Tensor
from tfreg.simulation.random_pairs.anatomy import Anatomy
from tfreg.simulation.random_pairs.draws import Draws, per_pair

BLOBS = 3


def two_images(
    draws: Draws, anatomy: Anatomy, unit: float, shapes: RandomShapes, contrasts: RandomContrasts
) -> tuple[Tensor, Tensor]:
    """Two images of the same bodies, as perfect scanners would make them.

    Args:
        draws: Random numbers.
        anatomy: The bodies.
        unit: Voxels per voxel of the options.
        shapes: Amplitude of the textures, and the blobs.
        contrasts: Shares of the pairs whose images have the same contrast, the inverted one, or another.

    Returns:
        Two tensors `(batch, i, j, k, 1)`, about in [0, 1]; the same where contrast is the same and no blob is.
    """
    first = _image(draws, anatomy, shapes.texture)
    kind = per_pair(draws.uniform())
    second = ops.where(kind < contrasts.same + contrasts.inverted, 1.0 - first, _image(draws, anatomy, shapes.texture))
    second = ops.where(kind < contrasts.same, first, second)
    empty = per_pair(draws.uniform(between=(0.0, 0.1)))
    first, second = (ops.where(anatomy.inside > 0.5, image, empty) for image in (first, second))
    second = _with_blobs(draws, second, unit, shapes)
    swapped = per_pair(draws.chance(0.5)) > 0.5
    return ops.where(swapped, second, first), ops.where(swapped, first, second)


def _image(draws, anatomy, texture):
    """Each kind of tissue with an intensity and more or less of one of the textures."""
    intensity = draws.uniform(anatomy.kinds)
    amount = texture * ops.square(draws.uniform(anatomy.kinds))
    fine = draws.chance(0.5, anatomy.kinds)
    fine_amount, coarse_amount = (_of_tissue(table, anatomy) for table in (amount * fine, amount * (1.0 - fine)))
    image = _of_tissue(intensity, anatomy)
    return image + fine_amount * anatomy.textures[..., :1] + coarse_amount * anatomy.textures[..., 1:]


def _of_tissue(table, anatomy):
    """What a table `(batch, kinds)` says of each voxel's tissue."""
    rows = ops.reshape(ops.arange(ops.shape(table)[0]) * anatomy.kinds, (-1, 1, 1, 1, 1))
    return ops.take(ops.reshape(table, (-1,)), rows + anatomy.tissue, axis=0)


def _with_blobs(draws, image, unit, shapes):
    """An image with up to three ellipsoids of one intensity each, in a share of the pairs."""
    size = ops.shape(image)[1]
    points, any_blob = identity_grid((size,) * 3), draws.chance(shapes.blobs)
    low, high = (math.log(radius * unit) for radius in shapes.blob_radii)
    for _ in range(BLOBS):
        centre = per_pair(draws.uniform(3, between=(0.2 * size, 0.8 * size)))
        radii = per_pair(ops.exp(draws.uniform(3, between=(low, high))))
        inside = ops.sum(ops.square((points - centre) / radii), axis=-1, keepdims=True) < 1.0
        is_there = per_pair(any_blob * draws.chance(0.6)) > 0.5
        image = ops.where(ops.logical_and(inside, is_there), per_pair(draws.uniform()), image)
    return image
