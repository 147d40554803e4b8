"""From the passes of a network to one transform with a linear part."""

from collections.abc import Sequence

import numpy as np

from tfreg.transforms.composed_passes import ComposedPasses
from tfreg.transforms.transform import Transform
from tfreg.transforms.voxel_map import AxisMap
from tfreg.volumes.lattice import Lattice


def compose_passes(passes: Sequence[Transform], linear: np.ndarray | None = None) -> Transform:
    """The transform that several passes make together, each of which saw the moving image as warped by those before.

    Args:
        passes: A `Transform` a pass, in their order, each on its own lattice in the fixed image's world. The first
            leads to the moving image's world, those after it stay in the fixed one's.
        linear: `(4, 4)`, the linear part that the whole is to have, fixed world to fixed world, before init; None
            takes the product of the passes' own.

    Returns:
        A `Transform` on the last pass' lattice: init is the first pass' own, and its deformation what the linear part
        does not do. One without deformations where no pass has one.

    Raises:
        TypeError: If a pass is itself composed of several.
    """
    lattice, init = passes[-1].lattice, passes[0].init
    if linear is None:
        linear = np.linalg.inv(init) @ np.linalg.multi_dot([np.eye(4), *(part.linear_world for part in passes)])
    to_world, to_voxel = lattice.affine, np.linalg.inv(lattice.affine)
    matrix = to_voxel @ linear @ to_world
    maps, matrices = [], []
    # From the voxels of the lattice, A is undone first.
    pending = to_world @ np.linalg.inv(matrix)
    for part in reversed(passes):
        pending = part.linear_voxel @ np.linalg.inv(part.lattice.affine) @ pending
        if part.deformation is not None:
            if not isinstance(part.deformation, AxisMap):
                raise TypeError(f"`passes` must be single ones. Received: a deformation {type(part.deformation)}")
            maps.append(part.deformation)
            matrices.append(pending)
            pending = np.eye(4)
        pending = part.lattice.affine @ pending
    deformation = None
    if maps:
        deformation = ComposedPasses(tuple(maps), (*matrices, to_voxel @ pending), lattice.shape)
    return Transform(lattice, about_centre(matrix, lattice), deformation, init)


def about_centre(matrix: np.ndarray, lattice: Lattice) -> np.ndarray:
    """A matrix on voxel coordinates as a `Transform` keeps it.

    Args:
        matrix: `(4, 4)`.
        lattice: The `Lattice`.

    Returns:
        `(3, 4)`: the same 3x3 part, and the translation of the lattice's centre.
    """
    centre = lattice.centre_voxel
    shift = matrix[:3, :3] @ centre + matrix[:3, 3] - centre
    return np.concatenate([matrix[:3, :3], shift[:, None]], axis=1)


def nearest_affine(points: np.ndarray, images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The affine map that follows a map best, by weighted least squares.

    Args:
        points: `(n, 3)`.
        images: `(n, 3)`, where the map takes them.
        weights: `(n)`, not negative: how much the squared distance counts at each.

    Returns:
        `(4, 4)`. Of directions in which the points do not differ, nothing is changed but by the translation.
    """
    total = weights.sum()
    centre, target = weights @ points / total, weights @ images / total
    away, displaced = points - centre, (images - target) - (points - centre)
    normal = away.T @ (weights[:, None] * away)
    matrix = np.eye(4)
    matrix[:3, :3] += (np.linalg.pinv(normal, hermitian=True) @ (away.T @ (weights[:, None] * displaced))).T
    matrix[:3, 3] = target - matrix[:3, :3] @ centre
    return matrix
