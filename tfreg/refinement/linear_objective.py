"""What the linear stage minimises: how little two images resemble each other under a matrix, with its gradient.

In NumPy and float64: the volumes are small, and nothing has to be traced for their sizes.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from tfreg.preprocessing.pyramid import onto_level
from tfreg.runtime.threads import PART_SIZE, in_threads
from tfreg.volumes.lattice import Lattice
from tfreg.volumes.volume import Volume

# Side of the window of the local correlation, voxels.
WINDOW = 5

# Structure weaker than 0.003 counts as flat; intensities are in [0, 1].
VARIANCE_FLOOR = 1e-5

# A window of which less than this many voxels count says nothing.
MIN_COUNT = 1e-3

# Intervals of the intensities in the joint histogram.
BINS = 24

# Standard deviation of the Gaussian that softens borders, voxels.
SOFTNESS = 1.0

# Exponent of the share of the images that is compared: less overlap must be made up for by more resemblance.
OVERLAP_POWER = 0.5

# The images' two shares are averaged with this exponent: a small image inside a large one overlaps almost wholly.
SHARE_NORM = 4

# Keeps the slope of no overlap at all finite.
NO_SHARE = 1e-24

# The images are compared in the middle between voxels: reading a voxel itself would blur less than reading beside it.
HALF_VOXEL = np.eye(4)
HALF_VOXEL[:3, 3] = 0.5

# Weight of the stretch: by 1.5 along one axis it costs 0.003.
STRETCH_WEIGHT = 0.01


class LinearObjective:
    """How little a fixed and a moving image resemble each other, read in both directions through a matrix.

    Each image is read at the other's voxels, and compared where both were measured. The value is
    1 - similarity x sqrt(overlap) + a penalty on stretch, all three the same for the reversed pair with the
    inverse matrix: neither image is favoured, and for identical images the identity is a stationary point, exactly.

    Args:
        fixed, moving: `Volume`s with intensities in [0, 1].
        lattices: The two `Lattice`s of cubes of one size on which they are compared.
        masks: Where fixed and moving count, `Volume`s on their lattices or None.
        measure: "lncc", signed squared local correlation, or "mi", normalised mutual information.
    """

    def __init__(
        self,
        fixed: Volume,
        moving: Volume,
        lattices: Sequence[Lattice],
        masks: tuple[Volume | None, Volume | None] = (None, None),
        measure: str = "lncc",
    ) -> None:
        # One more voxel around, where nothing was measured.
        self.lattices = tuple(lattice.extended(1, 1) for lattice in lattices)
        self._images = [_Image(*pair) for pair in zip((fixed, moving), self.lattices, masks, strict=True)]
        self._compare = MEASURES[measure]

    def __call__(self, matrix: np.ndarray) -> tuple[float, np.ndarray]:
        """The value and its gradient.

        Args:
            matrix: `(4, 4)`, voxel coordinates of the fixed lattice to those of the moving one, invertible.

        Returns:
            The value, a float, and the gradient, `(3, 4)`.
        """
        fixed, moving = self._images
        inverse = np.linalg.inv(matrix)
        directions = (fixed, moving, matrix), (moving, fixed, inverse)
        # Side by side where that gains more than a thread costs.
        run = in_threads if fixed.weights.size > PART_SIZE else map
        forward, backward = run(lambda direction: self._one_direction(*direction), directions)
        forward, forward_slope, seen, seen_slope = forward
        backward, backward_slope, back_seen, back_seen_slope = backward
        backward_slope, back_seen_slope = (_by_matrix(by, inverse) for by in (backward_slope, back_seen_slope))
        similarity, similarity_slope = (forward + backward) / 2, (forward_slope + backward_slope) / 2
        mean = (seen**SHARE_NORM + back_seen**SHARE_NORM) / 2
        share = weight_of_overlap(seen, back_seen)
        mean_slope = (seen ** (SHARE_NORM - 1) * seen_slope + back_seen ** (SHARE_NORM - 1) * back_seen_slope) / 2
        share_slope = OVERLAP_POWER * share / (mean + NO_SHARE) * mean_slope
        stretch, stretch_slope = _stretch(matrix, inverse)
        value = 1.0 - similarity * share + STRETCH_WEIGHT * stretch
        return value, STRETCH_WEIGHT * stretch_slope - similarity_slope * share - similarity * share_slope

    def _one_direction(self, still, read, matrix):
        """The similarity of one image with the other as read at its voxels, and the share of it that is seen.

        Returns:
            Similarity, its gradient `(3, 4)`, share in [0, 1], its gradient `(3, 4)`.
        """
        (values, value_slopes), (seen, seen_slopes) = read.at(matrix @ HALF_VOXEL, still.middle_weights.shape)
        weights = still.middle_weights * seen
        similarity, by_value, by_weight = self._compare(still.middle_values, values, weights)
        by_seen = by_weight * still.middle_weights
        by_place = [by_value * a + by_seen * b for a, b in zip(value_slopes, seen_slopes, strict=True)]
        share_by_place = [still.middle_weights * slope / still.total for slope in seen_slopes]
        gradients = [
            np.stack([_moments(part) for part in places]) @ HALF_VOXEL.T for places in (by_place, share_by_place)
        ]
        return similarity, gradients[0], weights.sum() / still.total, gradients[1]

    @property
    def is_empty(self) -> bool:
        """Whether one of the images was measured nowhere on its lattice."""
        return not all(image.weights.any() for image in self._images)


class _Image:
    """A volume on a lattice, and where it was measured."""

    def __init__(self, volume, lattice, mask):
        self.shape = lattice.shape
        values, weights = onto_level(volume, lattice, None, mask)
        # The weights rise within two voxels of a border: a step would make the objective one of steps.
        soft = ndimage.gaussian_filter(weights.astype(np.float64), SOFTNESS, mode="constant")
        soft /= max(soft.max(), 1e-6)  # of a thin slab all is border
        self.values, self.weights = values.astype(np.float64), np.clip(2 * soft - 1, 0, 1)
        self.middle_values, self.middle_weights = _middles(self.values), _middles(self.weights)
        self.total = max(self.middle_weights.sum(), 1e-6)
        self._lines = self.values.ravel(), self.weights.ravel()

    def at(self, matrix, shape):
        """Values and weights at the voxels of another lattice, by trilinear interpolation.

        Args:
            matrix: `(4, 4)`, the other lattice's voxel coordinates to this one's.
            shape: Three sizes of the other lattice.

        Returns:
            Values and weights, each with a list of its slopes along the three axes, all of the other shape.
        """
        axes = np.ogrid[tuple(slice(n) for n in shape)]
        index, shares, follows = 0, [], []
        for row, size in zip(matrix[:3], self.shape, strict=True):
            place = (row[0] * axes[0] + row[3]) + (row[1] * axes[1] + row[2] * axes[2])
            clamped = np.clip(place, 0, size - 1)
            low = np.minimum(clamped.astype(np.intp), size - 2)
            index = index * size + low
            shares.append(clamped - low)
            follows.append(clamped == place)
        steps = (self.shape[1] * self.shape[2], self.shape[2], 1)
        corners = [index + np.dot(corner, steps) for corner in np.ndindex(2, 2, 2)]
        return tuple(_interpolated([line.take(corner) for corner in corners], shares, follows) for line in self._lines)


def _middles(values):
    """The values in the middle of eight voxels each."""
    for axis in range(3):
        values = (np.delete(values, 0, axis) + np.delete(values, -1, axis)) / 2
    return values


def _moments(values):
    """`(4,)`, the sums of values times each voxel coordinate, and their sum."""
    along = [values.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    return np.array([*(line @ np.arange(line.size) for line in along), values.sum()])


def _interpolated(corners, shares, follows):
    """Values between eight corners, and a list of their slopes where the place is not clamped."""
    slopes = []
    for share in reversed(shares):
        rises = [high - low for low, high in zip(corners[::2], corners[1::2], strict=True)]
        corners = [low + share * rise for low, rise in zip(corners[::2], rises, strict=True)]
        slopes = [[low + share * (high - low) for low, high in zip(s[::2], s[1::2], strict=True)] for s in slopes]
        slopes.insert(0, rises)
    return corners[0], [slope * follow for (slope,), follow in zip(slopes, follows, strict=True)]


def measure_for(similarity: str) -> str:
    """Which of `MEASURES` a refinement by a similarity, such as "lncc+0.5*mi", begins with."""
    return "mi" if "mi" in similarity else "lncc"  # "mind" too


def weight_of_overlap(seen: float, back_seen: float) -> float:
    """What the similarity counts for, in [0, 1], where these shares of the fixed and the moving image are seen."""
    mean = (seen**SHARE_NORM + back_seen**SHARE_NORM) / 2
    return (mean + NO_SHARE) ** (OVERLAP_POWER / SHARE_NORM)


def _by_matrix(by_inverse, inverse):
    """A gradient with respect to a matrix, `(3, 4)`, from that with respect to its inverse."""
    return -(inverse.T @ np.vstack([by_inverse, np.zeros(4)]) @ inverse.T)[:3]


def _stretch(matrix, inverse):
    """The sum of (s² + 1/s²) / 2 - 1 over a matrix' stretches s, the same for its inverse; 0 for a rotation."""
    value = (np.square(matrix[:3, :3]).sum() + np.square(inverse[:3, :3]).sum()) / 2 - 3
    slope = np.zeros((3, 4))
    slope[:, :3] = matrix[:3, :3] - inverse[:3, :3].T @ inverse[:3, :3] @ inverse[:3, :3].T
    return value, slope


def _local_correlation(fixed, warped, weights):
    """Weighted mean of the signed square of the local correlation, and its gradients.

    Windows count what was measured in them, and nothing else.

    Args:
        fixed, warped: `(i, j, k)` images.
        weights: `(i, j, k)`, how much each voxel counts.

    Returns:
        The similarity in [-1, 1], and its gradients with respect to `warped` and `weights`.
    """

    def sums(channels):
        return ndimage.uniform_filter(channels, (0, WINDOW, WINDOW, WINDOW), mode="constant")

    weighted = weights * warped
    count, *moments = sums(
        np.stack([weights, weights * fixed, weighted, weights * fixed**2, weighted * warped, weighted * fixed])
    )
    count = np.maximum(count, MIN_COUNT)
    fixed_mean, warped_mean, fixed_square, warped_square, product = moments = [m / count for m in moments]
    fixed_variance = np.maximum(fixed_square - fixed_mean**2, 0) + VARIANCE_FLOOR
    warped_variance = np.maximum(warped_square - warped_mean**2, 0) + VARIANCE_FLOOR
    covariance = product - fixed_mean * warped_mean
    correlation = covariance * np.abs(covariance) / (fixed_variance * warped_variance)
    total = max(weights.sum(), 1e-6)
    similarity = float((weights * correlation).sum() / total)
    share = weights / total
    by_product = share * 2 * np.abs(covariance) / (fixed_variance * warped_variance)
    by_fixed_square, by_warped_square = -share * correlation / fixed_variance, -share * correlation / warped_variance
    by_fixed_mean = -by_product * warped_mean - 2 * by_fixed_square * fixed_mean
    by_warped_mean = -by_product * fixed_mean - 2 * by_warped_square * warped_mean
    by_moments = [by_fixed_mean, by_warped_mean, by_fixed_square, by_warped_square, by_product]
    by_count = -sum(slope * moment for slope, moment in zip(by_moments, moments, strict=True))
    # The windows' sums are symmetric: they pass gradients on as they sum values.
    n, a, b, aa, bb, ab = sums(np.stack([by_count, *by_moments]) / count)
    by_warped = weights * (b + 2 * warped * bb + fixed * ab)
    by_weights = n + fixed * a + warped * b + fixed**2 * aa + warped**2 * bb + fixed * warped * ab
    return similarity, by_warped, by_weights + (correlation - similarity) / total


def _information(fixed, warped, weights):
    """Normalised mutual information, 2 (1 - H(joint) / (H(fixed) + H(warped))), and its gradients.

    Args:
        fixed, warped: `(i, j, k)` images in [0, 1].
        weights: `(i, j, k)`, how much each voxel counts.

    Returns:
        The similarity in [0, 1], and its gradients with respect to `warped` and `weights`.

    Reference:
        Studholme, Hill & Hawkes, Pattern Recognition 1999; both images in linear windows, as in Mattes et al. 2003.
    """
    lows, shares = zip(*(_bins(image) for image in (fixed, warped)), strict=True)
    cells = [(lows[0] + i) * (BINS + 1) + lows[1] + j for i in (0, 1) for j in (0, 1)]
    kernels = [
        (shares[0] if i else 1 - shares[0]) * (shares[1] if j else 1 - shares[1]) for i in (0, 1) for j in (0, 1)
    ]
    size = (BINS + 1) ** 2
    histogram = sum(
        np.bincount(cell.ravel(), (weights * kernel).ravel(), size) for cell, kernel in zip(cells, kernels, strict=True)
    ).reshape(BINS + 1, BINS + 1)
    total = max(histogram.sum(), 1e-6)
    joint = histogram / total
    parts = joint, joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    logarithms = [np.log(np.maximum(part, 1e-12)) for part in parts]
    both, *each = (-(part * logarithm).sum() for part, logarithm in zip(parts, logarithms, strict=True))
    alone = max(sum(each), 1e-6)
    by_both, *by_each = (-(log + h) / total for log, h in zip(logarithms, (both, *each), strict=True))
    slope = (-2 * (by_both / alone - both * (by_each[0] + by_each[1]) / alone**2)).ravel()
    values = [slope[cell] for cell in cells]
    by_weights = sum(value * kernel for value, kernel in zip(values, kernels, strict=True))
    rise = (1 - shares[0]) * (values[1] - values[0]) + shares[0] * (values[3] - values[2])
    return float(2 - 2 * both / alone), weights * BINS * rise, by_weights


def _bins(image):
    """The interval of the intensities in which each voxel lies, and how far up in it."""
    place = np.clip(image, 0, 1) * BINS
    low = np.minimum(place.astype(np.int64), BINS - 1)
    return low, place - low


# What compares a fixed and a warped image with weights; each gives its value, and its gradients with respect to the
# warped image and the weights.
MEASURES = {"lncc": _local_correlation, "mi": _information}
