"""The linear stage of a refinement: rigid from several starts, then all twelve parameters."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from tfreg.transforms.transform import Transform
from tfreg.volumes.initial_alignment import initial_alignment
from tfreg.volumes.pyramid import cube_lattice, onto_level

# Voxels of the coarse and of the fine stage.
COARSE, FINE = 15_000, 120_000

# The first starts are turned by this much about each axis, either way.
START_DEGREES = 25.0

# Two initial alignments closer than this many coarse voxels are one.
SAME_VOXELS = 3.0

# Share of the fixed image's mean size by which the moving image surrounds it.
REACH = 0.25

# Largest stretch or compression along any direction that a linear part is believed.
LARGEST_STRETCH = 3.0


@dataclass(frozen=True)
class Stage:
    """A run of the optimiser.

    Args:
        steps: How many it takes.
        learning_rate: Voxels a step.
        rigid: True for rotations and translations, False for all twelve parameters.
        window: Of the local correlation, voxels.
    """

    steps: int
    learning_rate: float = 0.25
    rigid: bool = False
    window: int = 5


STAGES = {
    "starts": Stage(25, learning_rate=0.5, rigid=True),
    "rigid": Stage(25, rigid=True),
    "coarse": Stage(40),
    "fine": Stage(30, window=7),
}
STEPS = sum(stage.steps for stage in STAGES.values())


def refine_linear(fixed, moving, init, similarity="lncc", masks=(None, None), far=True, progress=None):
    """The linear map that aligns a pair.

    Args:
        fixed, moving: `Volume`s with intensities in [0, 1].
        init: `(4, 4)`, fixed world to moving world (mm), to begin from.
        similarity: What the whole refinement goes by.
        masks: Where fixed and moving count, `Volume`s on their lattices or None.
        far: True tries several rotations first; False begins at `init` with all twelve parameters.
        progress: Called with the number of steps done after each, or None.

    Returns:
        `(4, 4)`, fixed world to moving world, mm.
    """
    coarse, fine = (cube_lattice(fixed.lattice, voxels) for voxels in (COARSE, FINE))
    if far:
        starts = np.concatenate([_turned_starts(), np.zeros((7, 3, 1))], axis=-1)
        found = []
        for candidate in _candidates(fixed, moving, init, masks, coarse):
            pair = _images(fixed, moving, coarse, candidate, masks)
            linears, values = _fitted(pair, starts, "starts", similarity, progress)
            found.append((values.min(), linears[[values.argmin()]], candidate, pair))
        _, linear, init, pair = min(found, key=lambda result: result[0])
        linear, _ = _fitted(pair, linear, "rigid", similarity, progress)
    else:
        linear, pair = np.eye(3, 4)[None], _images(fixed, moving, coarse, init, masks)
    rigid = linear
    linear, _ = _fitted(pair, linear, "coarse", similarity, progress)
    rigid, linear = (_rescaled(matrix, coarse, fine) for matrix in (rigid, linear))
    pair = _images(fixed, moving, fine, init, masks)
    linear, _ = _fitted(pair, linear, "fine", similarity, progress)
    stretch = np.linalg.svd(linear[0, :, :3], compute_uv=False)
    if np.linalg.det(linear[0, :, :3]) <= 0 or stretch.max() > LARGEST_STRETCH or stretch.min() < 1 / LARGEST_STRETCH:
        linear = rigid
    return Transform(fine, linear[0], None, init).linear_world


def _similarities(similarity):
    """What the whole images are compared by while they are far apart, and once they are near."""
    if "mind" in similarity:
        return "mi", "mind"
    return ("mi", "mi") if "mi" in similarity else ("ncc", "lncc")


def _candidates(fixed, moving, init, masks, lattice):
    """The initial alignment and, where that differs, the one that puts the centres of mass on each other."""
    yield init
    try:
        moments = initial_alignment("moments", fixed, moving, *masks)
    except ValueError:
        return
    only_shifts = np.array_equal(init[:3, :3], np.eye(3))
    if only_shifts and np.linalg.norm(moments[:3, 3] - init[:3, 3]) > SAME_VOXELS * lattice.spacing[0]:
        yield moments


def _turned_starts():
    """`(7, 3, 3)`: no rotation, and one either way about each axis."""
    turns = [sign * np.eye(3)[axis] for axis in range(3) for sign in (-1, 1)]
    return Rotation.from_rotvec(np.radians(START_DEGREES) * np.array([np.zeros(3), *turns])).as_matrix()


def _images(fixed, moving, lattice, init, masks):
    """What `LinearRefinement` is called with, but for the starts."""
    reach = int(np.ceil(REACH * np.mean(lattice.shape)))
    around = lattice.extended(reach, reach)
    values, counts = onto_level(fixed, lattice, None, masks[0])
    pair = {"fixed": (values, 1 - counts)}
    values, inside = onto_level(moving, around, init)
    counts = inside if masks[1] is None else onto_level(moving, around, init, masks[1])[1]
    # Outside its field of view the moving image is dark, and counts; what its mask leaves out does not.
    pair["moving"] = (values * inside, inside - counts)
    return {name: np.stack(channels, axis=-1)[None].astype(np.float32) for name, channels in pair.items()}


def _fitted(pair, starts, name, similarity, progress):
    """The matrices `(starts, 3, 4)` after optimisation, and their dissimilarities `(starts,)` if there are several."""
    from tfreg.models.linear_refinement import compiled_linear_refinement
    from tfreg.models.pair_optimization import minimise

    stage, (far_by, near_by) = STAGES[name], _similarities(similarity)
    shape = pair["fixed"].shape[1:4]
    reach = (pair["moving"].shape[1] - shape[0]) // 2
    model = compiled_linear_refinement(
        shape,
        reach,
        starts=len(starts),
        rigid=stage.rigid,
        similarity=far_by if name == "starts" else near_by,
        window=stage.window,
    )
    model.change.assign(np.zeros(model.change.shape))
    pair = pair | {"start": starts.astype(np.float32)}
    minimise(model, pair, stage.steps, stage.learning_rate, progress=progress)
    linear = np.array(model.linear(pair["start"]), np.float64)
    return linear, np.array(model(pair)["dissimilarity"]) if len(starts) > 1 else None


def _rescaled(linear, coarse, fine):
    """Matrices about the centre in voxels of one lattice of cubes, in voxels of another."""
    ratio = coarse.spacing[0] / fine.spacing[0]
    return np.concatenate([linear[..., :3], linear[..., 3:] * ratio], axis=-1)
