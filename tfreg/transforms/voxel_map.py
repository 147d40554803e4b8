"""Maps of voxel coordinates: what a transform asks of its deformation, and those of three displacements."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from tfreg.transforms.interpolation import sampled


class VoxelMap(ABC):
    """A one-to-one map of a lattice's voxel coordinates, the deformable part of a `Transform`.

    Attributes:
        shape: The lattice's three sizes (i, j, k).
        damping: λ in (0, 1]: the map tends to the identity with it.
    """

    shape: tuple[int, int, int]
    damping: float

    @property
    @abstractmethod
    def is_exactly_invertible(self) -> bool:
        """Whether it is a homeomorphism with an inverse in closed form; one by iteration is not exact."""

    @abstractmethod
    def __call__(self, points_voxel: ArrayLike) -> np.ndarray:
        """Maps voxel coordinates `(..., 3)` of the lattice, exactly, wherever they lie.

        Returns:
            `(..., 3)` float64 voxel coordinates.
        """

    def expected_error_at(self, points_voxel: ArrayLike) -> np.ndarray | None:
        """How far from the truth a network expects the undamped map to be, as it says so itself.

        Args:
            points_voxel: `(..., 3)` voxel coordinates of the lattice.

        Returns:
            `(...)` float64, voxels; None if nothing is known.
        """
        return None

    @abstractmethod
    def damped(self, damping: float) -> Self:
        """The same map with another damping."""


class AxisMap(VoxelMap):
    """A map by three displacements on one lattice, each along its own axis.

    Attributes:
        stride: Voxels per control point along each axis.
        integration: "composed": T_k ∘ T_j ∘ T_i, where T_d adds the interpolant of displacement d to coordinate d and
            strictly increases along it; or "axiswise": all three are added at once.
        damping: λ in (0, 1], by which all displacements are multiplied.
    """

    stride: int
    integration: str

    @property
    @abstractmethod
    def displacements(self) -> tuple[np.ndarray, ...]:
        """Three `(i, j, k)` float64 arrays, in voxels, after damping."""

    @property
    @abstractmethod
    def control_displacement(self) -> np.ndarray | None:
        """Displacements of the control points, `(ceil(i/stride), ..., 3)`, in voxels.

        They are changed by `with_control_displacement`; None where there are none that may be smoothed.
        """

    @abstractmethod
    def with_control_displacement(self, displacement: np.ndarray) -> Self:
        """The map of other control points' displacements."""

    @property
    def is_exactly_invertible(self) -> bool:
        """True for composed integration."""
        return self.integration == "composed"

    @cached_property
    def lines(self) -> tuple[np.ndarray, ...]:
        """The displacements with each component's own axis last: the voxels of one line lie together in memory."""
        return tuple(np.ascontiguousarray(np.moveaxis(part, d, -1)) for d, part in enumerate(self.displacements))

    def __call__(self, points_voxel: ArrayLike) -> np.ndarray:
        """Maps voxel coordinates `(..., 3)` of the lattice, exactly, wherever they lie.

        Returns:
            `(..., 3)` float64 voxel coordinates.
        """
        points = np.array(points_voxel, np.float64)
        if self.integration == "axiswise":
            return points + np.stack([sampled(component, points) for component in self.displacements], axis=-1)
        for d, component in enumerate(self.displacements):
            points[..., d] += sampled(component, points)
        return points


def check_control(name: str, values: np.ndarray, channels: int, of: AxisMap) -> None:
    """Refuses a damping, a stride, or control points' values, with which there is no map.

    Args:
        name: What the message calls the values.
        values: To be `(ceil(i/stride), ceil(j/stride), ceil(k/stride), channels)`.
        channels: How many each control point has.
        of: The map.

    Raises:
        ValueError: If the damping or the stride is out of range, or the values are not finite or of another shape.
    """
    if not 0 < of.damping <= 1:
        raise ValueError(f"`damping` must be in (0, 1]. Received: damping={of.damping}")
    if of.stride < 1:
        raise ValueError(f"`stride` must be a positive integer. Received: stride={of.stride}")
    expected = (*control_shape(of.shape, of.stride), channels)
    if values.shape != expected or not np.isfinite(values).all():
        raise ValueError(f"`{name}` must be finite, of shape {expected}. Received: shape={values.shape}")


def control_shape(shape: Sequence[int], stride: int) -> tuple[int, ...]:
    """How many control points cover a lattice of three sizes along each axis."""
    return tuple(-(-n // stride) for n in shape)
