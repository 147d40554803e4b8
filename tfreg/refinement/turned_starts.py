"""Rigid starts of a refinement: many turns, each at every shift, judged by correlation."""

import numpy as np
from scipy import fft
from scipy.spatial.transform import Rotation

from tfreg.preprocessing.aligned_pair import AlignedPair
from tfreg.preprocessing.network_grid import network_grid
from tfreg.preprocessing.pyramid import onto_level
from tfreg.refinement.linear_objective import weight_of_overlap
from tfreg.runtime.threads import in_threads
from tfreg.volumes.resampling import sample

# Cubes in the smaller field of view.
SCANNED_VOXELS = 5_000

# Of a normal search: turns on a cubic lattice of rotation vectors, up to the largest.
STEP_DEGREES, LARGEST_DEGREES = 30.0, 60.0

# Of a wide search: turns spread evenly over all rotations.
WIDE_TURNS = 300

# So many starts are kept, each the best of itself and of turns by this much about each axis, in both directions.
KEPT, FINER_DEGREES = 8, 15.0

# A start at which less of the smaller image is seen, or its variance there is a smaller share of the whole's, is none.
MIN_OVERLAP, MIN_VARIANCE = 0.1, 1e-3


def turned_starts(pair: AlignedPair, search: str) -> list[np.ndarray]:
    """The alignments, turned and shifted, at which two images are the most alike.

    Every shift of a turn is compared at once, by correlations of what was measured in both images, with fast Fourier
    transforms. Contrast may be inverted.

    Args:
        pair: An `AlignedPair`.
        search: "normal" turns by up to 60 degrees beyond the initial alignment, "wide" by any angle.

    Returns:
        World maps `(4, 4)`, fixed to moving, the best first; none where the images show nothing.

    Reference:
        Padfield, Masked object registration in the Fourier domain, IEEE TIP 2012.
    """
    smaller = min(pair.fixed.lattice.volume_mm3, pair.moving.lattice.volume_mm3)
    spacing = float(np.cbrt(smaller / SCANNED_VOXELS))
    correlation = _Correlation(pair, spacing)
    turns = wide_turns(WIDE_TURNS) if search == "wide" else near_turns()
    scanned = in_threads(correlation.best, [pair.init[:3, :3] @ turn for turn in turns])
    kept = sorted((start for start in scanned if start[0] > 0), key=_worth, reverse=True)[:KEPT]
    finer = about_each_axis(FINER_DEGREES)

    def best_nearby(start):
        return max((start, *(correlation.best(start[1][:3, :3] @ turn) for turn in finer)), key=_worth)

    return [world_map for _, world_map in sorted(in_threads(best_nearby, kept), key=_worth, reverse=True)]


def _worth(start):
    return start[0]


def about_each_axis(degrees: float) -> np.ndarray:
    """Six rotations `(6, 3, 3)`, one in either direction about each axis."""
    vectors = [sign * np.eye(3)[axis] for axis in range(3) for sign in (-1, 1)]
    return Rotation.from_rotvec(np.radians(degrees) * np.array(vectors)).as_matrix()


def near_turns() -> np.ndarray:
    """Rotations `(n, 3, 3)` on a cubic lattice of rotation vectors, the identity among them."""
    count = int(LARGEST_DEGREES // STEP_DEGREES)
    vectors = STEP_DEGREES * (np.array(list(np.ndindex(*[2 * count + 1] * 3))) - count)
    vectors = vectors[np.linalg.norm(vectors, axis=1) <= LARGEST_DEGREES]
    return Rotation.from_rotvec(np.radians(vectors)).as_matrix()


def wide_turns(count: int) -> np.ndarray:
    """Rotations `(n, 3, 3)` spread evenly over all of them, on a spiral in the space of quaternions.

    Reference:
        Alexa, Super-Fibonacci Spirals, CVPR 2022.
    """
    place = np.arange(count) + 0.5
    near, far = np.sqrt(place / count), np.sqrt(1 - place / count)
    # The positive root of x⁴ = x + 4 makes the second angle as irrational as can be beside the first.
    root = np.roots([1, 0, 0, -1, -4])
    psi = root[np.isreal(root) & (root.real > 0)].real[0]
    first, second = 2 * np.pi * place / np.sqrt(2), 2 * np.pi * place / psi
    quaternions = [near * np.sin(first), near * np.cos(first), far * np.sin(second), far * np.cos(second)]
    return Rotation.from_quat(np.stack(quaternions, axis=1)).as_matrix()


class _Correlation:
    """Squared correlation of two images on cubes, weighted by their overlap, at every shift of a turn.

    Args:
        pair: An `AlignedPair`.
        spacing: Side of the cubes, mm.
    """

    def __init__(self, pair, spacing):
        self.fixed_lattice = network_grid(pair.fixed.lattice, spacing=spacing)
        self.moving_lattice = network_grid(pair.moving.lattice, spacing=spacing)
        fixed, weights = onto_level(pair.fixed, self.fixed_lattice, None, pair.fixed_mask)
        self.moving, self.moving_weights = onto_level(pair.moving, self.moving_lattice, None, pair.moving_mask)
        fixed, self.moving = _about_mean(fixed, weights), _about_mean(self.moving, self.moving_weights)
        # Room for the moving field of view however it is turned, and all shifts of the fixed one against it.
        size = int(np.ceil(np.linalg.norm(self.moving_lattice.shape))) + 1
        self.turned_shape = np.array([size] * 3)
        self.shape = [fft.next_fast_len(size + n - 1, real=True) for n in self.fixed_lattice.shape]
        self.fixed_sum = weights.sum()
        self.fixed_terms = [np.conj(self._transformed(weights * fixed**power)) for power in range(3)]
        index = np.stack(np.indices(self.turned_shape), axis=-1) - (self.turned_shape - 1) / 2
        self.offsets_mm = index @ self.fixed_lattice.affine[:3, :3].T

    def _transformed(self, array):
        return fft.rfftn(array, self.shape)

    def best(self, turn):
        """The best shift of a turn.

        Args:
            turn: `(3, 3)`, from the fixed world's directions to the moving one's.

        Returns:
            What it is worth, and the world map `(4, 4)`, fixed to moving.
        """
        places = self.moving_lattice.to_voxel(self.moving_lattice.centre_world + self.offsets_mm @ turn.T)
        weights = sample(self.moving_weights, places).astype(np.float64)
        moving = sample(self.moving, places).astype(np.float64)
        terms = [self._transformed(weights * moving**power) for power in range(3)]

        def sums(fixed_power, moving_power):
            return fft.irfftn(self.fixed_terms[fixed_power] * terms[moving_power], self.shape)

        overlap = sums(0, 0)
        moving_sum = max(weights.sum(), 1e-6)
        enough = overlap > MIN_OVERLAP * min(self.fixed_sum, moving_sum)
        safe = np.where(enough, overlap, 1.0)
        fixed_mean, moving_mean = sums(1, 0) / safe, sums(0, 1) / safe
        fixed_variance = sums(2, 0) / safe - fixed_mean**2
        moving_variance = sums(0, 2) / safe - moving_mean**2
        covariance = sums(1, 1) / safe - fixed_mean * moving_mean
        # Both images have a variance of one as a whole.
        enough &= np.minimum(fixed_variance, moving_variance) > MIN_VARIANCE
        alike = np.where(enough, covariance**2 / np.where(enough, fixed_variance * moving_variance, 1.0), 0.0)
        worth = alike * weight_of_overlap(safe / self.fixed_sum, safe / moving_sum)
        best = np.unravel_index(int(np.argmax(np.where(enough, worth, 0.0))), worth.shape)
        # Shifts beyond the turned grid are negative ones.
        shift = np.where(np.array(best) < self.turned_shape, best, np.array(best) - self.shape)
        first_mm = self.fixed_lattice.affine[:3, :3] @ (shift - (self.turned_shape - 1) / 2)
        world_map = np.eye(4)
        world_map[:3, :3] = turn
        world_map[:3, 3] = self.moving_lattice.centre_world + turn @ (first_mm - self.fixed_lattice.affine[:3, 3])
        return float(worth[best]) if enough[best] else 0.0, world_map


def _about_mean(values, weights):
    """Values with a mean of zero and a variance of one where weights count; zeros where there is no variance."""
    total = max(weights.sum(dtype=np.float64), 1e-6)
    centred = values - (values * weights).sum(dtype=np.float64) / total
    deviation = np.sqrt((centred**2 * weights).sum(dtype=np.float64) / total)
    return centred / deviation if deviation > 0 else np.zeros_like(centred)
