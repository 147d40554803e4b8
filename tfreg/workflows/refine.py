"""Refinement: one pair's transform found by optimisation, from nothing or from a network's."""

import time

import numpy as np

from tfreg.transforms.deformation import Deformation, displacement_from_logits, logits_from_displacement, upsampled
from tfreg.transforms.transform import Transform
from tfreg.volumes.pyramid import coarsened, cube_lattice, level_factors, onto_level
from tfreg.workflows import refine_linear

# Voxels before the fixed image at the low end of each axis: a line's first voxels can hardly move.
LEAD = 8

# Share of the network grid's size by which the moving image surrounds it.
REACH = 0.1
STRIDE = 2


def steps_of(settings, transform, start):
    """How many optimiser steps `refine_pair` takes at most, with the same arguments."""
    deformable = transform != "linear"
    return refine_linear.STEPS * _has_linear_stage(transform, start) + sum(settings.steps) * deformable


def _has_linear_stage(transform, start):
    """From nothing; a network's linear part has one only where that is all that is asked for."""
    return transform != "deformable" and (start is None or transform == "linear")


def refine_pair(pair, settings, transform="both", start=None, masks=(None, None), progress=None):
    """Optimises a transform for one pair: the linear stage first, then the deformation coarse to fine.

    Args:
        pair: A `tfreg.volumes.preprocessing.AlignedPair`.
        settings: `tfreg.config.Refinement`.
        transform: "linear", "deformable" or "both": the parts to find.
        start: The `Transform` that a network predicted, or None to begin from the initial alignment. A
            network's linear part is refined together with its deformation, on the network's own grid.
        masks: Where fixed and moving count, `Volume`s on their lattices or None.
        progress: Called with the number of optimiser steps done, or None.

    Returns:
        The `Transform`, and a dictionary for the report.
    """
    report = {"settings": settings.model_dump(mode="json"), "seconds": {}, "levels": []}
    begun = time.perf_counter()
    init = pair.init
    if _has_linear_stage(transform, start):
        init = refine_linear.refine_linear(
            pair.fixed,
            pair.moving,
            init if start is None else start.linear_world,
            settings.similarity,
            masks,
            far=start is None,
            progress=progress,
        )
        report["seconds"]["linear"] = round(time.perf_counter() - begun, 3)
        begun = time.perf_counter()
    if transform == "linear":
        return Transform.identity(pair.fixed.lattice, init), report
    lead = (0, 0, 0)
    if start is not None and start.deformation is None:
        start, init = None, start.linear_world
    if start is None:
        start, lead = identity_start(pair.fixed.lattice, init, settings)
    found, report["levels"] = refine_deformation(pair.fixed, pair.moving, start, settings, masks, lead, progress)
    report["seconds"]["deformable"] = round(time.perf_counter() - begun, 3)
    return found, report


def refine_deformation(fixed, moving, start, settings, masks=(None, None), lead=(0, 0, 0), progress=None):
    """Coarse to fine, the deformation that aligns a pair.

    Args:
        fixed, moving: `Volume`s with intensities in [0, 1].
        start: The `Transform` to begin from; its lattice is kept.
        settings: `tfreg.config.Refinement`.
        masks: Where fixed and moving count, `Volume`s on their lattices or None.
        lead: Voxels by which the transform's lattice begins before the fixed image, three numbers.
        progress: Called with the number of optimiser steps done, or None.

    Returns:
        The refined `Transform`, and a list of one dictionary a level for the report.
    """
    from tfreg.models.deformable_refinement import compiled_refinement
    from tfreg.models.pair_optimization import minimise

    deformation = start.deformation
    moves_linear = not np.array_equal(start.linear, np.eye(3, 4))
    stages = level_factors(start.lattice, len(settings.steps))
    pyramid = _control_pyramid(deformation, stages)
    linear, levels, found = start.linear, [], None
    for number, (factors, steps) in enumerate(zip(stages, settings.steps[-len(stages) :], strict=True)):
        lattice = coarsened(start.lattice, factors)
        level_lead = tuple(int(n // f) for n, f in zip(lead, factors, strict=True))
        reach = tuple(int(np.ceil(REACH * n)) for n in lattice.shape)
        model = compiled_refinement(
            lattice.shape,
            level_lead,
            reach,
            similarity=settings.similarity,
            window=settings.window,
            smoothness=settings.smoothness,
            stride=deformation.stride,
            integration=deformation.integration,
            anchor=deformation.anchor,
            linear=moves_linear,
        )
        known = pyramid[number]
        if found is not None:
            known = known + _finer(found, pyramid[number - 1], stages[number - 1], factors, known.shape)
        model.displacement.assign(known[None])
        model.linear_change.assign(np.zeros((1, 3, 4)))
        images = (
            *onto_level(fixed, lattice.extended(-np.array(level_lead), 0), None, masks[0]),
            *onto_level(moving, lattice.extended(reach, reach), start.init, masks[1]),
        )
        names = ("fixed", "fixed_weights", "moving", "moving_weights")
        pair = {name: image[None, ..., None] for name, image in zip(names, images, strict=True)}
        pair["linear"] = _per_voxel(linear, factors)[None].astype(np.float32)
        losses = minimise(model, pair, steps, settings.learning_rate, settings.tolerance, progress)
        found = np.array(model.displacement)[0]
        linear = _per_voxel(np.array(model.linear(pair["linear"]))[0].astype(np.float64), 1 / np.array(factors))
        levels.append({"shape": list(lattice.shape), "spacing_mm": lattice.spacing.tolist(), "steps": len(losses)})
        levels[-1] |= {"loss_first": losses[0], "loss_last": losses[-1]}
    logits = logits_from_displacement(found, deformation.stride)
    refined = Deformation(logits, start.lattice.shape, deformation.stride, deformation.integration, deformation.anchor)
    return Transform(start.lattice, linear, refined, start.init), levels


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
