"""The transform that a registration finds, from fixed to moving world coordinates, and its inverse."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tfreg.runtime.threads import in_slabs
from tfreg.transforms.composed_passes import applied
from tfreg.transforms.inverse import inverted
from tfreg.transforms.voxel_map import VoxelMap
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.padding import measured_voxels, outside_value
from tfreg.volumes.resampling import sample
from tfreg.volumes.volume import Volume


class WorldMap(ABC):
    """What every map of world points can do."""

    @abstractmethod
    def __call__(self, points_world: ArrayLike) -> np.ndarray:
        """Maps points `(..., 3)`, RAS+ mm."""

    def displacement_mm(self, lattice: Lattice, progress: Callable[[int], object] | None = None) -> np.ndarray:
        """Displacement of every voxel centre of a lattice.

        Args:
            lattice: A `Lattice` in the world that the map starts from.
            progress: Called with the number of voxels done after each part, or None.

        Returns:
            `(i, j, k, 3)` float32, RAS+ mm.
        """
        result = np.empty((*lattice.shape, 3), np.float32)

        def fill(slab, points):
            result[slab] = self(points) - points
            if progress is not None:
                progress(points[..., 0].size)

        self(lattice.centre_world)  # what all points have in common is computed now, not by every thread
        in_slabs(fill, lattice)
        return result

    def warp(
        self,
        moving: Volume,
        lattice: Lattice,
        interpolation: str = "linear",
        fill: float = 0.0,
        displacement_mm: np.ndarray | None = None,
    ) -> Volume:
        """Resamples a volume that lies where the map leads onto a lattice that lies where it starts.

        Args:
            moving: The moving `Volume`.
            lattice: Where the result lies, such as the fixed volume's lattice.
            interpolation: "linear" or "cubic" for images, "nearest" for labels.
            fill: Value where the transform leaves the moving volume.
            displacement_mm: What `displacement_mm(lattice)` gave, if it is there already.

        Returns:
            A `Volume` on the lattice.
        """
        if displacement_mm is None:
            displacement_mm = self.displacement_mm(lattice)
        points = moving_positions(moving.lattice, lattice, displacement_mm)
        return Volume(sample(moving.array, points, interpolation, fill), lattice.affine, frame=moving.frame)

    def warp_image(
        self,
        moving: Volume,
        lattice: Lattice,
        interpolation: str = "linear",
        background: float | None = None,
        displacement_mm: np.ndarray | None = None,
    ) -> Volume:
        """Resamples an image as `warp` does; what it did not measure has no part in the interpolation.

        Args:
            moving: The moving image, a `Volume`.
            lattice: Where the result lies, such as the fixed volume's lattice.
            interpolation: "linear", "cubic" or "nearest".
            background: Value where the transform leaves the moving volume, or leads to a voxel that is not finite or
                holds padding; None takes the image's own (see `outside_value`).
            displacement_mm: What `displacement_mm(lattice)` gave, if it is there already.

        Returns:
            A `Volume` on the lattice.

        Raises:
            ValueError: If no value of the image is finite.
        """
        if displacement_mm is None:
            displacement_mm = self.displacement_mm(lattice)
        measured, _ = measured_voxels(moving.array)
        if background is None:
            background = outside_value(moving.array)
        points = moving_positions(moving.lattice, lattice, displacement_mm)
        array = sample(moving.array, points, interpolation, background, measured)
        return Volume(array, lattice.affine, frame=moving.frame)


@dataclass(frozen=True, eq=False)
class Transform(WorldMap):
    """Fixed world → network voxel → A → deformation → network world → init → moving world.

    A pull-back, as in ITK: it tells for a point of the fixed image where to read the moving one. It is
    evaluated exactly at any point, at any resolution.

    Args:
        lattice: The network grid, a `Lattice` in fixed world coordinates.
        linear: `(3, 4)`, the matrix A and translation in network voxels, about the lattice's centre.
        deformation: A `Deformation`, `DisplacementDeformation` or `ComposedPasses` of the lattice, or None for a linear
            transform.
        init: `(4, 4)`, fixed world to moving world, mm.

    Raises:
        ValueError: If A mirrors or collapses space, or the deformation lies on another lattice.

    Example:
        >>> lattice = tfreg.Lattice((20, 18, 16), np.diag([2.0, 2.0, 3.0, 1.0]))
        >>> init = np.eye(4)
        >>> init[0, 3] = 5.0
        >>> transform = tfreg.Transform.identity(lattice, init)
        >>> transform([1.0, 2.0, 3.0]).tolist()
        [6.0, 2.0, 3.0]
        >>> transform.inverse()([6.0, 2.0, 3.0]).tolist()
        [1.0, 2.0, 3.0]
    """

    lattice: Lattice
    linear: np.ndarray
    deformation: VoxelMap | None
    init: np.ndarray

    def __post_init__(self) -> None:
        linear, init = np.array(self.linear, np.float64), np.array(self.init, np.float64)
        if linear.shape != (3, 4) or not np.isfinite(linear).all() or np.linalg.det(linear[:, :3]) <= 0:
            raise ValueError(f"`linear` must be 3x4 with a positive determinant. Received: linear={linear.tolist()}")
        if init.shape != (4, 4) or not np.isfinite(init).all() or np.linalg.det(init) == 0:
            raise ValueError(f"`init` must be an invertible 4x4 matrix. Received: init={init.tolist()}")
        if self.deformation is not None and self.deformation.shape != self.lattice.shape:
            raise ValueError(
                f"`deformation` must have the lattice's shape {self.lattice.shape}. "
                f"Received: shape={self.deformation.shape}"
            )
        object.__setattr__(self, "linear", linear)
        object.__setattr__(self, "init", init)

    @classmethod
    def identity(cls, lattice: Lattice, init: np.ndarray | None = None) -> "Transform":
        """The transform that only applies `init`, `(4, 4)` fixed world to moving world."""
        return cls(lattice, np.eye(3, 4), None, np.eye(4) if init is None else init)

    @property
    def linear_voxel(self) -> np.ndarray:
        """`(4, 4)`, A as a matrix on network voxel coordinates."""
        centre = self.lattice.centre_voxel
        matrix = np.eye(4)
        matrix[:3, :3] = self.linear[:, :3]
        matrix[:3, 3] = centre - self.linear[:, :3] @ centre + self.linear[:, 3]
        return matrix

    @property
    def linear_world(self) -> np.ndarray:
        """`(4, 4)`, init and A alone: fixed world to moving world, mm."""
        affine = self.lattice.affine
        return self.init @ affine @ self.linear_voxel @ np.linalg.inv(affine)

    def __call__(self, points_world: ArrayLike) -> np.ndarray:
        """Maps points of the fixed image to the moving image.

        Args:
            points_world: `(..., 3)`, fixed world RAS+ mm.

        Returns:
            `(..., 3)` float64, moving world RAS+ mm.
        """
        if self.deformation is None:
            return applied(self.linear_world, points_world)
        points = self.lattice.to_voxel(points_world)
        points = self.deformation(applied(self.linear_voxel, points))
        return applied(self.init @ self.lattice.affine, points)

    def inverse(self) -> "InverseTransform":
        """The `InverseTransform`, from moving to fixed world coordinates."""
        return InverseTransform(self)


@dataclass(frozen=True, eq=False)
class InverseTransform(WorldMap):
    """Moving world → init⁻¹ → network voxel → deformation⁻¹ → A⁻¹ → network world = fixed world.

    Takes points of the moving image to the fixed one, and warps fixed volumes onto moving lattices. Exact for
    composed integration; for axiswise ask `residual_voxels`.

    Args:
        transform: The `Transform` to invert.

    Example:
        >>> transform, fixed, moving = tfreg.load_transform("result")
        >>> inverse = tfreg.transforms.InverseTransform(transform)
        >>> points = tfreg.read_points("chests/points/s003_exhale.csv")
        >>> bool(np.abs(inverse(transform(points)) - points).max() < 1e-6)
        True
        >>> onto_moving = inverse.warp(tfreg.read_volume("exhale.nii.gz"), moving)
        >>> onto_moving.shape == moving.shape
        True
    """

    transform: Transform

    def __call__(self, points_world: ArrayLike) -> np.ndarray:
        """Maps points of the moving image to the fixed image.

        Args:
            points_world: `(..., 3)`, moving world RAS+ mm.

        Returns:
            `(..., 3)` float64, fixed world RAS+ mm.
        """
        forward = self.transform
        if forward.deformation is None:
            return applied(np.linalg.inv(forward.linear_world), points_world)
        affine = forward.lattice.affine
        points = inverted(forward.deformation, applied(np.linalg.inv(forward.init @ affine), points_world))
        return applied(affine @ np.linalg.inv(forward.linear_voxel), points)

    def residual_voxels(self, points_world: ArrayLike, inverted_world: ArrayLike) -> np.ndarray:
        """How well points were inverted: zero up to rounding, unless axiswise integration folds.

        Args:
            points_world: `(..., 3)`, moving world RAS+ mm.
            inverted_world: `(..., 3)`, where this inverse took them, fixed world RAS+ mm.

        Returns:
            `(...)` float64, network voxels between `points_world` and what the transform makes of `inverted_world`.
        """
        to_network = np.linalg.inv(self.transform.init @ self.transform.lattice.affine)
        away = self.transform(inverted_world) - np.asarray(points_world)
        return np.linalg.norm(away @ to_network[:3, :3].T, axis=-1)

    def inverse(self) -> Transform:
        """The `Transform` itself."""
        return self.transform


def moving_positions(moving: Lattice, lattice: Lattice, displacement_mm: np.ndarray) -> np.ndarray:
    """Where a displacement takes the voxels of the lattice on which it lies.

    Args:
        moving: The `Lattice` to which it leads.
        lattice: The `Lattice` on which it lies.
        displacement_mm: `(i, j, k, 3)`, RAS+ mm.

    Returns:
        `(i, j, k, 3)` float64, voxel coordinates of `moving`.
    """
    return np.concatenate(in_slabs(lambda slab, points: moving.to_voxel(points + displacement_mm[slab]), lattice))
