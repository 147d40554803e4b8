"""The deformation in bytes, from which the page draws the deformed grid."""

from dataclasses import dataclass

import numpy as np

from tfreg.report.pair_views import block_factors
from tfreg.volumes.volume import Volume

MAX_NODES = 300_000
MIN_VOXELS = 1e-3  # what is left of a linear transform by rounding
MIDDLE = 128
STEPS = 127


@dataclass(frozen=True, eq=False)
class GridField:
    """Where the transform leads, in the millimetres of the fixed image's own axes R, A, S.

    Node (i, j, k) lies at the share i / (n - 1) of each axis, from the first to the last voxel's centre.
    A voxel v of the upright fixed image is led to `matrix` (v, 1) + `scale_mm` (code - 128) / 127.

    Args:
        codes: `(i, j, k, 3)` uint8, 128 where the transform is linear.
        matrix: `(3, 4)`, upright voxel to mm, the linear transform closest to the whole one.
        scale_mm: What 127 codes are.
    """

    codes: np.ndarray
    matrix: np.ndarray
    scale_mm: float


def grid_field(fixed: Volume, displacement_mm: np.ndarray) -> GridField:
    """Samples a displacement on few nodes.

    The linear part is split off and kept exactly, so that it is not rounded to bytes: lines that are straight
    stay straight.

    Args:
        fixed: A `Volume`, of which only the place counts.
        displacement_mm: `(i, j, k, 3)` on its lattice, RAS+ mm.

    Returns:
        A `GridField`.
    """
    upright = fixed.reoriented("RAS").lattice
    nodes = _nodes(upright)
    components = (fixed.with_array(displacement_mm[..., d]).reoriented("RAS").array for d in range(3))
    sampled_mm = np.stack([_sampled(component, nodes) for component in components], axis=-1)
    ends = (np.linspace(0, n - 1, m) for n, m in zip(upright.shape, nodes, strict=True))
    voxels = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1)
    mapped_mm = upright.to_voxel(upright.to_world(voxels) + sampled_mm) * upright.spacing
    design = np.concatenate([voxels, np.ones((*nodes, 1))], axis=-1).reshape(-1, 4)
    solution = np.linalg.lstsq(design, mapped_mm.reshape(-1, 3), rcond=None)[0]  # (4, 3)
    rest_mm = mapped_mm - (design @ solution).reshape(mapped_mm.shape)
    largest_mm = float(np.abs(rest_mm).max())
    scale_mm = largest_mm if largest_mm > MIN_VOXELS * upright.spacing.min() else float(upright.spacing.max())
    return GridField((MIDDLE + np.rint(STEPS * rest_mm / scale_mm)).astype(np.uint8), solution.T, scale_mm)


def _nodes(lattice):
    """How many nodes along each axis, two at least."""
    blocks = -(-np.array(lattice.shape) // block_factors(lattice, MAX_NODES))
    return tuple(int(n) for n in np.minimum(np.maximum(blocks, 2), lattice.shape))


def _sampled(array, nodes):
    """`nodes` float64, an array's linear interpolation at nodes from its first to its last voxel."""
    for axis, count in enumerate(nodes):
        places = np.linspace(0, array.shape[axis] - 1, count)
        below = np.minimum(places.astype(int), max(array.shape[axis] - 2, 0))
        share = (places - below).reshape([-1 if d == axis else 1 for d in range(3)])
        above = np.minimum(below + 1, array.shape[axis] - 1)
        array = array.take(below, axis) * (1 - share) + array.take(above, axis) * share
    return array
