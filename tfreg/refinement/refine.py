"""Refinement: one pair's transform found by optimisation, from nothing or from a network's."""

import time
from dataclasses import replace

import numpy as np

from tfreg.preprocessing.pyramid import coarsened, cube_lattice, level_factors, onto_level
from tfreg.refinement.linear_stage import STEPS, refine_linear
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.transforms.deformation import Deformation, displacement_from_logits, logits_from_displacement, upsampled
from tfreg.transforms.inverse import inverted
from tfreg.transforms.projection import control_centres, control_displacements
from tfreg.transforms.transform import Transform

# Voxels before the fixed image at the low end of each axis: a line's first voxels can hardly move.
LEAD = 8

# Share of the network grid's size by which the moving image surrounds it.
REACH = 0.1
STRIDE = 2

# The directions between the images, fixed to moving and moving to fixed, as report.json names them.
FORWARD, BACKWARD = "forward", "backward"


def steps_of(settings, parts, start):
    """How many optimiser steps `refine_pair` takes at most, with the same arguments."""
    steps = STEPS * _has_linear_stage(parts, start)
    if parts != "linear":
        both_ways = start is None or start.deformation is None or _is_identity(start)
        steps += sum(settings.steps) + sum(settings.steps[:-1]) * both_ways
    return steps


def _has_linear_stage(parts, start):
    """From nothing; a network's linear part has one only where that is all that is asked for."""
    return parts != "deformable" and (start is None or parts == "linear")


@own_keras_settings()
def refine_pair(pair, settings, parts="both", start=None, progress=None):
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
    lead = (0, 0, 0)
    if far or start.deformation is None:
        start, lead = identity_start(pair.fixed.lattice, init, settings)
    with refinement_models.leased() as models:
        if parts != "linear":
            # The finest takes the longest: it comes first.
            for level in sorted(_levels(start, lead, settings), key=lambda level: level.factors.prod()):
                level.compile_ahead(models)
        if has_linear_stage:
            init = refine_linear(replace(pair, init=init), settings.similarity, far, progress)
            start = replace(start, init=init)
            report["seconds"]["linear"] = round(time.perf_counter() - begun, 3)
            begun = time.perf_counter()
        if parts == "linear":
            return Transform.identity(pair.fixed.lattice, init), report
        found, report["levels"] = refine_deformation(pair, start, settings, models, lead, progress)
    report["seconds"]["deformable"] = round(time.perf_counter() - begun, 3)
    return found, report


def refine_deformation(pair, start, settings, models, lead=(0, 0, 0), progress=None):
    """Coarse to fine, the deformation that aligns a pair.

    From the identity all levels but the finest are gone through twice, fixed to moving and moving to fixed, and the
    finest begins at the mean of the first and of the second's inverse: the errors of the two have little in common.

    Args:
        pair: An `AlignedPair`, of which the initial alignment does not count.
        start: The `Transform` to begin from; its lattice is kept.
        settings: `tfreg.config.Refinement`.
        models: What `refinement_models.leased()` gives.
        lead: Voxels by which the transform's lattice begins before the fixed image, three numbers.
        progress: Called with the number of optimiser steps done, or None.

    Returns:
        The refined `Transform`, and a list of one dictionary a level for the report.
    """
    stages = _levels(start, lead, settings)
    factors = [level.factors for level in stages]
    sides = ((pair.fixed, None, pair.fixed_mask), (pair.moving, start.init, pair.moving_mask))
    ways = {FORWARD: sides}
    if _is_identity(start) and len(stages) > 1:
        ways[BACKWARD] = sides[::-1]
    pyramid = _control_pyramid(start.deformation, factors)
    linear, reports = start.linear, []
    found = dict.fromkeys(ways, pyramid[0])
    for number, (level, steps) in enumerate(zip(stages, settings.steps[-len(stages) :], strict=True)):
        if len(found) > 1 and level is stages[-1]:
            found = {FORWARD: _mean_of_both_ways(*found.values(), start, factors[number - 1])}
        elif number:
            known = pyramid[number - 1], factors[number - 1], factors[number], pyramid[number].shape
            found = {way: pyramid[number] + _finer(one, *known) for way, one in found.items()}
        for way in found:
            found[way], linear, report = level.refined(models, ways[way], found[way], linear, steps, progress)
            reports.append({"direction": way} | report)
    deformation = start.deformation
    logits = logits_from_displacement(found[FORWARD], deformation.stride)
    refined = Deformation(logits, start.lattice.shape, deformation.stride, deformation.integration, deformation.anchor)
    return Transform(start.lattice, linear, refined, start.init), reports


def _is_identity(start):
    """Whether a transform is its initial alignment alone, on a lattice from which both ways can begin."""
    deformation = start.deformation
    plain = deformation.integration == "composed" and deformation.anchor == "start"
    return plain and not deformation.logits.any() and np.array_equal(start.linear, np.eye(3, 4))


def _levels(start, lead, settings):
    """The levels from coarse to fine, each a `_Level`."""
    *coarse, finest = level_factors(start.lattice, len(settings.steps))
    levels = [_Level(start, factors, lead, settings, settings.coarse_similarity) for factors in coarse]
    return [*levels, _Level(start, finest, lead, settings, settings.similarity)]


class _Level:
    """One level of the coarse-to-fine refinement, for either way between the images.

    Args:
        start: The `Transform` to begin from.
        factors: The level's blocks of the finest voxels, three numbers.
        lead: Voxels by which the transform's lattice begins before the fixed image, three numbers.
        settings: `tfreg.config.Refinement`.
        similarity: What `build_similarity` takes.
    """

    def __init__(self, start, factors, lead, settings, similarity):
        self.factors, self.settings = np.array(factors), settings
        self.lattice = coarsened(start.lattice, factors)
        self.lead = tuple(int(n // f) for n, f in zip(lead, factors, strict=True))
        self.reach = tuple(int(np.ceil(REACH * n)) for n in self.lattice.shape)
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
        models.ahead(self.lattice.shape, self.lead, self.reach, **self.options)

    def refined(self, models, sides, displacement, linear, steps, progress):
        """What the optimiser makes of the control points' displacements and of the matrix.

        Args:
            models: What `refinement_models.leased()` gives.
            sides: What is kept and what is warped, each as (volume, world map from the lattice, mask).
            displacement: `(i, j, k, 3)`, in the level's voxels.
            linear: `(3, 4)`, the matrix in the finest voxels.
            steps: Most steps to take.
            progress: Called with 1 after every step, or None.

        Returns:
            Displacements, matrix, and a dictionary for the report.
        """
        from tfreg.refinement.minimise import minimise

        kept, warped = sides
        model = models(self.lattice.shape, self.lead, self.reach, **self.options)
        model.displacement.assign(displacement[None])
        model.linear_change.assign(np.zeros((1, 3, 4)))
        images = (
            *onto_level(kept[0], self.lattice.extended(-np.array(self.lead), 0), *kept[1:]),
            *onto_level(warped[0], self.lattice.extended(self.reach, self.reach), *warped[1:]),
        )
        names = ("fixed", "fixed_weights", "moving", "moving_weights")
        inputs = {name: image[None, ..., None] for name, image in zip(names, images, strict=True)}
        inputs["linear"] = _per_voxel(linear, self.factors)[None].astype(np.float32)
        losses = minimise(model, inputs, steps, self.settings.learning_rate, self.settings.tolerance, progress)
        linear = _per_voxel(np.array(model.linear(inputs["linear"]))[0].astype(np.float64), 1 / self.factors)
        report = {"shape": list(self.lattice.shape), "spacing_mm": self.lattice.spacing.tolist(), "steps": len(losses)}
        report |= {"similarity": self.options["similarity"], "loss_first": losses[0], "loss_last": losses[-1]}
        return np.array(model.displacement)[0], linear, report


def _mean_of_both_ways(forward, backward, start, factors):
    """Half way between a level's deformation and the inverse of the one that goes the other way.

    Args:
        forward, backward: The two deformations' control points' displacements, in the level's voxels.
        start: The `Transform` that the refinement began from.
        factors: The level's blocks of the finest voxels, three numbers.

    Returns:
        The control points' displacements of the finest level, in its voxels.
    """
    stride = start.deformation.stride
    shape = coarsened(start.lattice, factors).shape

    def deformation(displacement):
        return Deformation(logits_from_displacement(displacement, stride), shape, stride, "composed", "start")

    points = (control_centres(start.lattice.shape, stride) + 0.5) / factors - 0.5
    mean = (deformation(forward)(points) + inverted(deformation(backward), points)) / 2
    return control_displacements((mean + 0.5) * factors - 0.5, stride)


def identity_start(fixed, init, settings):
    """The identity on cubes over the fixed image, with its lead.

    Args:
        fixed: The fixed volume's `Lattice`.
        init: `(4, 4)`, fixed world to moving world, mm.
        settings: `tfreg.config.Refinement`.

    Returns:
        A `Transform`, and the lead, three numbers of voxels.
    """
    lattice = cube_lattice(fixed, settings.most_voxels).extended(LEAD, 0)
    logits = np.zeros((*(-(-n // STRIDE) for n in lattice.shape), 3))
    deformation = Deformation(logits, lattice.shape, STRIDE, "composed", "start")
    return Transform(lattice, np.eye(3, 4), deformation, init), (LEAD,) * 3


def _per_voxel(linear, factors):
    """A matrix about the lattice's centre in voxels, in blocks of voxels."""
    factors = np.asarray(factors, np.float64)
    return np.concatenate([linear[:, :3] * factors / factors[:, None], linear[:, 3:] / factors[:, None]], axis=1)


def _control_pyramid(deformation, stages):
    """A deformation's control points' displacements at each level, in the level's voxels."""
    displacements = []
    for factors in stages:
        logits = deformation.logits
        for axis, factor in enumerate(factors):
            logits = _block_mean(logits, axis, factor)
        displacements.append(displacement_from_logits(logits, deformation.stride))
    return displacements


def _block_mean(array, axis, factor):
    """Means of `factor` neighbours along an axis; the last ones may be fewer."""
    starts = np.arange(0, array.shape[axis], factor)
    counts = np.diff(np.append(starts, array.shape[axis]))
    sums = np.add.reduceat(array, starts, axis)
    return sums / counts.reshape([-1 if a == axis else 1 for a in range(array.ndim)])


def _finer(found, known, coarse, fine, shape):
    """What a level added to its control points' displacements, on the next level's control points."""
    ratio = np.array(coarse) // np.array(fine)
    finer = upsampled(found - known, ratio) * ratio
    return finer[tuple(slice(0, n) for n in shape[:3])]
