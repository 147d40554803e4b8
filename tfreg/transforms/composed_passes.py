"""Several maps evaluated one after the other: what the passes of a network are together."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from tfreg.transforms.voxel_map import AxisMap, VoxelMap


@dataclass(frozen=True, eq=False)
class ComposedPasses(VoxelMap):
    """Maps of different lattices, composed at points: matrices[n] ∘ maps[n-1] ∘ … ∘ maps[0] ∘ matrices[0].

    Nothing is interpolated between two maps, so that a chain of homeomorphisms is one, and its inverse is the
    inverses in reverse order.

    Damping damps all maps alike. What remains when they vanish, the product of the matrices, is undone in the same
    measure by an affine map before the first one: the damped chain tends to the identity, exactly, and a `Transform`
    that holds it tends to its linear part. So what the maps share with that linear part is not lost by damping.

    Args:
        maps: What every pass predicted on its own lattice, in the order of evaluation: that of the last pass first.
        matrices: `(4, 4)` each, one more than there are maps: from the voxels of `shape` into those of the first map,
            from each map's into the next one's, and back into the voxels of `shape`.
        shape: The three sizes (i, j, k) of the lattice whose voxel coordinates are mapped.
        damping: λ in (0, 1].

    Raises:
        ValueError: If there is no map, the damping is out of range, or a matrix is missing or cannot be inverted.

    Example:
        >>> moved = np.zeros((4, 5, 6, 4))
        >>> moved[..., 0] = 1.5
        >>> one = tfreg.transforms.DisplacementDeformation(moved, (4, 5, 6), 1)
        >>> halved = np.diag([0.5, 0.5, 0.5, 1.0])  # into voxels that are twice as large
        >>> chain = tfreg.transforms.ComposedPasses((one,), (halved, np.linalg.inv(halved)), (8, 10, 12))
        >>> chain([1.0, 2.0, 3.0]).tolist()
        [4.0, 2.0, 3.0]
    """

    maps: tuple[AxisMap, ...]
    matrices: tuple[np.ndarray, ...]
    shape: tuple[int, int, int]
    damping: float = 1.0

    def __post_init__(self) -> None:
        if not self.maps:
            raise ValueError("`maps` must hold one map at least. Received: maps=()")
        if not 0 < self.damping <= 1:
            raise ValueError(f"`damping` must be in (0, 1]. Received: damping={self.damping}")
        matrices = tuple(np.array(matrix, np.float64) for matrix in self.matrices)
        if len(matrices) != len(self.maps) + 1 or not all(map(_is_regular, matrices)):
            raise ValueError(
                f"`matrices` must be {len(self.maps) + 1} affine 4x4 matrices with an inverse. "
                f"Received: matrices={[matrix.tolist() for matrix in matrices]}"
            )
        object.__setattr__(self, "matrices", matrices)

    @property
    def is_exactly_invertible(self) -> bool:
        """Whether every map is."""
        return all(part.is_exactly_invertible for part in self.maps)

    @cached_property
    def steps(self) -> tuple[tuple[np.ndarray, VoxelMap], ...]:
        """What is evaluated: a `(4, 4)` matrix and then a map, as often as there are maps, all damped."""
        first, *others = self.matrices[:-1]
        undamped = self.damping == 1
        maps = [part if undamped else part.damped(part.damping * self.damping) for part in self.maps]
        return tuple(zip((first @ self._undone, *others), maps, strict=True))

    def __call__(self, points_voxel: ArrayLike) -> np.ndarray:
        """Maps voxel coordinates `(..., 3)`, exactly, wherever they lie.

        Returns:
            `(..., 3)` float64 voxel coordinates.
        """
        points = np.asarray(points_voxel, np.float64)
        for matrix, part in self.steps:
            points = part(applied(matrix, points))
        return applied(self.matrices[-1], points)

    def expected_error_at(self, points_voxel: ArrayLike) -> np.ndarray | None:
        """The geometric mean of what the passes expect, each in voxels of its own lattice; arguments as of the base.

        Each is read where the maps before it lead, undamped. The last pass is sure of itself where those before it have
        made the images alike, rightly or not: together they say more than it alone (`benchmarks/expected_error.py`).

        Returns:
            `(...)` float64; None where a pass predicts none.
        """
        errors = self.expected_errors_at(points_voxel)
        return None if errors is None else np.exp(np.mean(np.log(errors), axis=0))

    def expected_errors_at(self, points_voxel: ArrayLike) -> np.ndarray | None:
        """What each pass expects, as `expected_error_at` reads it: `(passes, ...)` float64, the last pass first."""
        points, errors = np.asarray(points_voxel, np.float64), []
        for matrix, part in zip(self.matrices, self.maps, strict=False):
            points = applied(matrix, points)
            error = part.expected_error_at(points)
            if error is None:
                return None
            errors.append(error)
            points = part(points)
        return np.stack(errors)

    def damped(self, damping: float) -> "ComposedPasses":
        """The same chain with another damping."""
        return replace(self, damping=damping)

    @property
    def _undone(self):
        """`(4, 4)`, which undoes the product of the matrices in the measure in which the maps are damped."""
        product = np.linalg.multi_dot([np.eye(4), *reversed(self.matrices)])
        return self.damping * np.eye(4) + (1 - self.damping) * np.linalg.inv(product)


def applied(matrix: np.ndarray, points: ArrayLike) -> np.ndarray:
    """Points `(..., 3)`, mapped by an affine `(4, 4)` matrix."""
    return np.asarray(points) @ matrix[:3, :3].T + matrix[:3, 3]


def _is_regular(matrix):
    """Whether it is an affine map with an inverse."""
    return matrix.shape == (4, 4) and np.isfinite(matrix).all() and np.linalg.det(matrix) != 0
