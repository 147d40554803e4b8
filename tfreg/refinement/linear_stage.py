"""The linear stage of a refinement: rigid from several starts, then one size or all twelve parameters."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize
from scipy.spatial.transform import Rotation

from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.initial_alignment import initial_alignment
from tfreg.preprocessing.network_grid import network_grid
from tfreg.refinement.linear_objective import LinearObjective, measure_for
from tfreg.refinement.turned_starts import about_each_axis, turned_starts
from tfreg.runtime.threads import in_threads

# Voxels of the smaller field of view, in the coarse and in the fine stage.
COARSE, FINE = 6_000, 120_000

# The first starts are turned by this much about each axis, in both directions.
START_DEGREES = 25.0

# Two initial alignments closer than this many coarse voxels are one.
SAME_VOXELS = 3.0

# A search also begins with the moving image made larger or smaller by this much.
SIZES = (0.65, 1.5)

# Of each image that much is read around the other's field of view, as a share of the smaller one's mean size.
MARGIN = 0.25

# Largest stretch or compression along any direction that a linear part is believed.
LARGEST_STRETCH = 3.0

# Most iterations of the optimiser, from each of the starts and of every later fit.
START_ITERATIONS, ITERATIONS = 8, 40

# So many starts go on, of those near the initial alignment and of those that a search adds.
MAX_STARTS = 3

# A fit ends where an iteration improves the objective by less.
TOLERANCE = 1e-6

# Two alignments further apart than this share of the field of view's size, on average, are different ones.
DIFFERENT = 0.1

# What each part of the work counts for in a progress bar beside the steps of the levels, and all of it.
SHARES = {"starts": 8, "coarse": 4, "fine": 8}
STEPS = sum(SHARES.values())


@dataclass(frozen=True, eq=False)
class LinearAlignment:
    """What the linear stage makes of a pair.

    Args:
        matrix: `(4, 4)`, fixed world to moving world, mm.
        rival: How much the images resemble each other under the best alignment that is a different one, relative to
            the best of all; 0 where all that were tried end at one, None where there was one to begin from.
    """

    matrix: np.ndarray
    rival: float | None = None


def refine_linear(
    pair: AlignedPair,
    similarity: str = "lncc",
    kind: str = "affine",
    search: str = "none",
    far: bool = True,
    progress: Callable[[int], object] | None = None,
) -> LinearAlignment:
    """The linear map that aligns a pair.

    The images are compared where both have been measured, and in both directions: what lies outside of a field of
    view or a mask neither counts as dark nor as like, and the result of the reversed pair is the inverse.

    Args:
        pair: A `tfreg.preprocessing.aligned_pair.AlignedPair`.
        similarity: What the whole refinement goes by.
        kind: What may change beyond the initial alignment: "rigid" turns and shifts, "similarity" scales too,
            "affine" changes all twelve parameters.
        search: "normal" and "wide" begin at more turns, each with the shift that makes the images most alike.
        far: True tries several rotations first; False begins at the initial alignment with all that may change.
        progress: Called with the number of steps done after some of them, `STEPS` in all, or None.

    Returns:
        The `LinearAlignment`.
    """
    measure = measure_for(similarity)
    init, candidates = pair.init, [pair.init]
    scanned = []
    if far:
        candidates += _centres_of_mass(pair)
        scanned = [] if search == "none" else turned_starts(pair, search)
    coarse = _Level(pair, measure, candidates + scanned, COARSE)
    if coarse.objective.is_empty:
        return LinearAlignment(init)
    count = progress or (lambda done: None)
    begun, linears = [], []
    if far:
        turns = [np.eye(3), *about_each_axis(START_DEGREES)]
        near = [coarse.about_centre(matrix, turn) for matrix in candidates for turn in turns]
        fitted = in_threads(lambda start: coarse.fitted(start, "rigid", START_ITERATIONS), near + scanned)
        # Some of both: while sizes differ, what is turned right may be less alike than what is turned wrong.
        groups = fitted[: len(near)], fitted[len(near) :]
        best = [start for group in groups for start in sorted(group, key=lambda result: result[1])[:MAX_STARTS]]
        count(SHARES["starts"])
        starts = [(matrix, "rigid") for matrix, _ in best]
        if search != "none" and kind != "rigid":
            starts += [
                (coarse.about_centre(matrix, s * np.eye(3)), "similarity") for matrix in candidates for s in SIZES
            ]
        begun = in_threads(lambda start: coarse.fitted(*start, ITERATIONS), starts)
    else:
        count(SHARES["starts"])
    if not (far and kind == "rigid"):
        begins = [matrix for matrix, _ in begun] or [init]
        linears = in_threads(lambda begin: coarse.fitted(begin, kind, ITERATIONS), begins)
    count(SHARES["coarse"])
    # What looks better on coarse voxels may have been the better only there.
    candidates = [init, *(matrix for matrix, _ in (*begun, *linears) if _is_plausible(matrix, init))]
    fine = _Level(pair, measure, candidates, FINE)
    start = min(candidates, key=fine.value)
    linear, _ = fine.fitted(start, kind, ITERATIONS)
    count(SHARES["fine"])
    rival = coarse.rival(linears or begun) if far else None
    return LinearAlignment(linear if _is_plausible(linear, init) else start, rival)


def _centres_of_mass(pair):
    """The alignment of the centres of mass, a list of one; of none where it is the initial one, or `init` turns."""
    try:
        moments = initial_alignment("moments", pair.fixed, pair.moving, *pair.masks)
    except ValueError:
        return []
    same_mm = SAME_VOXELS * np.cbrt(pair.fixed.lattice.volume_mm3 / COARSE)
    only_shifts = np.array_equal(pair.init[:3, :3], np.eye(3))
    return [moments] if only_shifts and np.linalg.norm(moments[:3, 3] - pair.init[:3, 3]) > same_mm else []


def _is_plausible(linear, init):
    """Whether a map neither mirrors nor stretches beyond belief what the initial alignment leaves."""
    change = linear[:3, :3] @ np.linalg.inv(init[:3, :3])
    stretch = np.linalg.svd(change, compute_uv=False)
    return np.linalg.det(change) > 0 and stretch.max() <= LARGEST_STRETCH and stretch.min() >= 1 / LARGEST_STRETCH


class _Level:
    """The pair on cubes of one size, over what may lie in both fields of view.

    Args:
        pair: An `AlignedPair`.
        measure: What `LinearObjective` takes.
        candidates: World maps `(4, 4)` that are to be tried, with some room around them.
        voxels: Cubes in the smaller field of view.
    """

    def __init__(self, pair, measure, candidates, voxels):
        lattices = pair.fixed.lattice, pair.moving.lattice
        # No finer than the finer image is.
        finest = min(abs(np.linalg.det(lattice.affine[:3, :3])) for lattice in lattices)
        self.spacing = float(np.cbrt(max(min(lattice.volume_mm3 for lattice in lattices) / voxels, finest)))
        margin_mm = MARGIN * min(lattice.mean_size_mm for lattice in lattices)
        maps = candidates, [np.linalg.inv(matrix) for matrix in candidates]
        self.lattices = [
            _around(covered, self.spacing, other, inverses, margin_mm)
            for covered, other, inverses in zip(lattices, lattices[::-1], maps[::-1], strict=True)
        ]
        self.objective = LinearObjective(pair.fixed, pair.moving, self.lattices, pair.masks, measure)
        # The objective's own lattices, with what they add.
        self.to_fixed, self.to_moving = (np.linalg.inv(lattice.affine) for lattice in self.objective.lattices)
        self.fixed_shape = np.array(self.objective.lattices[0].shape)

    def about_centre(self, world_map, change):
        """A world map after a matrix `(3, 3)` about the centre of the fixed cubes, along the fixed image's axes."""
        centre = self.lattices[0].centre_world
        axes = self.lattices[0].affine[:3, :3] / self.spacing
        changed = np.eye(4)
        changed[:3, :3] = axes @ change @ axes.T
        changed[:3, 3] = centre - changed[:3, :3] @ centre
        return world_map @ changed

    def rival(self, fits):
        """How alike the images are under the best fit that differs from the best of all, relative to it; 0 of none.

        Args:
            fits: What `fitted` returned, one or more.
        """
        (best, least), *others = sorted(fits, key=lambda fit: fit[1])
        lattice = self.lattices[0]
        middle = (np.array(list(np.ndindex(2, 2, 2))) + 0.5) / 2 * lattice.shape - 0.5
        places = np.c_[lattice.to_world(middle), np.ones(8)]
        rivals = [
            value
            for matrix, value in others
            if np.linalg.norm(places @ (matrix - best)[:3].T, axis=1).mean() > DIFFERENT * lattice.mean_size_mm
        ]
        return max(0.0, 1 - min(rivals)) / max(1 - least, 1e-6) if rivals else 0.0

    def value(self, world_map):
        """The objective of a world map."""
        return self.objective(self._voxel_map(world_map))[0]

    def fitted(self, world_map, kind, iterations):
        """The best map near a world map.

        Args:
            world_map: `(4, 4)`, fixed world to moving world.
            kind: A name in `CHANGES`: what may be changed.
            iterations: Most that the optimiser takes.

        Returns:
            The world map `(4, 4)` and its objective.
        """
        begin = self._voxel_map(world_map)
        change, count = CHANGES[kind]
        middle = np.eye(4)
        middle[:3, 3] = (self.fixed_shape - 1) / 2
        about, back = begin @ middle, np.linalg.inv(middle)

        def objective(parameters):
            step, slopes = change(parameters, self.fixed_shape)
            value, gradient = self.objective(about @ step @ back)
            by_step = about[:3, :3].T @ gradient @ back.T
            return value, np.array([(by_step * slope[:3]).sum() for slope in slopes])

        result = optimize.minimize(
            objective,
            np.zeros(count),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": iterations, "maxcor": count, "ftol": TOLERANCE, "gtol": 1e-7},
        )
        step, _ = change(result.x, self.fixed_shape)
        return self._world_map(about @ step @ back), float(result.fun)

    def _voxel_map(self, world_map):
        return self.to_moving @ world_map @ np.linalg.inv(self.to_fixed)

    def _world_map(self, voxel_map):
        return np.linalg.inv(self.to_moving) @ voxel_map @ self.to_fixed


def _linear_change(parameters, shape):
    """The identity and a change of all twelve parameters, each in voxels that it moves the lattice's by (RMS).

    Returns:
        `(4, 4)`, and its derivatives, a list of `(4, 4)`.
    """
    slopes = []
    for row, column in np.ndindex(3, 4):
        slope = np.zeros((4, 4))
        slope[row, column] = np.sqrt(12) / shape[column] if column < 3 else 1.0
        slopes.append(slope)
    return np.eye(4) + np.tensordot(parameters, slopes, 1), slopes


def _rigid_change(parameters, shape):
    """A rotation by a vector's length about its direction and a shift; arguments and results as `_linear_change`."""
    scales = np.sqrt(12) / np.sqrt((shape**2).sum() - shape**2)
    angle = parameters[:3] * scales
    rotation = Rotation.from_rotvec(angle).as_matrix()
    step = np.eye(4)
    step[:3, :3], step[:3, 3] = rotation, parameters[3:]
    # d exp([v]) / d v_i = exp([v]) [J e_i] with the right Jacobian J of the rotations.
    jacobian = _right_jacobian(angle)
    slopes = []
    for axis in range(6):
        slope = np.zeros((4, 4))
        if axis < 3:
            slope[:3, :3] = rotation @ _cross(jacobian[:, axis]) * scales[axis]
        else:
            slope[axis - 3, 3] = 1.0
        slopes.append(slope)
    return step, slopes


def _similarity_change(parameters, shape):
    """As `_rigid_change`, and a scaling about the middle by the exponential of the last parameter."""
    scale = np.sqrt(12) / np.linalg.norm(shape)
    size = np.exp(parameters[6] * scale)
    step, slopes = _rigid_change(parameters[:6], shape)
    for matrix in (step, *slopes):
        matrix[:3, :3] *= size
    by_size = np.zeros((4, 4))
    by_size[:3, :3] = step[:3, :3] * scale
    return step, [*slopes, by_size]


# What may be changed: the function of the parameters, and how many there are.
CHANGES = {"rigid": (_rigid_change, 6), "similarity": (_similarity_change, 7), "affine": (_linear_change, 12)}


def _cross(vector):
    """The matrix `(3, 3)` of the cross product with a vector."""
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _right_jacobian(vector):
    """What turns a change of a rotation vector into a turn after the rotation, `(3, 3)`.

    Reference:
        Chirikjian, Stochastic Models, Information Theory, and Lie Groups 2, 2012, section 10.6.
    """
    length, cross = np.linalg.norm(vector), _cross(vector)
    if length < 1e-4:
        return np.eye(3) - cross / 2
    return np.eye(3) - (1 - np.cos(length)) / length**2 * cross + (length - np.sin(length)) / length**3 * cross @ cross


def _around(covered, spacing, other, maps, margin_mm):
    """Cubes over the part of a field of view that another may overlap.

    Args:
        covered: The `Lattice` to be covered.
        spacing: Side of the cubes, mm.
        other: The other image's `Lattice`.
        maps: World maps `(4, 4)` from the other image to this one.
        margin_mm: How much more is covered on every side.

    Returns:
        A `Lattice`, cut out of the cubes over the whole.
    """
    whole = network_grid(covered, spacing=spacing)
    corners = np.array(list(np.ndindex(2, 2, 2))) * np.array(other.shape) - 0.5
    places = np.concatenate([other.to_world(corners) @ matrix[:3, :3].T + matrix[:3, 3] for matrix in maps])
    voxels, margin = whole.to_voxel(places), margin_mm / spacing
    low = np.clip(np.floor(voxels.min(0) - margin), 0, np.array(whole.shape) - 1).astype(int)
    high = np.clip(np.ceil(voxels.max(0) + margin), low, np.array(whole.shape) - 1).astype(int)
    return whole.extended(-low, high + 1 - np.array(whole.shape))
