"""The deformable part: the same map as the integration layers, in float64 NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.special import expit

from tfreg.runtime.threads import in_threads

LOGIT_LIMIT = 7.0


def upsampled(volume: np.ndarray, factor: int | Sequence[int]) -> np.ndarray:
    """Trilinear up-sampling with half-pixel centres, the border's value continued.

    Args:
        volume: `(i, j, k, channels)`.
        factor: Positive integer, or three of them, one an axis.

    Returns:
        `(factor*i, factor*j, factor*k, channels)` float64.
    """
    volume = np.asarray(volume, np.float64)
    for axis, times in enumerate(np.broadcast_to(factor, 3)):
        size = volume.shape[axis]
        position = np.clip((np.arange(size * times) + 0.5) / times - 0.5, 0, size - 1)
        low = np.floor(position).astype(np.intp)
        fraction = (position - low).reshape([-1 if a == axis else 1 for a in range(4)])
        high = np.minimum(low + 1, size - 1)
        volume = volume.take(low, axis) * (1 - fraction) + volume.take(high, axis) * fraction
    return volume


def displacement_from_logits(logits: np.ndarray, stride: int) -> np.ndarray:
    """Displacements of control points, of which the logits are 2/stride times the differences.

    Args:
        logits: `(i, j, k, 3)`.
        stride: Voxels per logit along each axis.

    Returns:
        `(i, j, k, 3)`, voxels: the running sum of each component along its own axis, times stride/2.
    """
    return np.stack([np.cumsum(logits[..., d], axis=d) for d in range(3)], axis=-1) * (stride / 2)


def logits_from_displacement(displacement: np.ndarray, stride: int) -> np.ndarray:
    """The inverse of `displacement_from_logits`; the same as the layers' function of this name."""
    differences = [np.diff(displacement[..., d], axis=d, prepend=0) for d in range(3)]
    return np.stack(differences, axis=-1) * (2 / stride)


def sampled(array: np.ndarray, points_voxel: np.ndarray) -> np.ndarray:
    """Trilinear interpolation of an image or of one displacement component, the border's value continued outside.

    Args:
        array: `(i, j, k)`, of floats.
        points_voxel: `(..., 3)` voxel coordinates.

    Returns:
        `(...)`, of the array's dtype.
    """
    coordinates = np.asarray(points_voxel).reshape(-1, 3).T  # (3, n)
    values = ndimage.map_coordinates(array, coordinates, array.dtype, order=1, mode="nearest")
    return values.reshape(np.shape(points_voxel)[:-1])


@dataclass(frozen=True, eq=False)
class Deformation:
    """Spatial gradients on a lattice, integrated to a map of voxel coordinates.

    Args:
        logits: `(ceil(i/stride), ceil(j/stride), ceil(k/stride), 3)`, the network's output.
        shape: The lattice's three sizes (i, j, k).
        stride: Voxels per logit along each axis.
        integration: "composed" or "axiswise", as the layers of those names.
        anchor: "centre" or "start", where each line keeps its place.
        damping: λ in (0, 1]; the gradients used are 1 + λ(Φ - 1).

    Raises:
        ValueError: If an option is unknown or the logits do not cover the shape.

    Example:
        >>> logits = np.zeros((4, 5, 6, 3), np.float32)
        >>> tfreg.transforms.Deformation(logits, (8, 10, 12))([1.0, 2.0, 3.0]).tolist()
        [1.0, 2.0, 3.0]
        >>> logits[..., 0] = 1.0
        >>> stretched = tfreg.transforms.Deformation(logits, (8, 10, 12), anchor="start")
        >>> stretched([1.0, 2.0, 3.0]).round(3).tolist()
        [1.924, 2.0, 3.0]
    """

    logits: np.ndarray
    shape: tuple[int, int, int]
    stride: int = 2
    integration: str = "composed"
    anchor: str = "centre"
    damping: float = 1.0

    def __post_init__(self) -> None:
        if self.integration not in ("composed", "axiswise"):
            raise ValueError(
                f"`integration` must be 'composed' or 'axiswise'. Received: integration={self.integration!r}"
            )
        if self.anchor not in ("centre", "start"):
            raise ValueError(f"`anchor` must be 'centre' or 'start'. Received: anchor={self.anchor!r}")
        if not 0 < self.damping <= 1:
            raise ValueError(f"`damping` must be in (0, 1]. Received: damping={self.damping}")
        if self.stride < 1:
            raise ValueError(f"`stride` must be a positive integer. Received: stride={self.stride}")
        expected = (*(-(-n // self.stride) for n in self.shape), 3)
        if self.logits.shape != expected or not np.isfinite(self.logits).all():
            raise ValueError(f"`logits` must be finite, of shape {expected}. Received: shape={self.logits.shape}")

    @cached_property
    def gradients(self) -> np.ndarray:
        """`(i, j, k, 3)` float64, voxels per voxel, after damping."""
        result = np.empty((*self.shape, 3))

        def fill(component):
            i, j, k = self.shape
            fine = upsampled(self.logits[..., component, None], self.stride)[:i, :j, :k, 0]
            result[..., component] = 1 + self.damping * (2 * expit(np.clip(fine, -LOGIT_LIMIT, LOGIT_LIMIT)) - 1)

        in_threads(fill, range(3))
        return result

    @cached_property
    def displacements(self) -> tuple[np.ndarray, ...]:
        """Three `(i, j, k)` float64 arrays: running sums of (gradients - 1), one along each axis, in voxels."""
        results = []
        for d in range(3):
            total = np.cumsum(self.gradients[..., d] - 1, axis=d)
            if self.anchor == "centre":
                size = self.shape[d]
                middle = (total.take([(size - 1) // 2], d) + total.take([size // 2], d)) / 2
                total = total - middle
            results.append(total)
        return tuple(results)

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

    def damped(self, damping: float) -> "Deformation":
        """The same deformation with another damping."""
        return Deformation(self.logits, self.shape, self.stride, self.integration, self.anchor, damping)
