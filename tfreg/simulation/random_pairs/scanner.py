"""What a scanner makes of a perfect image."""

from keras import ops

from tfreg.config.simulated_pairs import RandomScanner
from tfreg.ops.grids import identity_grid
from tfreg.ops.tensor import Tensor
from tfreg.simulation.random_pairs.draws import Draws, per_pair
from tfreg.simulation.random_pairs.noise import smooth_noise

NARROWEST = 0.2  # standard deviation of a blur, voxels, that is none


def scanned(draws: Draws, image: Tensor, unit: float, options: RandomScanner) -> tuple[Tensor, Tensor]:
    """Blur, thick slices, bias field, noise, window and gamma; and a slab at a border that was not scanned.

    Args:
        draws: Random numbers.
        image: `(batch, i, j, k, 1)`, cubes.
        unit: Voxels per voxel of the options.
        options: How much of each.

    Returns:
        The image in [0, 1], zero where it was not scanned; and one where it was, `(batch, i, j, k, 1)`.
    """
    size = ops.shape(image)[1]
    blur = options.blur * unit * ops.square(draws.uniform())
    across = options.slice_blur * unit * draws.uniform() * draws.chance(options.thick_slices)
    thick_axis = draws.choice(3)
    for axis in range(3):
        sigma = blur + across * ops.cast(thick_axis == axis, "float32")
        image = _blurred(image, sigma, axis)
    bias = options.bias * draws.uniform()
    image = image * ops.exp(per_pair(bias) * smooth_noise(draws, size, 40.0 * unit))
    noise = options.noise * ops.square(draws.uniform())
    image = image + per_pair(noise) * draws.normal(*ops.shape(image)[1:])
    image = _windowed(image, options.window) ** per_pair(ops.exp(options.exponent * draws.normal()))
    seen = _scanned_part(draws, size, options)
    return image * seen, seen


def _blurred(image, sigma, axis):
    """Gaussian blur along an axis, of its own width for each pair `(batch,)`; at the border of what there is."""
    places = ops.arange(ops.shape(image)[axis + 1], dtype="float32")
    apart = ops.square(places[:, None] - places[None, :])
    shares = ops.exp(-0.5 * apart / ops.square(ops.maximum(sigma, NARROWEST))[:, None, None])
    shares = shares / ops.sum(shares, axis=-1, keepdims=True)
    return ops.einsum(("bai,bijkc->bajkc", "bai,bjikc->bjakc", "bai,bjkic->bjkac")[axis], shares, image)


def _windowed(image, window):
    """Intensities between two quantiles, taken of every fourth voxel, become [0, 1]; without a window they stay."""
    if window is None:
        return ops.clip(image, 0.0, 1.0)
    batch = ops.shape(image)[0]
    sample = ops.sort(ops.reshape(image[:, ::4, ::4, ::4], (batch, -1)), axis=1)
    last = ops.shape(sample)[1] - 1
    low, high = (per_pair(sample[:, round(share * last)]) for share in window)
    return ops.clip((image - low) / ops.maximum(high - low, 1e-3), 0.0, 1.0)


def _scanned_part(draws, size, options):
    """One where there is an image, zero in a slab at a random border of a share of the images."""
    width = size * options.slab * draws.uniform() * draws.chance(options.not_scanned)
    axis, upper = draws.choice(3), draws.chance(0.5)
    along = per_pair(ops.one_hot(axis, 3))
    place = ops.sum(identity_grid((size,) * 3) * along, axis=-1, keepdims=True)
    place = ops.where(per_pair(upper) > 0.5, place, size - 1 - place)
    return ops.cast(place >= per_pair(width), "float32")
