"""Refinement: one pair's transform by optimisation, from nothing or from a network's."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tfreg.config import Refinement
from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.pyramid import coarsened, cube_lattice, level_factors, onto_level
from tfreg.refinement.compiled_models import Lease
from tfreg.refinement.linear_stage import STEPS, refine_linear
from tfreg.refinement.starts import best_start
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.transforms.deformation import Deformation, displacement_from_logits, logits_from_displacement, upsampled
from tfreg.transforms.inverse import inverted
from tfreg.transforms.projection import control_centres, control_displacements, nearest_deformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

# Voxels before the fixed image at the low end of each axis: a line's first voxels can hardly move.
LEADING_MARGIN = 8

# Share of the network grid's size by which the moving image surrounds it.
MARGIN = 0.1
STRIDE = 2

# The directions between the images, fixed to moving and moving to fixed, as report.json names them.
FORWARD, BACKWARD = "forward", "backward"


def steps_of(settings: Refinement, parts: str, start: Transform | None) -> int:
    """How many optimiser steps `refine_pair` takes at most, with the same arguments."""
    steps = STEPS * _has_linear_stage(parts, start)
    if parts != "linear":
        both_directions = start is None or start.deformation is None or _is_identity(start)
        steps += sum(settings.steps) + sum(settings.steps[:-1]) * both_directions
    return steps


def _has_linear_stage(parts, start):
    """From nothing; a network's linear part has one only where that is all that is asked for."""
    return parts != "deformable" and (start is None or parts == "linear")


@own_keras_settings()
def refine_pair(
    pair: AlignedPair,
    settings: Refinement,
    parts: str = "both",
    start: Transform | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[Transform, dict[str, Any]]:
    """Optimises a transform for one pair: the linear stage first, then the deformation coarse to fine.

    Args:
        pair: A `tfreg.preprocessing.aligned_pair.AlignedPair`.
        settings: `tfreg.config.Refinement`.
        parts: "linear", "deformable" or "both": what to find.
        start: The `Transform` that a network predicted, or None to begin from the initial alignment. A
            network's linear part is refined together with its deformation, on the network's own grid.
        progress: Called with the number of optimiser steps done, or None.

    Returns:
        The `Transform`, and a dictionary for the report.
    """
    from tfreg.refinement.deformable_model import refinement_models

    report = {"settings": settings.model_dump(mode="json"), "seconds": {}, "levels": []}
    begun = time.perf_counter()
    has_linear_stage = _has_linear_stage(parts, start)
    far = start is None
    init = pair.init if far else start.linear_world
    leading_margin = (0, 0, 0)
    if far or start.deformation is None:
        start, leading_margin = identity_start(pair.fixed.lattice, init, settings)
    searches = far and settings.search != "none" and len(settings.steps) > 1
    # What a search has found leaves nothing to do for the coarsest level.
    finer = settings.model_copy(update={"steps": settings.steps[1:]}) if searches else settings
    with refinement_models.leased() as models:
        if parts != "linear":
            # The finest takes the longest: it comes first.
            for level in sorted(_levels(start, leading_margin, finer), key=lambda level: level.factors.prod()):
                level.compile_ahead(models)
        if has_linear_stage:
            init = refine_linear(replace(pair, init=init), settings.similarity, settings.linear, far, progress)
            start = replace(start, init=init)
            report["seconds"]["linear"] = round(time.perf_counter() - begun, 3)
            begun = time.perf_counter()
        if parts == "linear":
            return Transform.identity(pair.fixed.lattice, init), report
        both_directions = _is_identity(start)
        if searches:
            start, report["starts"] = best_start(pair, start, settings.similarity)
            settings = settings if _is_identity(start) else finer
            report["seconds"]["search"] = round(time.perf_counter() - begun, 3)
            begun = time.perf_counter()
        transform, report["levels"] = refine_deformation(
            pair, start, settings, models, leading_margin, both_directions, progress
        )
    report["seconds"]["deformable"] = round(time.perf_counter() - begun, 3)
    return transform, report


def refine_deformation(
    pair: AlignedPair,
    start: Transform,
    settings: Refinement,
    models: Lease,
    leading_margin: Sequence[int] = (0, 0, 0),
    both_directions: bool = True,
    progress: Callable[[int], object] | None = None,
) -> tuple[Transform, list[dict[str, Any]]]:
    """Coarse to fine, the deformation that aligns a pair.

    In both directions all levels but the finest are gone through twice, fixed to moving and moving to fixed, and the
    finest begins at the mean of the first and of the second's inverse: the errors of the two have little in common.

    Args:
        pair: An `AlignedPair`, of which the initial alignment does not count.
        start: The `Transform` to begin from, whose lattice the result has.
        settings: `tfreg.config.Refinement`.
        models: What `refinement_models.leased()` gives.
        leading_margin: Voxels by which the transform's lattice begins before the fixed image, three numbers.
        both_directions: Whether to; the start is then composed, from the start of each line, without a linear part.
        progress: Called with the number of optimiser steps done, or None.

    Returns:
        The refined `Transform`, and a list of one dictionary a level for the report.
    """
    levels = _levels(start, leading_margin, settings)
    factors = [level.factors for level in levels]
    sides = ((pair.fixed, None, pair.fixed_mask), (pair.moving, start.init, pair.moving_mask))
    directions = {FORWARD: sides}
    deformations = {FORWARD: start.deformation}
    if both_directions and len(levels) > 1:
        directions[BACKWARD] = sides[::-1]
        deformations[BACKWARD] = _inverse(start.deformation)
    pyramids = {name: _control_pyramid(deformation, factors) for name, deformation in deformations.items()}
    linear, reports = start.linear, []
    displacements = {name: pyramid[0] for name, pyramid in pyramids.items()}
    for number, (level, steps) in enumerate(zip(levels, settings.steps[-len(levels) :], strict=True)):
        if len(displacements) > 1 and level is levels[-1]:
            displacements = {FORWARD: _mean_of_directions(*displacements.values(), start, factors[number - 1])}
        elif number:
            for direction, displacement in displacements.items():
                coarser, finer = pyramids[direction][number - 1 : number + 1]
                added = _finer(displacement, coarser, factors[number - 1], factors[number], finer.shape)
                displacements[direction] = finer + added
        for direction, displacement in displacements.items():
            displacements[direction], linear, report = level.refined(
                models, directions[direction], displacement, linear, steps, progress
            )
            reports.append({"direction": direction} | report)
    deformation = start.deformation
    logits = logits_from_displacement(displacements[FORWARD], deformation.stride)
    refined = Deformation(logits, start.lattice.shape, deformation.stride, deformation.integration, deformation.anchor)
    return Transform(start.lattice, linear, refined, start.init), reports


def _is_identity(start):
    """Whether a transform is its initial alignment alone, on a lattice from which both directions can begin."""
    deformation = start.deformation
    plain = deformation.integration == "composed" and deformation.anchor == "start"
    return plain and not deformation.logits.any() and np.array_equal(start.linear, np.eye(3, 4))


def _levels(start, leading_margin, settings):
    """The levels from coarse to fine, each a `_Level`."""
    *coarse, finest = level_factors(start.lattice, len(settings.steps))
    levels = [_Level(start, factors, leading_margin, settings, settings.coarse_similarity) for factors in coarse]
    return [*levels, _Level(start, finest, leading_margin, settings, settings.similarity)]


class _Level:
    """One level of the coarse-to-fine refinement, for either direction between the images.

    Args:
        start: The `Transform` to begin from.
        factors: The level's blocks of the finest voxels, three numbers.
        leading_margin: Voxels by which the transform's lattice begins before the fixed image, three numbers.
        settings: `tfreg.config.Refinement`.
        similarity: What `build_similarity` takes.
    """

    def __init__(self, start, factors, leading_margin, settings, similarity):
        self.factors, self.settings = np.array(factors), settings
        self.lattice = coarsened(start.lattice, factors)
        self.leading_margin = tuple(int(n // f) for n, f in zip(leading_margin, factors, strict=True))
        self.margin = tuple(int(np.ceil(MARGIN * n)) for n in self.lattice.shape)
        deformation = start.deformation
        self.options = {
            "similarity": similarity,
            "window": settings.window,
            "smoothness": settings.smoothness,
            "stride": deformation.stride,
            "integration": deformation.integration,
            "anchor": deformation.anchor,
            "linear": not np.array_equal(start.linear, np.eye(3, 4)),
        }

    def compile_ahead(self, models):
        """Has the level's model traced, and compiled where that pays, by another thread."""
        models.ahead(self.lattice.shape, self.leading_margin, self.margin, **self.options)

    def refined(self, models, sides, displacement, linear, steps, progress):
        """What the optimiser makes of the control points' displacements and of the matrix.

        Args:
            models: What `refinement_models.leased()` gives.
            sides: What stays and what is warped, each as (volume, world map from the lattice, mask).
            displacement: `(i, j, k, 3)`, in the level's voxels.
            linear: `(3, 4)`, the matrix in the finest voxels.
            steps: Most steps to take.
            progress: Called with 1 after every step, or None.

        Returns:
            Displacements, matrix, and a dictionary for the report.
        """
        from tfreg.refinement.minimise import minimise

        still, warped = sides
        model = models(self.lattice.shape, self.leading_margin, self.margin, **self.options)
        model.displacement.assign(displacement[None])
        model.linear_change.assign(np.zeros((1, 3, 4)))
        images = (
            *onto_level(still[0], self.lattice.extended(-np.array(self.leading_margin), 0), *still[1:]),
            *onto_level(warped[0], self.lattice.extended(self.margin, self.margin), *warped[1:]),
        )
        names = ("fixed", "fixed_weights", "moving", "moving_weights")
        inputs = {name: image[None, ..., None] for name, image in zip(names, images, strict=True)}
        inputs["linear"] = _per_voxel(linear, self.factors)[None].astype(np.float32)
        losses = minimise(model, inputs, steps, self.settings.learning_rate, self.settings.tolerance, progress)
        linear = _per_voxel(np.array(model.linear(inputs["linear"]))[0].astype(np.float64), 1 / self.factors)
        report = {"shape": list(self.lattice.shape), "spacing_mm": self.lattice.spacing.tolist(), "steps": len(losses)}
        report |= {"similarity": self.options["similarity"], "loss_first": losses[0], "loss_last": losses[-1]}
        return np.array(model.displacement)[0], linear, report


def _inverse(deformation):
    """The composed deformation nearest to the inverse of one."""
    stride, shape = deformation.stride, deformation.shape
    return nearest_deformation(inverted(deformation, control_centres(shape, stride)), shape, stride)


def _composed(displacement, shape, stride):
    """The `Deformation` of control points' displacements in voxels."""
    return Deformation(logits_from_displacement(displacement, stride), shape, stride, "composed", "start")


def _mean_of_directions(forward, backward, start, factors):
    """Half way between a level's deformation and the inverse of the one in the other direction.

    Args:
        forward, backward: The two deformations' control points' displacements, in the level's voxels.
        start: The `Transform` that the refinement began from.
        factors: The level's blocks of the finest voxels, three numbers.

    Returns:
        The control points' displacements of the finest level, in its voxels.
    """
    stride = start.deformation.stride
    shape = coarsened(start.lattice, factors).shape
    points = (control_centres(start.lattice.shape, stride) + 0.5) / factors - 0.5
    there, back = (_composed(displacement, shape, stride) for displacement in (forward, backward))
    mean = (there(points) + inverted(back, points)) / 2
    return control_displacements((mean + 0.5) * factors - 0.5, stride)


def identity_start(fixed: Lattice, init: np.ndarray, settings: Refinement) -> tuple[Transform, tuple[int, int, int]]:
    """The identity on cubes over the fixed image, with its leading margin.

    Args:
        fixed: The fixed volume's `Lattice`.
        init: `(4, 4)`, fixed world to moving world, mm.
        settings: `tfreg.config.Refinement`.

    Returns:
        A `Transform`, and the leading margin, three numbers of voxels.
    """
    lattice = cube_lattice(fixed, settings.most_voxels).extended(LEADING_MARGIN, 0)
    logits = np.zeros((*(-(-n // STRIDE) for n in lattice.shape), 3))
    deformation = Deformation(logits, lattice.shape, STRIDE, "composed", "start")
    return Transform(lattice, np.eye(3, 4), deformation, init), (LEADING_MARGIN,) * 3


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
