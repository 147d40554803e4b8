"""Scenes in the world from which images are cut out, and maps of them."""

import functools

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from tfreg.volumes.lattice import Lattice
from tfreg.volumes.resampling import sample


@functools.cache
def blobs(seed=4, scales=(2.0, 5.0)):
    """A smooth function of world points (mm), in [0, 1], with structure at some scales, in 1.5 mm."""
    rng = np.random.default_rng(seed)
    noise = sum(ndimage.gaussian_filter(rng.normal(size=(90, 90, 90)), s) * s**1.5 for s in scales)
    noise = (noise - noise.min()) / np.ptp(noise)
    return lambda points: sample(noise, np.asarray(points) / 1.5 + 45)


def lattice_about(matrix, shape, centre):
    """A lattice of voxels `matrix`, `(3, 3)`, that has its centre at a world point."""
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = centre - matrix @ ((np.array(shape) - 1) / 2)
    return Lattice(shape, affine)


def rigid_about_centre(lattice, degrees, shift_mm, axis=(1, -1, 1)):
    """A world map `(4, 4)`."""
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array(axis) / np.linalg.norm(axis))
    return about_centre(lattice, turn.as_matrix(), shift_mm)


def about_centre(lattice, matrix, shift_mm):
    world_map = np.eye(4)
    world_map[:3, :3] = matrix
    world_map[:3, 3] = lattice.centre_world - world_map[:3, :3] @ lattice.centre_world + shift_mm
    return world_map
