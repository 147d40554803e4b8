"""The deformable stage of a refinement: control points moved coarse to fine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfreg.config import Refinement
from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.pyramid import coarsened, level_factors, onto_level, structure
from tfreg.refinement.compiled_functions import Compiler
from tfreg.transforms.deformation import Deformation, displacement_from_logits, logits_from_displacement
from tfreg.transforms.interpolation import upsampled
from tfreg.transforms.inverse import inverted
from tfreg.transforms.projection import (
    composed_deformation,
    control_centres,
    control_displacements,
    nearest_deformation,
)
from tfreg.transforms.transform import Transform
from tfreg.volumes.resampling import sample

# Share of the network grid's size by which the moving image surrounds it.
MARGIN = 0.1

# From so many voxels on, every second one along each axis is enough for a step of a level.
MANY_VOXELS = 200_000

# Where the finest level lowers its loss by at least this share, it goes on, with this share of the smoothness: there is
# detail that its few steps have not followed.
MUCH_GAINED, DETAIL_SMOOTHNESS = 0.21, 0.2

# The directions between the images, fixed to moving and moving to fixed, as report.json names them.
FORWARD, BACKWARD = "forward", "backward"


@dataclass(frozen=True, eq=False)
class Coarse:
    """What all levels but the finest have made of a start.

    Args:
        start: The `Transform` that they began from.
        displacement: Of the finest level's control points, in its voxels.
        linear: `(3, 4)`, the matrix in the finest voxels.
        reports: A list of one dictionary a level.
        directions_apart: How far the two directions' deformations lie apart, relative to how far their mean moves the
            fixed image's structure; None of one direction, or where both began at a deformation. Where images have
            little in common, chance decides what each direction makes of them.
    """

    start: Transform
    displacement: np.ndarray
    linear: np.ndarray
    reports: list[dict[str, Any]]
    directions_apart: float | None = None

    @property
    def transform(self) -> Transform:
        """As a `Transform` on the finest level's lattice."""
        deformation = self.start.deformation
        logits = logits_from_displacement(self.displacement, deformation.stride)
        return replace(self.start, linear=self.linear, deformation=replace(deformation, logits=logits))


class DeformableStage:
    """The levels of a pair's deformation, coarse to fine.

    In both directions all levels but the finest are gone through twice, fixed to moving and moving to fixed, and the
    finest begins at the mean of the first and of the second's inverse: the errors of the two have little in common.

    Args:
        pair: An `AlignedPair`, of which the initial alignment does not count.
        settings: `tfreg.config.Refinement`.
        compiler: What `refinement_steps.compiler()` gives.
        leading_margin: Voxels by which the transform's lattice begins before the fixed image, three numbers.
        progress: Called with the number of optimiser steps done, or None.
    """

    def __init__(
        self,
        pair: AlignedPair,
        settings: Refinement,
        compiler: Compiler,
        leading_margin: Sequence[int] = (0, 0, 0),
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self.pair, self.settings, self.compiler = pair, settings, compiler
        self.leading_margin, self.progress = leading_margin, progress or (lambda done: None)

    def coarse(self, start: Transform, both_directions: bool = True, first: int = 0) -> "CoarseLevels":
        """All levels but the finest, none of which is taken yet.

        Args:
            start: The `Transform` to begin from, whose lattice the result has.
            both_directions: Whether to; the start is then composed, from the start of each line, without a linear part.
            first: The level to begin with, a number from the coarsest on.

        Returns:
            The `CoarseLevels`.
        """
        return CoarseLevels(self, start, both_directions, first)

    def finest(self, coarse: Coarse) -> tuple[Transform, list[dict[str, Any]]]:
        """The finest level after the others, and once more where that has gained much.

        Args:
            coarse: A `Coarse`.

        Returns:
            The refined `Transform`, and a list of one dictionary a level for the report.
        """
        level = levels_of(coarse.start, self.leading_margin, self.settings)[-1]
        images = level.images(*self.sides(coarse.start))
        *refined, report = self.refined(level, images, coarse.displacement, coarse.linear, self.settings.steps[-1])
        reports = [{"direction": FORWARD} | report]
        if self.settings.detail_steps and report["loss_last"] < (1 - MUCH_GAINED) * report["loss_first"]:
            *refined, report = self.refined(level, images, *refined, self.settings.detail_steps, DETAIL_SMOOTHNESS)
            reports.append({"direction": FORWARD} | report)
        displacement, linear = refined
        result = replace(coarse, displacement=displacement, linear=linear)
        return result.transform, [*coarse.reports, *reports]

    def refined(
        self,
        level: Any,
        images: dict[str, np.ndarray],
        displacement: np.ndarray,
        linear: np.ndarray,
        steps: int,
        smoothness: float = 1.0,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """What a level's `refined` returns, with the stage's compiler and progress, and a share of its smoothness."""
        smoothness *= self.settings.smoothness
        return level.refined(self.compiler, images, displacement, linear, steps, smoothness, self.progress)

    def sides(self, start: Transform) -> tuple[Any, Any]:
        """What stays and what is warped, each as (volume, world map from the lattice, mask)."""
        return ((self.pair.fixed, None, self.pair.fixed_mask), (self.pair.moving, start.init, self.pair.moving_mask))


class CoarseLevels:
    """The levels but the finest, gone through from one start; arguments as `DeformableStage.coarse` takes them."""

    def __init__(self, stage: DeformableStage, start: Transform, both_directions: bool, first: int) -> None:
        self._stage, self._start = stage, start
        self._levels = levels_of(start, stage.leading_margin, stage.settings)
        self._steps = stage.settings.steps[-len(self._levels) :]
        sides = stage.sides(start)
        self._sides = {FORWARD: sides}
        deformations = {FORWARD: start.deformation}
        if both_directions and first < len(self._levels) - 1:
            self._sides[BACKWARD] = sides[::-1]
            deformations[BACKWARD] = _inverse(start.deformation)
        factors = [level.factors for level in self._levels]
        self._pyramids = {name: _control_pyramid(deformation, factors) for name, deformation in deformations.items()}
        self._displacements = {name: pyramid[first] for name, pyramid in self._pyramids.items()}
        self._linear, self._reports, self._next, self._first = start.linear, [], first, first

    def take(self, until: int | None = None) -> "CoarseLevels":
        """Takes the next levels.

        Args:
            until: The number of the level that is not taken any more; None takes all that are left.

        Returns:
            Itself.
        """
        for number in range(self._next, len(self._levels) - 1 if until is None else until):
            level = self._levels[number]
            for direction, displacement in self._displacements.items():
                if number > self._first:
                    displacement = self._onto(direction, displacement, number)
                images = level.images(*self._sides[direction])
                self._displacements[direction], self._linear, report = self._stage.refined(
                    level, images, displacement, self._linear, self._steps[number]
                )
                self._reports.append({"direction": direction} | report)
            self._next = number + 1
        return self

    def together(self) -> Coarse:
        """What the levels taken have made of the start."""
        last, apart = self._next - 1, None
        if last < self._first:
            displacement = self._pyramids[FORWARD][-1]
        elif BACKWARD in self._displacements:
            directions = self._displacements[FORWARD], self._displacements[BACKWARD]
            there, back = _directions_at_control_points(*directions, self._start, self._levels[last].factors)
            displacement = control_displacements((there + back) / 2, self._start.deformation.stride)
            # A deformation from which both began says nothing of whether they agree.
            apart = _apart(there, back, self._start, self._stage.pair) if is_identity(self._start) else None
        else:
            displacement = self._displacements[FORWARD]
            for number in range(last + 1, len(self._levels)):
                displacement = self._onto(FORWARD, displacement, number)
        return Coarse(self._start, displacement, self._linear, self._reports, apart)

    def _onto(self, direction, displacement, number):
        """A displacement of the level before, on a level's control points, with the start's details there."""
        pyramid, factors = self._pyramids[direction], [level.factors for level in self._levels[number - 1 : number + 1]]
        added = _finer(displacement, pyramid[number - 1], *factors, pyramid[number].shape)
        return pyramid[number] + added


def is_identity(start: Transform) -> bool:
    """Whether a transform is its initial alignment alone, on a lattice from which both directions can begin."""
    deformation = start.deformation
    if not isinstance(deformation, Deformation):
        return False
    plain = deformation.integration == "composed" and deformation.anchor == "start"
    return plain and not deformation.logits.any() and np.array_equal(start.linear, np.eye(3, 4))


def levels_of(start: Transform, leading_margin: Sequence[int], settings: Refinement) -> list[Any]:
    """The levels from coarse to fine, each a `_Level`."""
    factors = level_factors(start.lattice, len(settings.steps))
    coarser = (settings.coarse_similarity, settings.coarse_window)
    compared = [coarser] * (len(factors) - 1) + [(settings.similarity, settings.window)]
    return [_Level(start, blocks, leading_margin, settings, *by) for blocks, by in zip(factors, compared, strict=True)]


class _Level:
    """One level of the coarse-to-fine refinement, for either direction between the images.

    Args:
        start: The `Transform` to begin from.
        factors: The level's blocks of the finest voxels, three numbers.
        leading_margin: Voxels by which the transform's lattice begins before the fixed image, three numbers.
        settings: `tfreg.config.Refinement`.
        similarity, window: What `build_similarity` takes.
    """

    def __init__(self, start, factors, leading_margin, settings, similarity, window):
        self.factors, self.settings = np.array(factors), settings
        self.lattice = coarsened(start.lattice, factors)
        self.leading_margin = tuple(int(n // f) for n, f in zip(leading_margin, factors, strict=True))
        self.margin = tuple(int(np.ceil(MARGIN * n)) for n in self.lattice.shape)
        deformation = start.deformation
        self.options = {
            "similarity": similarity,
            "window": window,
            "stride": deformation.stride,
            "integration": deformation.integration,
            "anchor": deformation.anchor,
            "sparse": bool(np.prod(self.lattice.shape) >= MANY_VOXELS),
            "linear": not np.array_equal(start.linear, np.eye(3, 4)),
        }

    def compile_ahead(self, compiler):
        """Has the level's step traced, and compiled where that pays, by another thread."""
        compiler.ahead(self.leading_margin, self._sizes_to_know(), **self.options)

    def images(self, still, warped):
        """What a step compares: the images and how much their voxels count, by name, `(1, i, j, k, 1)` each.

        Args:
            still, warped: What stays and what is warped, each as (volume, world map from the lattice, mask).
        """
        images = (
            *onto_level(still[0], self.lattice.extended(-np.array(self.leading_margin), 0), *still[1:]),
            *onto_level(warped[0], self.lattice.extended(self.margin, self.margin), *warped[1:]),
        )
        names = ("fixed", "fixed_weights", "moving", "moving_weights")
        return {name: image[None, ..., None] for name, image in zip(names, images, strict=True)}

    def refined(self, compiler, images, displacement, linear, steps, smoothness, progress):
        """What the optimiser makes of the control points' displacements and of the matrix.

        Args:
            compiler: What `refinement_steps.compiler()` gives.
            images: What `images` returns.
            displacement: `(i, j, k, 3)`, in the level's voxels.
            linear: `(3, 4)`, the matrix in the finest voxels.
            steps: Most steps to take.
            smoothness: Weight of the displacements' slopes.
            progress: Called with 1 after every step, or None.

        Returns:
            Displacements, matrix, and a dictionary for the report.
        """
        from keras import ops

        from tfreg.refinement.descent import State, minimise

        step = compiler(self.leading_margin, self._sizes_to_know(), **self.options)
        matrix = _per_voxel(linear, self.factors)[None].astype(np.float32)
        pair = images | {"linear": matrix, "smoothness": np.float32(smoothness)}
        start = State.at(displacement[None], np.zeros((1, 3, 4)))
        settings = self.settings
        variables, losses = minimise(step, start, pair, steps, settings.learning_rate, settings.tolerance, progress)
        displacement, change = (ops.convert_to_numpy(variable) for variable in variables)
        changed = ops.convert_to_numpy(step.objective.linear(change, pair))[0].astype(np.float64)
        linear = _per_voxel(changed, 1 / self.factors)
        report = {"shape": list(self.lattice.shape), "spacing_mm": self.lattice.spacing.tolist(), "steps": len(losses)}
        report |= {"similarity": self.options["similarity"], "loss_first": losses[0], "loss_last": losses[-1]}
        return displacement[0], linear, report

    def _sizes_to_know(self):
        from tfreg.refinement.descent import sizes_to_know

        return sizes_to_know(self.lattice.shape, self.margin)


def _inverse(deformation):
    """The composed deformation nearest to the inverse of one."""
    stride, shape = deformation.stride, deformation.shape
    return nearest_deformation(inverted(deformation, control_centres(shape, stride)), shape, stride)


def _directions_at_control_points(forward, backward, start, factors):
    """Where a level's deformation, and the inverse of the one in the other direction, put the finest control points.

    Args:
        forward, backward: The two deformations' control points' displacements, in the level's voxels.
        start: The `Transform` that the refinement began from.
        factors: The level's blocks of the finest voxels, three numbers.

    Returns:
        Two arrays `(i, j, k, 3)`, in the finest voxels.
    """
    stride = start.deformation.stride
    shape = coarsened(start.lattice, factors).shape
    points = (control_centres(start.lattice.shape, stride) + 0.5) / factors - 0.5
    there, back = (composed_deformation(displacement, shape, stride) for displacement in (forward, backward))
    return tuple((places + 0.5) * factors - 0.5 for places in (there(points), inverted(back, points)))


def _apart(there, back, start, pair):
    """`Coarse.directions_apart` of what `_directions_at_control_points` returns; 0 where nothing moves."""
    points = control_centres(start.lattice.shape, start.deformation.stride)
    lattice, _, _, weights = structure(pair.fixed, pair.fixed_mask)
    weights = sample(weights, lattice.to_voxel(start.lattice.to_world(points)))
    apart, moved = (
        (weights * np.linalg.norm(step, axis=-1)).sum() for step in (there - back, (there + back) / 2 - points)
    )
    return float(apart / moved) if moved > 0 else 0.0


def _per_voxel(linear, factors):
    """A matrix about the lattice's centre in voxels, in blocks of voxels."""
    factors = np.asarray(factors, np.float64)
    return np.concatenate([linear[:, :3] * factors / factors[:, None], linear[:, 3:] / factors[:, None]], axis=1)


def _control_pyramid(deformation, factors):
    """A deformation's control points' displacements at each level, in the level's voxels."""
    displacements = []
    for blocks in factors:
        logits = deformation.logits
        for axis, factor in enumerate(blocks):
            logits = _block_mean(logits, axis, factor)
        displacements.append(displacement_from_logits(logits, deformation.stride))
    return displacements


def _block_mean(array, axis, factor):
    """Means of `factor` neighbours along an axis; the last ones may be fewer."""
    starts = np.arange(0, array.shape[axis], factor)
    counts = np.diff(np.append(starts, array.shape[axis]))
    sums = np.add.reduceat(array, starts, axis)
    return sums / counts.reshape([-1 if a == axis else 1 for a in range(array.ndim)])


def _finer(displacement, start, coarse, fine, shape):
    """What a level added to its control points' displacements, on the next level's control points."""
    ratio = np.array(coarse) // np.array(fine)
    finer = upsampled(displacement - start, ratio) * ratio
    return finer[tuple(slice(0, n) for n in shape[:3])]
