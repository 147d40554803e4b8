"""Resampling at arbitrary points, with ITK's rule at the border."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from tfreg.runtime.threads import PART_SIZE, in_threads
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

INTERPOLATIONS = {"nearest": 0, "linear": 1, "cubic": 3}

# What lies beyond the outermost centres: ITK's linear interpolation repeats the border, its B-spline mirrors.
MODES = {"linear": "nearest", "cubic": "mirror"}

# This far from the voxels that hold a measurement their values are continued, before an interpolation that reaches
# beyond them: linear takes in one voxel, cubic two, and its spline's coefficients forget the rest by two more.
CONTINUED_VOXELS = 4

# A blur below this many voxels is rounding noise of a step of one.
MIN_SIGMA = 1e-3


def is_inside(points_voxel: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Where `sample` reads an array of this shape and does not take `fill`.

    Args:
        points_voxel: `(..., 3)` voxel coordinates.
        shape: Three sizes.

    Returns:
        `(...)` of bool: True from half a voxel before the first centre up to, not including, half a voxel past the
        last one.
    """
    return ((points_voxel >= -0.5) & (points_voxel < np.array(shape) - 0.5)).all(axis=-1)


def sample(
    array: np.ndarray,
    points_voxel: ArrayLike,
    interpolation: str = "linear",
    fill: float = 0.0,
    measured: np.ndarray | None = None,
) -> np.ndarray:
    """Values of an array at voxel coordinates.

    As in ITK, a point from half a voxel before the first centre up to, not including, half a voxel past the
    last one is inside: there "nearest" and "linear" take the border's value, and "cubic" mirrors the array.
    A point further out, or with a coordinate that is not a number, takes `fill`. So does a point whose nearest voxel
    is not measured; elsewhere what is not measured has no part in the interpolation.

    Args:
        array: `(i, j, k)`.
        points_voxel: `(..., 3)` voxel coordinates.
        interpolation: "nearest", "linear" or "cubic".
        fill: Value outside the array.
        measured: `(i, j, k)` bool, where the array holds a measurement, or None if it does everywhere.

    Returns:
        `(...)`, float32, or the array's dtype for "nearest".

    Raises:
        ValueError: If the interpolation is unknown, or the array's integers do not hold `fill`.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"`interpolation` must be one of {sorted(INTERPOLATIONS)}. Received: interpolation={interpolation!r}"
        )
    if interpolation == "nearest" and array.dtype.kind in "iu" and not _is_value_of(array.dtype, fill):
        raise ValueError(f"`fill` must be a value of the array's dtype, {array.dtype}. Received: fill={fill!r}")
    points_voxel = np.asarray(points_voxel)
    points = points_voxel.reshape(-1, 3)
    spline = interpolation == "cubic"
    if measured is not None and not measured.any():
        return np.full(points_voxel.shape[:-1], fill, array.dtype if interpolation == "nearest" else np.float32)
    if measured is not None and measured.all():
        measured = None
    if measured is not None and interpolation != "nearest":
        array = continued(array, measured)
    source = ndimage.spline_filter(array, INTERPOLATIONS[interpolation], mode=MODES[interpolation]) if spline else array

    def read(start):
        return _read(source, points[start : start + PART_SIZE], interpolation, fill)

    values = np.concatenate(in_threads(read, range(0, max(1, len(points)), PART_SIZE)))
    if measured is not None:
        values[~sample(measured, points, "nearest", True)] = fill
    return values.reshape(points_voxel.shape[:-1])


def _is_value_of(dtype, number):
    """Whether a dtype of integers holds a number."""
    return float(number).is_integer() and np.iinfo(dtype).min <= int(number) <= np.iinfo(dtype).max


def _read(array, points, interpolation, fill):
    """Values at points `(n, 3)` of an array, or for "cubic" of a spline with these coefficients."""
    coordinates = points.T  # (3, n)
    inside = is_inside(points, array.shape)
    if interpolation == "nearest":
        # ITK rounds half up; map_coordinates at order 0 rounds half to even.
        index = np.floor(np.where(inside, coordinates, 0) + 0.5).astype(np.intp)
        last = np.array(array.shape)[:, None] - 1
        values = array[tuple(np.clip(index, 0, last))]
    else:
        values = ndimage.map_coordinates(
            array,
            coordinates,
            order=INTERPOLATIONS[interpolation],
            mode=MODES[interpolation],
            output=np.float32,
            prefilter=False,
        )
    values[~inside] = fill
    return values


def continued(array: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Gives voxels without a measurement the value of one nearby that has one.

    Args:
        array: `(i, j, k)`.
        measured: `(i, j, k)` bool, true somewhere.

    Returns:
        `(i, j, k)`, the array where `measured`; `CONTINUED_VOXELS` around it the values beside it, along one axis
        after the other, and beyond them the smallest measured value.
    """
    array, has_any = array.copy(), measured.copy()
    for axis in [0, 1, 2] * CONTINUED_VOXELS:
        values, has_value = np.moveaxis(array, axis, 0), np.moveaxis(has_any, axis, 0)
        before = has_value.copy()
        for here, beside in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            taken = ~has_value[here] & before[beside]
            values[here][taken] = values[beside][taken]
            has_value[here] |= taken
    array[~has_any] = array.min(where=measured, initial=array[measured][0])
    return array


def resample(
    volume: Volume,
    lattice: Lattice,
    interpolation: str = "linear",
    fill: float = 0.0,
    world_map: np.ndarray | None = None,
    anti_alias: bool = False,
) -> Volume:
    """Values of a volume at every voxel centre of a lattice.

    Args:
        volume: The `Volume` to read from.
        lattice: The `Lattice` to fill.
        interpolation: "nearest", "linear" or "cubic".
        fill: Value outside the volume.
        world_map: `(4, 4)` applied to the lattice's world points (mm) before reading, or None.
        anti_alias: Smooth the volume first where the lattice is coarser than it.

    Returns:
        A `Volume` on the lattice.
    """
    chain = np.linalg.inv(volume.affine) @ (np.eye(4) if world_map is None else world_map) @ lattice.affine
    array = volume.array
    if anti_alias and interpolation != "nearest":
        array = anti_aliased(array, np.linalg.norm(chain[:3, :3], axis=1))
    points_voxel = lattice.voxels() @ chain[:3, :3].T + chain[:3, 3]
    return Volume(sample(array, points_voxel, interpolation, fill), lattice.affine, frame=volume.frame)


def anti_aliased(array: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Gaussian smoothing that removes what a lattice with the given step cannot hold.

    A step of s voxels needs the blur of a s-voxel box beyond that of the voxel itself; the Gaussian
    with standard deviation sqrt(s² - 1) / 2 has about that width. Steps up to 1 are left alone.

    Args:
        array: `(i, j, k)`.
        step: Three numbers, how many voxels the coarser lattice steps along each axis.

    Returns:
        `(i, j, k)` float32.
    """
    sigma = np.sqrt(np.maximum(np.square(step) - 1, 0)) / 2
    sigma[sigma < MIN_SIGMA] = 0
    array = array.astype(np.float32, copy=False)
    return ndimage.gaussian_filter(array, sigma, mode="nearest") if sigma.any() else array
