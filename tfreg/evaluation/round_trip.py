"""How far a point of the fixed image comes back from where a transform and then its inverse take it."""

import tempfile
from pathlib import Path

import numpy as np

from tfreg.io.transform_archive import load_transform, save_transform
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

POINTS = 10_000


def round_trip(transform: Transform, fixed: Lattice, moving: Lattice) -> dict[str, float]:
    """The largest distance of random points from where they come back to.

    Args:
        transform: From fixed to moving.
        fixed, moving: The images' lattices.

    Returns:
        Dictionary: `round_trip_voxels`, in voxels of the transform's lattice, and `round_trip_mm`, through a
        transform.npz; of `POINTS` points of the fixed image those that the linear part keeps inside that lattice,
        beyond which a deformation ends. Empty where there are none.
    """
    points = fixed.to_world(np.random.default_rng(0).uniform(0, np.array(fixed.shape) - 1, (POINTS, 3)))
    to_voxel = transform.lattice.to_voxel
    voxels = to_voxel(points)
    moved = voxels @ transform.linear_voxel[:3, :3].T + transform.linear_voxel[:3, 3]
    points = points[((moved >= 0) & (moved <= np.array(transform.lattice.shape) - 1)).all(axis=-1)]
    if not len(points):
        return {}
    back = transform.inverse()(transform(points))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "transform.npz"
        save_transform(file, transform, fixed, moving)
        read, *_ = load_transform(file)
    through_file = read.inverse()(read(points))
    return {
        "round_trip_voxels": float(np.linalg.norm(to_voxel(back) - to_voxel(points), axis=-1).max()),
        "round_trip_mm": float(np.linalg.norm(through_file - points, axis=-1).max()),
    }
