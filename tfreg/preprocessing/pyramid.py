"""The lattices of a coarse-to-fine refinement, and volumes on them."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from tfreg.preprocessing.aligned_pair import voxel_map
from tfreg.preprocessing.network_grid import cube_lattice, network_grid
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.resampling import anti_aliased
from tfreg.volumes.volume import Volume

# A voxel to which less than this share of masked voxels contributes takes its value from all of them.
MIN_SHARE = 1e-3

# Structure is looked for on cubes of the field of view, about this many.
STRUCTURE_VOXELS = 40_000

# The coarsest level keeps this many voxels along the shortest axis.
MIN_SIZE = 12


def cubes(fixed: Lattice, voxels: float, size_step: int = 1) -> Lattice:
    """Cubes over a field of view, about as many whatever its size.

    Args:
        fixed: The volume's `Lattice`.
        voxels: How many fit into the field of view.
        size_step: The sizes are rounded up to multiples of it.

    Returns:
        A `Lattice`.
    """
    spacing = float(np.cbrt(fixed.volume_mm3 / voxels))
    shape = -(-np.array(network_grid(fixed, spacing=spacing).shape) // size_step) * size_step
    return network_grid(fixed, spacing=spacing, shape=tuple(int(n) for n in shape))


def coarsened(lattice: Lattice, factors: Sequence[int]) -> Lattice:
    """The lattice whose voxels are blocks of another's, from the same corner on.

    Args:
        lattice: A `Lattice`.
        factors: Three positive integers.

    Returns:
        A `Lattice`; the last block along an axis may overhang.
    """
    blocks, affine = np.array(factors), np.array(lattice.affine)
    affine[:3, 3] += affine[:3, :3] @ ((blocks - 1) / 2)
    affine[:3, :3] *= blocks
    i, j, k = (int(-(-n // f)) for n, f in zip(lattice.shape, blocks, strict=True))
    return Lattice((i, j, k), affine)


def level_factors(lattice: Lattice, levels: int) -> list[tuple[int, int, int]]:
    """Blocks of voxels from coarse to fine, which even out the spacing before they shrink all axes.

    Each coarser level doubles the blocks of the axes along which they are the thinnest, within a factor of
    the square root of two, as long as `MIN_SIZE` blocks remain.

    Args:
        lattice: The finest `Lattice`.
        levels: Largest number of levels.

    Returns:
        A list of three factors a level, the last of them (1, 1, 1).
    """
    factors = np.ones(3, int)
    all_factors = [tuple(factors)]
    while len(all_factors) < levels:
        thickness = lattice.spacing * factors
        thin = thickness < thickness.min() * np.sqrt(2)
        room = np.array(lattice.shape) / (2 * factors) >= MIN_SIZE
        if not (thin & room).any() or not room[thin].all():
            break
        factors = np.where(thin, 2 * factors, factors)
        all_factors.append(tuple(int(f) for f in factors))
    return all_factors[::-1]


def onto_level(
    volume: Volume, lattice: Lattice, world_map: np.ndarray | None = None, mask: Volume | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A volume on a level's lattice, its border continued, and where it was measured.

    Args:
        volume: A `Volume` with intensities in [0, 1].
        lattice: The level's `Lattice`.
        world_map: `(4, 4)`, from the lattice's world to the volume's, or None.
        mask: A `Volume` on the volume's lattice, where it counts, or None.

    Returns:
        `(i, j, k)` float32 values after Gaussian smoothing where the lattice is coarser, and `(i, j, k)`
        float32 weights in [0, 1], 0 outside the field of view and the mask. Values are means over the mask.
    """
    chain = voxel_map(volume, lattice, world_map)
    step = np.linalg.norm(chain[:3, :3], axis=1)

    def read(array):
        return ndimage.affine_transform(
            anti_aliased(array, step), chain[:3, :3], chain[:3, 3], lattice.shape, np.float32, order=1, mode="nearest"
        )

    index = np.ogrid[tuple(slice(n) for n in lattice.shape)]
    inside = np.ones(lattice.shape, bool)
    for row, size in zip(chain[:3], volume.shape, strict=True):
        coordinate = row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]
        inside &= (coordinate >= -0.5) & (coordinate <= size - 0.5)
    if mask is None:
        return read(volume.array), inside.astype(np.float32)
    # What the mask leaves out does not blur into what counts.
    counts = (mask.array != 0).astype(np.float32)
    share = np.clip(read(counts), 0, 1)
    values = np.divide(read(volume.array * counts), share, where=share > MIN_SHARE, out=read(volume.array))
    return values, share * inside


def structure(volume: Volume, mask: Volume | None = None) -> tuple[Lattice, np.ndarray, np.ndarray, np.ndarray]:
    """Where a volume shows structure: the length of its gradient, on cubes.

    Args:
        volume: A `Volume`.
        mask: A `Volume` on the volume's lattice, where it counts, or None.

    Returns:
        The cubes' `Lattice`; the volume's values there, how much each counts, and the structure, `(i, j, k)` each.
    """
    lattice = cube_lattice(volume.lattice, STRUCTURE_VOXELS)
    values, counts = onto_level(volume, lattice, None, mask)
    return lattice, values, counts, ndimage.gaussian_gradient_magnitude(values, 1.0) * counts
