"""Where the levels of a refinement begin: what was found by then, and which of it makes the images most alike."""

import time
from typing import Any

import numpy as np

from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.pyramid import cubes, onto_level
from tfreg.refinement.linear_objective import MEASURES, measure_for, weight_of_overlap
from tfreg.transforms.transform import Transform
from tfreg.volumes.resampling import anti_aliased, is_inside, sample

# Cubes in each field of view on which starts are compared.
JUDGED_VOXELS = 60_000

LINEAR, DISCRETE = "linear", "discrete"


def best_start(pair: AlignedPair, linear: Transform, similarity: str) -> tuple[Transform, list[dict[str, Any]]]:
    """The better of the linear alignment and of what a discrete search finds from it.

    Args:
        pair: An `AlignedPair`, of which the initial alignment does not count.
        linear: The identity on the lattice of the refinement, after the linear alignment.
        similarity: What the whole refinement goes by.

    Returns:
        The `Transform` to begin from, and for the report a dictionary a candidate: `name`, `likeness` and `seconds`.
    """
    from tfreg.refinement.discrete_search import discrete_search

    likeness = Likeness(pair, similarity)
    candidates, reports = [linear], [{"name": LINEAR, "likeness": likeness(linear), "seconds": 0.0}]
    begun = time.perf_counter()
    candidates.append(discrete_search(pair, linear))
    seconds = round(time.perf_counter() - begun, 3)
    reports.append({"name": DISCRETE, "likeness": likeness(candidates[-1]), "seconds": seconds})
    best = max(range(len(candidates)), key=lambda number: reports[number]["likeness"])
    return candidates[best], reports


class Likeness:
    """How much two images resemble each other under a transform, read in both directions.

    Similarity times the square root of the overlap, as in the linear stage: what was not measured is neither like nor
    unlike, but less overlap must be made up for by more resemblance.

    Args:
        pair: An `AlignedPair`.
        similarity: What the whole refinement goes by.
    """

    def __init__(self, pair: AlignedPair, similarity: str) -> None:
        self._compare = MEASURES[measure_for(similarity)]
        self._sides = [_Side(volume, mask) for volume, mask in zip((pair.fixed, pair.moving), pair.masks, strict=True)]

    def __call__(self, transform: Transform) -> float:
        """The likeness, at most 1."""
        fixed, moving = self._sides
        values, shares = zip(
            self._one_direction(fixed, moving, transform),
            self._one_direction(moving, fixed, transform.inverse()),
            strict=True,
        )
        return float(np.mean(values) * weight_of_overlap(*shares))

    def _one_direction(self, still, read, world_map):
        """The similarity of one image with the other as read at its voxels, and the share of it that is seen."""
        values, seen = read.at(world_map(still.points))
        weights = still.weights * seen
        return self._compare(still.values, values, weights)[0], weights.sum() / max(still.weights.sum(), 1e-6)


class _Side:
    """An image on cubes, to be compared, and as it lies, to be read."""

    def __init__(self, volume, mask):
        lattice = cubes(volume.lattice, JUDGED_VOXELS)
        values, weights = onto_level(volume, lattice, None, mask)
        self.values, self.weights = values.astype(np.float64), weights.astype(np.float64)
        self.points = lattice.points()
        self._lattice, self._mask = volume.lattice, mask
        self._smooth = anti_aliased(volume.array, lattice.spacing / volume.lattice.spacing)

    def at(self, points_world):
        """Values, and where they were measured, at `(i, j, k, 3)`."""
        points = self._lattice.to_voxel(points_world)
        if self._mask is None:
            seen = is_inside(points, self._lattice.shape)
        else:
            seen = sample(self._mask.array, points, "nearest") != 0
        return sample(self._smooth, points).astype(np.float64), seen
