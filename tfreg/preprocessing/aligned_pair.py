"""From volumes as they are to what the network sees."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfreg.config import Intensity, Preprocessing
from tfreg.errors import UserError
from tfreg.preprocessing.initial_alignment import initial_alignment
from tfreg.preprocessing.intensity import normalise
from tfreg.preprocessing.network_grid import configured_grid
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.resampling import anti_aliased, resample, sample
from tfreg.volumes.volume import Volume

Side = Literal["fixed", "moving"]
OTHER_SIDE: dict[Side | None, Side | None] = {"fixed": "moving", "moving": "fixed", None: None}


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """A pair with comparable intensities and an initial alignment.

    Args:
        fixed, moving: `Volume`s as they lie, float32 in [0, 1].
        init: `(4, 4)`, fixed world to moving world, mm.
        fixed_mask, moving_mask: Where the images count, `Volume`s on their lattices, or None.
        notes: What had to be decided, one sentence each.
        inverted: The image in which bright and dark are exchanged, or None.
    """

    fixed: Volume
    moving: Volume
    init: np.ndarray
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None
    notes: tuple[str, ...] = ()
    inverted: Side | None = None

    @property
    def masks(self) -> tuple[Volume | None, Volume | None]:
        """The fixed and the moving mask."""
        return self.fixed_mask, self.moving_mask

    def reversed(self) -> "AlignedPair":
        """The `AlignedPair` with the images exchanged and the inverse initial alignment."""
        return AlignedPair(
            fixed=self.moving,
            moving=self.fixed,
            init=np.linalg.inv(self.init),
            fixed_mask=self.moving_mask,
            moving_mask=self.fixed_mask,
            notes=self.notes,
            inverted=OTHER_SIDE[self.inverted],
        )


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """A pair on its network grid.

    Args:
        fixed, moving: `(i, j, k)` float32 in [0, 1].
        lattice: The network grid.
        init: `(4, 4)`, fixed world to moving world, mm.
        notes: What had to be decided, one sentence each.
    """

    fixed: np.ndarray
    moving: np.ndarray
    lattice: Lattice
    init: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def batch(self) -> dict[str, np.ndarray]:
        """What a network takes: dictionary of `fixed` and `moving`, `(1, i, j, k, 1)`."""
        return {"fixed": self.fixed[None, ..., None], "moving": self.moving[None, ..., None]}


def normalised(volume: Volume, intensity: Intensity, name: str = "volume", inverted: bool = False) -> Volume:
    """A volume with intensities in [0, 1].

    Args:
        volume: A `Volume`.
        intensity: `window` and `percentiles`, one of which is None (`tfreg.config.Intensity`).
        name: What error messages call the volume.
        inverted: Whether bright becomes dark.

    Returns:
        The `Volume` with a float32 array; its notes say what was replaced.

    Raises:
        UserError: If nothing is left between floor and ceiling.
    """
    try:
        array, _, notes = normalise(volume.array, intensity.window, intensity.percentiles, inverted)
    except ValueError as error:
        raise UserError(f"{name}: {error}; give another intensity window") from error
    return Volume(array, volume.affine, volume.frame, (*volume.notes, *notes))


def voxel_map(volume: Volume, lattice: Lattice, world_map: np.ndarray | None = None) -> np.ndarray:
    """Where the voxels of a lattice lie in a volume.

    Rounded to a billionth of a voxel: pairs whose maps differ by rounding alone see the same volume, and a
    voxel on the border of the field of view falls on the same side of it.

    Args:
        volume: A `Volume`.
        lattice: The `Lattice`.
        world_map: `(4, 4)`, from the lattice's world to the volume's, or None.

    Returns:
        `(4, 4)`, voxel coordinates of the lattice to voxel coordinates of the volume.
    """
    world_map = np.eye(4) if world_map is None else world_map
    return np.round(np.linalg.inv(volume.affine) @ world_map @ lattice.affine, 9) + 0.0  # no negative zeros


def onto_network_grid(
    volume: Volume, lattice: Lattice, world_map: np.ndarray | None = None, interpolation: str = "linear"
) -> np.ndarray:
    """A normalised volume's values on the network grid, zero outside it.

    Args:
        volume: A `Volume` with intensities in [0, 1].
        lattice: The network grid.
        world_map: `(4, 4)`, from the network grid's world to the volume's, or None.
        interpolation: "linear" or "cubic", after Gaussian smoothing where the grid is coarser.

    Returns:
        `(i, j, k)` float32 in [0, 1].
    """
    result = _resample(volume, lattice, interpolation, world_map, anti_alias=True)
    return np.clip(result, 0.0, 1.0)


def warped_onto_network_grid(
    volume: Volume, lattice: Lattice, points_world: np.ndarray, near: np.ndarray, interpolation: str = "linear"
) -> np.ndarray:
    """A normalised volume's values on the network grid where any map leads, zero outside the volume.

    It is read once, at the map's own values: what a former pass made of it is not interpolated again.

    Args:
        volume: A `Volume` with intensities in [0, 1].
        lattice: The network grid.
        points_world: `(i, j, k, 3)`, where the map takes the grid's voxels, in the volume's world, mm.
        near: `(4, 4)`, an affine map near to that one, by which the smoothing is chosen.
        interpolation: "linear" or "cubic", after Gaussian smoothing where the grid is coarser.

    Returns:
        `(i, j, k)` float32 in [0, 1].
    """
    step = np.linalg.norm(voxel_map(volume, lattice, near)[:3, :3], axis=1)
    points = volume.lattice.to_voxel(points_world)
    return np.clip(sample(anti_aliased(volume.array, step), points, interpolation), 0.0, 1.0)


def labels_onto_network_grid(labels: Volume, lattice: Lattice, world_map: np.ndarray | None = None) -> np.ndarray:
    """A segmentation's values on the network grid by nearest neighbour, `(i, j, k)` int32."""
    return _resample(labels, lattice, "nearest", world_map).astype(np.int32)


def align_pair(
    fixed: Volume,
    moving: Volume,
    preprocessing: Preprocessing,
    init: np.ndarray | None = None,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    inverted: Side | None = None,
) -> AlignedPair:
    """Normalises a pair's intensities and aligns it initially.

    Args:
        fixed, moving: `Volume`s as read.
        preprocessing: `tfreg.config.Preprocessing`.
        init: `(4, 4)`, fixed world to moving world, mm; None computes what `preprocessing.init` names.
        fixed_mask, moving_mask: Where the images count, and what "moments" is restricted to; on the images' lattices
            but for a header's rounding, or None.
        inverted: The image in which bright and dark are exchanged, or None.

    Returns:
        An `AlignedPair`.

    Raises:
        UserError: If a volume holds no contrast within the intensity window.
    """
    fixed = normalised(fixed, preprocessing.intensity, "fixed", inverted == "fixed")
    moving = normalised(moving, preprocessing.intensity, "moving", inverted == "moving")
    fixed_mask = None if fixed_mask is None else fixed.with_array(fixed_mask.array)
    moving_mask = None if moving_mask is None else moving.with_array(moving_mask.array)
    if init is None:
        # Of the normalised volumes, which are all that training keeps.
        init = initial_alignment(preprocessing.init, fixed, moving, fixed_mask, moving_mask)
    notes = [*(f"fixed: {note}" for note in fixed.notes), *(f"moving: {note}" for note in moving.notes)]
    if inverted is not None:
        notes.append(
            f"{inverted}: bright and dark were exchanged, since its contrast is opposite to the other image's."
        )
    return AlignedPair(fixed, moving, init, fixed_mask, moving_mask, tuple(notes), inverted)


def prepare_pair(
    fixed: Volume,
    moving: Volume,
    preprocessing: Preprocessing,
    init: np.ndarray | None = None,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> NetworkInput:
    """Aligns a pair initially and resamples both onto the network grid.

    Args:
        fixed, moving, preprocessing, init, fixed_mask, moving_mask: See `align_pair`.

    Returns:
        A `NetworkInput`.

    Raises:
        UserError: If a volume holds no contrast within the intensity window.
    """
    return on_network_grid(align_pair(fixed, moving, preprocessing, init, fixed_mask, moving_mask), preprocessing)


def on_network_grid(pair: AlignedPair, preprocessing: Preprocessing) -> NetworkInput:
    """Resamples an aligned pair onto the network grid.

    Args:
        pair: An `AlignedPair`.
        preprocessing: `tfreg.config.Preprocessing`.

    Returns:
        A `NetworkInput`.
    """
    lattice = configured_grid(pair.fixed.lattice, preprocessing.network_grid)
    return on_lattice(pair, lattice, preprocessing.interpolation)


def on_lattice(pair: AlignedPair, lattice: Lattice, interpolation: str = "linear") -> NetworkInput:
    """Resamples an aligned pair onto a lattice.

    Args:
        pair: An `AlignedPair`.
        lattice: The `Lattice`, in the fixed image's world.
        interpolation: See `onto_network_grid`.

    Returns:
        A `NetworkInput`.
    """
    return NetworkInput(
        onto_network_grid(pair.fixed, lattice, interpolation=interpolation),
        onto_network_grid(pair.moving, lattice, pair.init, interpolation),
        lattice,
        pair.init,
        pair.notes,
    )


def _resample(volume, lattice, interpolation, world_map, anti_alias=False):
    """`(i, j, k)`, a volume's values where `voxel_map` puts the lattice's voxels; zero outside it."""
    places = Lattice(lattice.shape, voxel_map(volume, lattice, world_map))
    return resample(Volume(volume.array, np.eye(4)), places, interpolation, anti_alias=anti_alias).array
