"""The deformable part: the same map as the integration layers, in float64 NumPy."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import expit

from tfreg.runtime.threads import in_threads
from tfreg.transforms.interpolation import upsampled
from tfreg.transforms.voxel_map import AxisMap, check_control

LOGIT_LIMIT = 7.0


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


@dataclass(frozen=True, eq=False)
class Deformation(AxisMap):
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
        check_control("logits", self.logits, 3, self)

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

    @property
    def control_displacement(self) -> np.ndarray | None:
        """What `displacement_from_logits` makes of the logits, where it is composed from the start of each line."""
        if (self.integration, self.anchor) != ("composed", "start"):
            return None
        return displacement_from_logits(self.logits, self.stride)

    def with_control_displacement(self, displacement: np.ndarray) -> "Deformation":
        """The deformation of other control points' displacements."""
        return replace(self, logits=logits_from_displacement(displacement, self.stride))

    def damped(self, damping: float) -> "Deformation":
        """The same deformation with another damping."""
        return replace(self, damping=damping)
