"""A pair as it lies, with what places it on a network grid: what all passes of a network can be made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from tfreg.preprocessing.aligned_pair import AlignedPair, voxel_map
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.resampling import resample
from tfreg.volumes.volume import Volume

# A volume that has more voxels than this cubed for one of the network grid is made coarser, and keeps so many to a step
# of the grid along each axis where it had more.
FINENESS = 1.5


@dataclass(frozen=True, eq=False)
class WholePair:
    """A pair that is not on its network grid yet.

    Args:
        fixed, moving: `Volume`s with intensities in [0, 1].
        lattice: The network grid, in the fixed image's world.
        init: `(4, 4)`, fixed world to moving world, mm.
    """

    fixed: Volume
    moving: Volume
    lattice: Lattice
    init: np.ndarray

    @property
    def voxels(self) -> int:
        """The most that one of the three lattices counts as, see `counted_voxels`."""
        return max(map(counted_voxels, (self.fixed.shape, self.moving.shape, self.lattice.shape)))

    @property
    def batch(self) -> dict[str, np.ndarray]:
        """What all passes of a network take.

        Dictionary of `fixed` and `moving`, `(1, i, j, k, 1)`; `fixed_map` and `moving_map`, `(3, 4)` float64, from
        voxel coordinates of the network grid to theirs; `grid`, `(3,)` int32, its sizes.
        """
        return {
            "fixed": self.fixed.array[None, ..., None],
            "moving": self.moving.array[None, ..., None],
            "fixed_map": voxel_map(self.fixed, self.lattice)[:3],
            "moving_map": voxel_map(self.moving, self.lattice, self.init)[:3],
            "grid": np.array(self.lattice.shape, np.int32),
        }


def counted_voxels(shape: Sequence[int]) -> int:
    """What a lattice of three sizes counts as where memory is bounded: to smooth a line takes the line's square."""
    return max(prod(shape), max(shape) ** 2)


def whole_pair(pair: AlignedPair, lattice: Lattice) -> WholePair:
    """A pair as its network grid can see it: volumes that are much finer are made coarser.

    Args:
        pair: An `AlignedPair`.
        lattice: The network grid.

    Returns:
        A `WholePair`; its volumes are the pair's own where they have at most `FINENESS` cubed as many voxels as the
        grid.
    """
    return WholePair(
        _no_finer(pair.fixed, lattice), _no_finer(pair.moving, lattice, pair.init), lattice, np.asarray(pair.init)
    )


def _no_finer(volume, lattice, world_map=None):
    """The volume, or what it is on fewer voxels of the same field of view."""
    if prod(volume.shape) <= FINENESS**3 * prod(lattice.shape):
        return volume
    step = np.linalg.norm(voxel_map(volume, lattice, world_map)[:3, :3], axis=1)
    sizes = np.array(volume.shape)
    shape = np.ceil(sizes / np.maximum(step / FINENESS, 1)).astype(int)
    change = np.diag([*(sizes / shape), 1])
    change[:3, 3] = (sizes / shape - 1) / 2
    i, j, k = (int(n) for n in shape)
    coarser = resample(volume, Lattice((i, j, k), volume.affine @ change), "cubic", anti_alias=True)
    return coarser.with_array(np.clip(coarser.array, 0.0, 1.0))
