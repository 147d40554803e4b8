"""From any smooth map to the composed deformation that follows it."""

from collections.abc import Sequence

import numpy as np

from tfreg.transforms.deformation import Deformation, logits_from_displacement
from tfreg.transforms.voxel_map import control_shape

# Largest change of a component along its own axis, voxels per voxel: gradients keep away from 0 and 2.
STEEPEST = 0.9


def control_centres(shape: Sequence[int], stride: int) -> np.ndarray:
    """Where the cells of a deformation's control points have their centres.

    Args:
        shape: The lattice's three sizes.
        stride: Voxels per control point along each axis.

    Returns:
        `(ceil(i/stride), ceil(j/stride), ceil(k/stride), 3)` float64 voxel coordinates.
    """
    lines = [stride * np.arange(n) + (stride - 1) / 2 for n in control_shape(shape, stride)]
    return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)


def control_displacements(mapped: np.ndarray, stride: int) -> np.ndarray:
    """The control points' displacements with which three one-dimensional maps, composed, follow a given one.

    T_i moves the first coordinate to where the map takes it; T_j, which is applied after it, then has to be read
    at places that T_i has moved, and T_k at places that both have. Where the map stretches or turns back along
    an axis by more than a deformation can, the nearest that it can is taken.

    Args:
        mapped: `(i, j, k, 3)`, the map's values at `control_centres`, voxel coordinates.
        stride: Voxels per control point along each axis.

    Returns:
        `(i, j, k, 3)`, voxels: for `tfreg.transforms.deformation.logits_from_displacement`, composed from the start
        of each line.
    """
    centres = control_centres([n * stride for n in mapped.shape[:3]], stride)
    displacement = mapped - centres
    for axis in (0, 1):
        rest = displacement[..., axis + 1 :]
        increasing = np.maximum.accumulate(centres[..., axis] + displacement[..., axis], axis)
        wanted = np.moveaxis(centres[..., axis], axis, -1)[0, 0]
        displacement[..., axis + 1 :] = _along_lines(rest, increasing, wanted, axis)
    for axis in range(3):
        displacement[..., axis] = _attainable(displacement[..., axis], axis, stride)
    return displacement


def nearest_deformation(mapped: np.ndarray, shape: tuple[int, int, int], stride: int) -> Deformation:
    """The composed deformation that follows a map.

    Args:
        mapped: `(i, j, k, 3)`, the map's values at `control_centres`, voxel coordinates.
        shape: The lattice's three sizes.
        stride: Voxels per control point along each axis.

    Returns:
        A `Deformation`, anchored at the start of each line.
    """
    return composed_deformation(control_displacements(mapped, stride), shape, stride)


def composed_deformation(displacement: np.ndarray, shape: tuple[int, int, int], stride: int) -> Deformation:
    """The composed deformation of control points' displacements, anchored at the start of each line.

    Args:
        displacement: `(i, j, k, 3)`, voxels.
        shape: The lattice's three sizes.
        stride: Voxels per control point along each axis.

    Returns:
        A `Deformation`.
    """
    return Deformation(logits_from_displacement(displacement, stride), shape, stride, "composed", "start")


def _along_lines(values, places, wanted, axis):
    """Values `(i, j, k, n)`, known at each line's own increasing places along an axis, at those wanted on all lines."""
    lines = np.moveaxis(values, axis, -2)
    result = np.empty_like(lines)
    places = np.moveaxis(places, axis, -1)
    for line in np.ndindex(places.shape[:2]):
        for component in range(values.shape[-1]):
            result[line][:, component] = np.interp(wanted, places[line], lines[line][:, component])
    return np.moveaxis(result, -2, axis)


def _attainable(component, axis, stride):
    """One component at the ends of the cells, where the running sums have it, in the variables behind its logits."""
    lines = np.moveaxis(component, axis, 0)
    share = (stride - 1) / (2 * stride)
    following = np.concatenate([lines[1:], lines[-1:]])
    lines = (1 - share) * lines + share * following
    result, approached, total = np.empty_like(lines), 0.0, 0.0
    for number, line in enumerate(lines):
        slope = np.clip((line - approached) / stride, -STEEPEST, STEEPEST)
        approached = approached + stride * slope
        # A gradient is 1 + tanh(logit / 2), and a logit 2 / stride times the variables' difference.
        total = total + stride * np.arctanh(slope)
        result[number] = total
    return np.moveaxis(result, 0, axis)
