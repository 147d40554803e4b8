"""`PairViews`: the images of a pair in 8 bits, what a person looks at."""

from dataclasses import dataclass

import numpy as np

from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

OUTSIDE = 0  # the code of a voxel to which the moving image does not reach
STEPS = 254  # from the window's floor, code 1, to its ceiling, code 255
IMAGES = ("fixed", "moving", "warped")


def coded(array: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Intensities as 8-bit codes.

    Args:
        array: `(i, j, k)`, NaN where the image does not reach.
        window: (floor, ceiling) in the array's units.

    Returns:
        `(i, j, k)` uint8: 0 for NaN, else 1 (the floor and below) to 255 (the ceiling and above).
    """
    floor, ceiling = window
    share = np.clip((array - floor) / (ceiling - floor), 0, 1)
    return np.where(np.isnan(share), OUTSIDE, 1 + np.rint(STEPS * np.nan_to_num(share))).astype(np.uint8)


def block_factors(lattice: Lattice, max_voxels: int) -> tuple[int, int, int]:
    """Blocks of voxels that bring a lattice below a number of voxels and even out its spacing.

    Args:
        lattice: A `Lattice`.
        max_voxels: The largest number of blocks.

    Returns:
        Three positive integers.
    """
    shape, factors = np.array(lattice.shape), np.ones(3, int)
    while np.prod(-(-shape // factors)) > max_voxels:
        factors[np.argmin(np.where(factors < shape, lattice.spacing * factors, np.inf))] += 1
    return int(factors[0]), int(factors[1]), int(factors[2])


@dataclass(frozen=True, eq=False)
class PairViews:
    """A registered pair on one lattice, the fixed image's or a coarser one over the same field of view.

    Args:
        fixed, moving, warped: `Volume`s of the codes that `coded` makes; moving is initially aligned.
        windows: Dictionary of "fixed" and "moving" to (floor, ceiling), the intensities of the codes 1 and 255.
        labels: `Volume` of uint8, the fixed image's labels as codes, 0 is background; or None.
        label_values: The labels that the codes 1, 2, ... stand for.
        factors: Three numbers, how many voxels of the fixed image one of these takes together along each axis.

    Raises:
        ValueError: If the volumes are not of uint8 or lie on different lattices.
    """

    fixed: Volume
    moving: Volume
    warped: Volume
    windows: dict
    labels: Volume | None = None
    label_values: tuple[int, ...] = ()
    factors: tuple[int, int, int] = (1, 1, 1)

    def __post_init__(self):
        for volume in (self.fixed, self.moving, self.warped, self.labels):
            if volume is None:
                continue
            if volume.array.dtype != np.uint8 or not volume.lattice.same_as(self.fixed.lattice):
                raise ValueError(
                    "The volumes must be of uint8 and on one lattice. "
                    f"Received: {volume.array.dtype}, shape={volume.shape}"
                )

    def picture(self, name: str) -> Volume:
        """An image as `Volume` of intensities in [0, 1], NaN where it does not reach; `name` is one of `IMAGES`."""
        volume = getattr(self, name)
        values = (volume.array.astype(np.float32) - 1) / STEPS
        values[volume.array == OUTSIDE] = np.nan
        return volume.with_array(values)
