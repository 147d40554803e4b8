"""What a start of a refinement is worth: how alike it makes the images, and how far it bends them for that."""

import numpy as np

from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.pyramid import cubes, onto_level
from tfreg.refinement.linear_objective import MEASURES, measure_for, weight_of_overlap
from tfreg.transforms.transform import Transform
from tfreg.volumes.resampling import anti_aliased, is_inside, sample

# Cubes in each field of view on which starts are compared.
JUDGED_VOXELS = 60_000

# What a mean squared slope of one costs, in likeness: with less, lungs of two people are bent into likeness; with more,
# hearts are not moved far enough (measured).
ROUGHNESS_COST = 0.28

LINEAR, DISCRETE, NETWORK = "linear", "discrete", "network"


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

    def judged(self, transform: Transform) -> dict[str, float]:
        """For the report: the transform's `likeness` and `roughness`, and what it is `worth`.

        Local details can always be made more alike by bending more: between people, an alignment that needs much more
        of it is not the better one.
        """
        likeness, roughness = self(transform), self.roughness(transform)
        return {"likeness": likeness, "roughness": roughness, "worth": likeness - ROUGHNESS_COST * roughness}

    def roughness(self, transform: Transform) -> float:
        """The mean squared slope of the displacement that a transform adds to its linear part, without a unit."""
        fixed, _ = self._sides
        linear = transform.linear_world
        moved = (transform(fixed.points) - linear[:3, 3]) @ np.linalg.inv(linear[:3, :3]).T - fixed.points
        slopes = np.gradient(moved, *fixed.spacing, axis=(0, 1, 2))
        return float(sum(np.square(slope).sum(axis=-1).mean() for slope in slopes))

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
        self.points, self.spacing = lattice.points(), lattice.spacing
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
