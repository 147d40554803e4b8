"""Refinement: one pair's transform by optimisation, from nothing or from a network's."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tfreg.config import Refinement
from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.network_grid import cube_lattice
from tfreg.refinement.deformable_stage import DeformableStage, is_identity, levels_of
from tfreg.refinement.linear_stage import STEPS, refine_linear
from tfreg.refinement.starts import DISCRETE, LINEAR, NETWORK, Likeness
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.projection import composed_deformation, control_centres, nearest_deformation
from tfreg.transforms.transform import Transform
from tfreg.transforms.voxel_map import control_shape
from tfreg.volumes.lattice import Lattice

# Voxels before the fixed image at the low end of each axis: a line's first voxels can hardly move.
LEADING_MARGIN = 8

STRIDE = 2

# What a search for the deformation counts for in a progress bar, beside the steps of the levels.
SEARCH_STEPS = 10


def steps_of(settings: Refinement, parts: str, start: Transform | None) -> int:
    """How many optimiser steps `refine_pair` takes at most, with the same arguments."""
    start, candidate = _begin_or_candidate(parts, start)
    steps = STEPS * _has_linear_stage(parts, start)
    if parts != "linear":
        both_directions = _begins_at_the_identity(start)
        steps += sum(settings.steps) + sum(settings.steps[:-1]) * both_directions + settings.detail_steps
        if _searches(settings, start):
            steps += SEARCH_STEPS
        if candidate is not None:
            steps += 2 * settings.steps[0] * (len(settings.steps) > 1)
    return steps


def _begin_or_candidate(parts, start):
    """What a refinement begins with, and what competes with what it makes of that; either may be None.

    A network that predicts displacements knows nothing of the refinement's control points, and may be quite wrong.
    """
    if parts == "linear" or start is None or isinstance(start.deformation, Deformation | None):
        return start, None
    return None, start


def _searches(settings, start):
    """Whether the deformation is searched for: from nothing, with a level that what is found can spare."""
    return settings.search != "none" and start is None and len(settings.steps) > 1


def _begins_at_the_identity(start):
    """Whether the deformation begins at nothing, so that both directions can."""
    return start is None or start.deformation is None or is_identity(start)


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
        start: The `Transform` that a network predicted, or None to begin from the initial alignment. The
            linear part of predicted gradients is refined together with their deformation, on the network's own grid.
            Predicted displacements, projected onto the refinement's own control points, compete with what the linear
            stage makes of the initial alignment: after the coarsest level the better of the two goes on.
        progress: Called with the number of optimiser steps done, or None.

    Returns:
        The `Transform`, and a dictionary for the report.
    """
    from tfreg.refinement.descent import refinement_steps

    report = {
        "settings": settings.model_dump(mode="json"),
        "seconds": {},
        "levels": [],
        "rival": None,
        "directions_apart": None,
    }
    begun = time.perf_counter()
    start, candidate = _begin_or_candidate(parts, start)
    has_linear_stage = _has_linear_stage(parts, start)
    far, searches, both_directions = start is None, _searches(settings, start), _begins_at_the_identity(start)
    init = pair.init if far else start.linear_world
    leading_margin = (0, 0, 0)
    if far or start.deformation is None:
        start, leading_margin = identity_start(pair.fixed.lattice, init, settings)
    with refinement_steps.compiler() as compiler:
        if parts != "linear":
            # The finest takes the longest: it comes first.
            for level in sorted(levels_of(start, leading_margin, settings), key=lambda level: level.factors.prod()):
                level.compile_ahead(compiler)
        if has_linear_stage:
            alignment = refine_linear(
                replace(pair, init=init), settings.similarity, settings.linear, settings.search, far, progress
            )
            init, report["rival"] = alignment.matrix, alignment.rival
            start = replace(start, init=init)
            report["seconds"]["linear"] = round(time.perf_counter() - begun, 3)
            begun = time.perf_counter()
        if parts == "linear":
            return Transform.identity(pair.fixed.lattice, init), report
        stage = DeformableStage(pair, settings, compiler, leading_margin, progress)
        if searches or candidate is not None:
            coarse, report["starts"] = _best_coarse(stage, start, searches, candidate)
        else:
            coarse = stage.coarse(start, both_directions).take().together()
        report["directions_apart"] = coarse.directions_apart
        transform, report["levels"] = stage.finest(coarse)
    report["seconds"]["deformable"] = round(time.perf_counter() - begun, 3)
    return transform, report


def _best_coarse(stage, linear, searches, predicted):
    """What the coarse levels make of the linear alignment, a search from it, or a prediction: what is worth most.

    The linear alignment is not judged before it has been bent a little: a search makes details alike that no linear
    map can align, right or wrong. The levels that are left are for the best alone.

    Args:
        stage: A `DeformableStage`.
        linear: The `Transform` after the linear stage, a deformation of which is the identity.
        searches: Whether a search begins there.
        predicted: The `Transform` that a network predicted, or None.

    Returns:
        A `Coarse`, and for the report a dictionary a candidate.
    """
    from tfreg.refinement.discrete_search import discrete_search

    def searched():
        discrete = discrete_search(stage.pair, linear)
        stage.progress(SEARCH_STEPS)
        return discrete

    likeness = Likeness(stage.pair, stage.settings.similarity)
    *coarser, _ = levels_of(linear, stage.leading_margin, stage.settings)
    # A search leaves nothing to do for the coarsest of as many levels as there may be.
    spared = min(len(coarser), max(0, len(coarser) + 2 - len(stage.settings.steps)))
    makers = [(LINEAR, lambda: linear, 0)]
    if searches:
        makers.append((DISCRETE, searched, spared))
    if predicted is not None:
        makers.append((NETWORK, lambda: projected_start(stage.pair.fixed.lattice, predicted, stage.settings)[0], 0))
    candidates, reports = [], []
    for name, made, first in makers:
        begun = time.perf_counter()
        levels = stage.coarse(made(), first=first).take(spared or None)
        candidates.append((levels, levels.together()))
        report = {"name": name} | likeness.judged(candidates[-1][1].transform)
        reports.append(report | {"seconds": round(time.perf_counter() - begun, 3)})
    levels, coarse = candidates[max(range(len(candidates)), key=lambda number: reports[number]["worth"])]
    return (levels.take().together() if spared else coarse), reports


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
    still = np.zeros((*control_shape(lattice.shape, STRIDE), 3))
    deformation = composed_deformation(still, lattice.shape, STRIDE)
    return Transform(lattice, np.eye(3, 4), deformation, init), (LEADING_MARGIN,) * 3


def projected_start(
    fixed: Lattice, transform: Transform, settings: Refinement
) -> tuple[Transform, tuple[int, int, int]]:
    """A transform as one that the refinement can go on from: its deformation projected onto control points.

    Args:
        fixed: The fixed volume's `Lattice`.
        transform: A `Transform` with a deformation, whose linear part becomes a part of the initial alignment.
        settings: `tfreg.config.Refinement`.

    Returns:
        A `Transform` on the lattice of `identity_start`, and its leading margin, three numbers of voxels.
    """
    start, leading_margin = identity_start(fixed, transform.linear_world, settings)
    lattice, stride = start.lattice, start.deformation.stride
    centres = control_centres(lattice.shape, stride)
    # The same lattice, where the linear part takes it.
    mapped = Lattice(lattice.shape, start.init @ lattice.affine).to_voxel(transform(lattice.to_world(centres)))
    return replace(start, deformation=nearest_deformation(mapped, lattice.shape, stride)), leading_margin
