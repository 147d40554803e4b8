"""One network run several times for a pair: coarse to fine, each time on the moving image as warped so far."""

import time
from collections.abc import Sequence

import numpy as np

from tfreg.config import Config, Prediction, Preprocessing
from tfreg.preprocessing.aligned_pair import (
    AlignedPair,
    NetworkInput,
    on_lattice,
    onto_network_grid,
    warped_onto_network_grid,
)
from tfreg.preprocessing.network_grid import configured_grid
from tfreg.preprocessing.pyramid import coarsened
from tfreg.preprocessing.whole_pair import whole_pair
from tfreg.registration.predictor import PassesPredictor, Predictor
from tfreg.registration.registration_report import PassReport
from tfreg.runtime.threads import in_slabs
from tfreg.transforms.composed_passes import applied
from tfreg.transforms.composition import compose_passes, nearest_affine
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

# Every so many voxels along each axis the map is read to which an affine one is fitted.
FIT_STRIDE = 2


def schedule_of(config: Config, passes: int | None = None) -> Prediction:
    """How often a network is run, as its config says or as was asked.

    Args:
        config: The network's `tfreg.config.Config`.
        passes: How many in all, or None for the config's.

    Returns:
        A `tfreg.config.Prediction`.
    """
    return config.prediction if passes is None else config.prediction.model_copy(update={"passes": passes})


def separates_linear(config: Config, schedule: Prediction) -> bool:
    """Whether a linear part is taken from the displacement of a network that has no branch for one.

    Of one pass of gradients none is: its deformation is what a refinement goes on from, on the network's own grid.
    """
    return config.model.transform == "deformable" and (schedule.passes > 1 or config.model.head == "displacement")


def levels_of(lattice: Lattice, schedule: Prediction) -> list[tuple[int, Lattice]]:
    """The grids of the passes, in their order.

    Coarser grids take the place of the first passes, as far as they are large enough; the last pass is always on the
    network grid itself. So a large volume is seen on several grids, and a small one as often on its own.

    Args:
        lattice: The network grid.
        schedule: A `tfreg.config.Prediction`.

    Returns:
        A list of how many voxels of the network grid make one along each axis, and the `Lattice`.
    """
    coarser = [(factor, coarsened(lattice, (factor,) * 3)) for factor in schedule.coarser]
    enough = [level for level in coarser if min(lattice.shape) // level[0] >= schedule.least_size]
    coarse = enough[max(0, len(enough) - (schedule.passes - 1)) :]
    return coarse + [(1, lattice)] * (schedule.passes - len(coarse))


def predict_in_passes(
    predictor: Predictor,
    pair: AlignedPair,
    preprocessing: Preprocessing,
    schedule: Prediction,
) -> tuple[Transform, tuple[PassReport, ...]]:
    """Predicts a pair's transform by one or several passes of a network.

    The first pass leads from the fixed to the moving image. Each further one sees the moving image as warped so far,
    read from the image itself at the map as it is, and leads from the fixed image to this warped one. The maps are
    composed; what they have linear in common is the transform's linear part, also of a network that predicts none (see
    `separates_linear`): then it is the affine map that follows the whole best over the fixed field of view, where
    squared distances count the less the larger the expected error is.

    Args:
        predictor: What makes one pass, by one forward pass or one request, or, where it is a `PassesPredictor` of this
            schedule, all of them at once.
        pair: The `AlignedPair`.
        preprocessing: `tfreg.config.Preprocessing`.
        schedule: A `tfreg.config.Prediction`.

    Returns:
        The `Transform`, and a report a pass.

    Raises:
        UserError: See the predictor's `predict`.
    """
    levels = levels_of(configured_grid(pair.fixed.lattice, preprocessing.network_grid), schedule)
    lattices = [lattice for _, lattice in levels]
    seconds: Sequence[float | None] = [None] * len(lattices)
    passes = _all_at_once(predictor, pair, lattices, schedule)
    if passes is None:
        passes, seconds = _one_by_one(predictor, pair, lattices, preprocessing.interpolation)
    reports = tuple(
        PassReport(factor=factor, shape=lattice.shape, spacing_mm=tuple(lattice.spacing.tolist()), seconds=passed)
        for (factor, lattice), passed in zip(levels, seconds, strict=True)
    )
    if separates_linear(predictor.config, schedule):
        return compose_passes(passes, _linear_part(passes, pair.fixed.lattice)), reports
    return passes[0] if len(passes) == 1 else compose_passes(passes), reports


def _all_at_once(
    predictor: Predictor, pair: AlignedPair, lattices: Sequence[Lattice], schedule: Prediction
) -> list[Transform] | None:
    """The passes, by a predictor that makes this schedule's at once; None where they are asked for one by one."""
    if not isinstance(predictor, PassesPredictor) or predictor.schedule != schedule:
        return None
    whole = whole_pair(pair, lattices[-1])
    return predictor.predict_passes(whole, lattices) if whole.voxels <= predictor.max_voxels else None


def _one_by_one(predictor, pair, lattices, interpolation):
    """The passes, a list of `Transform`s, and what each of them took in seconds."""
    passes, seconds = [], []
    for lattice in lattices:
        begun = time.perf_counter()
        if not passes:
            seen = on_lattice(pair, lattice, interpolation)
        else:
            fixed = seen.fixed
            if seen.lattice is not lattice:
                fixed = onto_network_grid(pair.fixed, lattice, interpolation=interpolation)
            points = np.concatenate(in_slabs(lambda _, points: _mapped(passes, points), lattice))
            warped = warped_onto_network_grid(pair.moving, lattice, points, pair.init, interpolation)
            seen = NetworkInput(fixed, warped, lattice, np.eye(4), pair.notes)
        passes.append(predictor.predict(seen))
        seconds.append(round(time.perf_counter() - begun, 3))
    return passes, seconds


def _mapped(passes, points):
    """Where passes together take points of the fixed image's world."""
    for part in reversed(passes):
        points = part(points)
    return points


def _linear_part(passes, fixed):
    """The affine map `(4, 4)` of the fixed image's world that follows all passes without init best.

    None that follows a map badly enough to mirror space is taken.
    """
    part = passes[-1]
    every = (slice(None, None, FIT_STRIDE),) * 3
    points = part.lattice.points()[every]
    voxels = fixed.to_voxel(points)
    points = points[((voxels >= -0.5) & (voxels <= np.array(fixed.shape) - 0.5)).all(axis=-1)]
    error = part.deformation.expected_error_at(part.lattice.to_voxel(points))
    weights = np.ones(len(points)) if error is None else error**-2
    matrix = nearest_affine(points, applied(np.linalg.inv(passes[0].init), _mapped(passes, points)), weights)
    return matrix if np.linalg.det(matrix[:3, :3]) > 0 else np.eye(4)
