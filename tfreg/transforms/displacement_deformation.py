"""The deformation of a network with the displacement head, in float64 NumPy."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from tfreg.runtime.threads import in_threads
from tfreg.transforms.interpolation import sampled, upsampled
from tfreg.transforms.voxel_map import AxisMap, check_control

SLOPE_LIMIT = 3.5


@dataclass(frozen=True, eq=False)
class DisplacementDeformation(AxisMap):
    """Displacements of control points, limited so that the map of voxel coordinates cannot fold.

    The same map as `tfreg.layers.ComposedDisplacement` makes, where it is defined.

    Args:
        control: `(ceil(i/stride), ceil(j/stride), ceil(k/stride), 4)`, the network's output: displacements in voxels,
            and the logarithm of the expected error in voxels.
        shape: The lattice's three sizes (i, j, k).
        stride: Voxels per control point along each axis.
        damping: λ in (0, 1]; all displacements are multiplied by it.

    Raises:
        ValueError: If the damping or the stride is out of range, or the control values do not cover the shape.

    Example:
        >>> control = np.zeros((4, 5, 6, 4), np.float32)
        >>> control[..., 0] = 2.5
        >>> deformation = tfreg.transforms.DisplacementDeformation(control, (8, 10, 12))
        >>> deformation([1.0, 2.0, 3.0]).tolist()
        [3.5, 2.0, 3.0]
        >>> deformation.expected_error.shape, float(deformation.expected_error.max())
        ((8, 10, 12), 1.0)
    """

    control: np.ndarray
    shape: tuple[int, int, int]
    stride: int = 2
    damping: float = 1.0
    integration: str = field(default="composed", init=False)

    def __post_init__(self) -> None:
        check_control("control", self.control, 4, self)

    @cached_property
    def displacements(self) -> tuple[np.ndarray, ...]:
        """Three `(i, j, k)` float64 arrays, in voxels: running sums of limited slopes, each line's mean kept."""

        def limited(d):
            values = self._channel(d)
            first = values.take([0], d)
            rise = np.cumsum(_limited_slopes(values, d), axis=d)
            return self.damping * (first + (rise + (values - first - rise).mean(axis=d, keepdims=True)))

        return tuple(in_threads(limited, range(3)))

    @property
    def gradients(self) -> np.ndarray:
        """`(i, j, k, 3)` float64, voxels per voxel, after damping; 1 at the first voxel of each line."""
        slopes = [_limited_slopes(self._channel(d), d) for d in range(3)]
        return 1 + self.damping * np.stack(slopes, axis=-1)

    @cached_property
    def expected_error(self) -> np.ndarray:
        """`(i, j, k)` float64: how far from the truth the network expects the undamped map to be, voxels."""
        return np.exp(self._channel(3))

    def expected_error_at(self, points_voxel: ArrayLike) -> np.ndarray:
        """The expected error at voxel coordinates `(..., 3)`, interpolated: `(...)` float64, voxels."""
        return sampled(self.expected_error, np.asarray(points_voxel))

    @property
    def control_displacement(self) -> np.ndarray:
        """What the network predicted, without the expected error."""
        return self.control[..., :3].astype(np.float64)

    def with_control_displacement(self, displacement: np.ndarray) -> "DisplacementDeformation":
        """The deformation of other displacements; the expected error stays as it is."""
        return replace(self, control=np.concatenate([displacement, self.control[..., 3:]], axis=-1))

    def damped(self, damping: float) -> "DisplacementDeformation":
        """The same deformation with another damping."""
        return replace(self, damping=damping)

    def _channel(self, channel):
        """One of the four channels at every voxel, `(i, j, k)` float64."""
        i, j, k = self.shape
        return upsampled(self.control[..., channel, None], self.stride)[:i, :j, :k, 0]


def _limited_slopes(values, axis):
    """tanh of the differences along an axis, clipped before, `(i, j, k)`; zero at the first voxel of each line."""
    differences = np.diff(values, axis=axis, prepend=values.take([0], axis))
    return np.tanh(np.clip(differences, -SLOPE_LIMIT, SLOPE_LIMIT))
