"""The inverse of a deformation: exact where it is composed, by iteration where it is axiswise."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from tfreg.runtime.threads import PART_SIZE
from tfreg.transforms.composed_passes import ComposedPasses, applied
from tfreg.transforms.voxel_map import AxisMap, VoxelMap

# An iterated point is found when its image is this near to where it should be, in voxels.
CONVERGED_VOXELS = 1e-9
MAX_STEPS = 60
# A point whose steps had to be halved this often has stalled.
MIN_FRACTION = 2**-6


def inverted(deformation: VoxelMap, points_voxel: ArrayLike) -> np.ndarray:
    """Where a deformation takes points from.

    Args:
        deformation: A `VoxelMap`.
        points_voxel: `(..., 3)` voxel coordinates, anywhere. A point that is not finite has no origin.

    Returns:
        `(..., 3)` float64 voxel coordinates that the deformation maps to `points_voxel`: exact for composed
        integration, the best that was found for axiswise. Of several passes the inverses in reverse order.
    """
    if isinstance(deformation, ComposedPasses):
        points = applied(np.linalg.inv(deformation.matrices[-1]), np.asarray(points_voxel, np.float64))
        for matrix, part in reversed(deformation.steps):
            points = applied(np.linalg.inv(matrix), inverted(part, points))
        return points
    if not isinstance(deformation, AxisMap):
        raise TypeError(f"`deformation` must be an `AxisMap` or `ComposedPasses`. Received: {type(deformation)}")
    if deformation.integration == "axiswise":
        return inverse_axiswise(deformation, points_voxel)[0]
    return inverse_composed(deformation, points_voxel)


def inverse_composed(deformation: AxisMap, points_voxel: ArrayLike) -> np.ndarray:
    """Undoes a composed deformation: T_i⁻¹ ∘ T_j⁻¹ ∘ T_k⁻¹.

    Along its own axis each T_d is strictly increasing and linear between voxel centres (slope 1 outside), so
    the piece that holds a value is found by a search and then solved. Applying the deformation again gives
    the points back to float64's rounding; where slopes are tiny along all three axes (Φ = 0.002) the inverse
    itself is so steep that rounding `points_voxel` moves the result by up to 1e-5 voxels.

    Args:
        deformation: An `AxisMap` with composed integration.
        points_voxel: `(..., 3)` voxel coordinates, anywhere.

    Returns:
        `(..., 3)` float64 voxel coordinates; not a number where `points_voxel` is not finite.
    """
    points = _finite_points(points_voxel)
    result = points.copy()
    for part in _chunks(result):
        for d in (2, 1, 0):
            across = [axis for axis in range(3) if axis != d]
            part[:, d] = _inverse_along_lines(deformation.lines[d], part[:, across], part[:, d])
    return _all_points(points_voxel, result)


def inverse_axiswise(deformation: AxisMap, points_voxel: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Undoes an axiswise deformation by Newton's method.

    Such a deformation may fold: a point then has several origins, of which one is found, or none is. A step
    that brings no gain is halved; a point that stalls starts once more from the voxel whose image is nearest.

    Args:
        deformation: An `AxisMap` with axiswise integration.
        points_voxel: `(..., 3)` voxel coordinates, anywhere.

    Returns:
        `(..., 3)` float64 voxel coordinates, the best that was found, and `(...)` their residual in voxels: how
        far from `points_voxel` the deformation maps them. A point above `CONVERGED_VOXELS` is not inverted.
        Both are not a number where `points_voxel` is not finite.
    """
    targets = _finite_points(points_voxel)
    field = np.stack(deformation.displacements, axis=-1)  # (i, j, k, 3)
    result, residuals = np.empty_like(targets), np.empty(len(targets))
    for target, point, residual in zip(_chunks(targets), _chunks(result), _chunks(residuals), strict=True):
        point[:], residual[:] = _newton(field, target, target)
    lost = np.flatnonzero(residuals > CONVERGED_VOXELS)
    if lost.size:
        voxels = np.stack(np.meshgrid(*map(np.arange, deformation.shape), indexing="ij"), axis=-1).reshape(-1, 3)
        images = KDTree(voxels + field.reshape(-1, 3))
        for part in _chunks(lost):
            start = voxels[images.query(targets[part])[1]].astype(np.float64)
            point, residual = _newton(field, targets[part], start)
            better = residual < residuals[part]
            result[part[better]], residuals[part[better]] = point[better], residual[better]
    return _all_points(points_voxel, result), _all_points(points_voxel, residuals)


def _finite_points(points):
    """Points `(..., 3)` as a float64 `(n, 3)`, those that are not finite replaced by zero."""
    points = np.asarray(points, np.float64).reshape(-1, 3)
    return np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, 0.0)


def _all_points(points, result):
    """A result per point, `(n, ...)`, in the shape of the points, not a number where these are not finite."""
    finite = np.isfinite(points).all(axis=-1)
    result[~finite.ravel()] = np.nan
    return result.reshape(finite.shape + result.shape[1:])


def _chunks(array):
    return (array[start : start + PART_SIZE] for start in range(0, len(array), PART_SIZE))


def _cell(coordinates, size):
    """Clamps coordinates `(n)` to a lattice axis: the voxels below and above, and how far the point is between."""
    clamped = np.clip(coordinates, 0, size - 1)
    low = np.minimum(clamped.astype(np.intp), max(size - 2, 0))
    return low, np.minimum(low + 1, size - 1), clamped - low


def _inverse_along_lines(lines, across, values):
    """Solves y + displacement(across, y) = values.

    Args:
        lines: `(a, b, n)`, a displacement, contiguous along its own axis.
        across: `(points, 2)`, where each point lies on the first two axes.
        values: `(points)`.

    Returns:
        `(points)`, the coordinates y.
    """
    size = lines.shape[2]
    a_low, a_high, a = _cell(across[:, 0], lines.shape[0])
    b_low, b_high, b = _cell(across[:, 1], lines.shape[1])
    # Around each point run four lines: where they begin, and their weights. (4, points)
    begins = np.stack([(i * lines.shape[1] + j) * size for i in (a_low, a_high) for j in (b_low, b_high)])
    weights = np.stack([(1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b])

    def image(knot):
        """Where the map takes voxel `knot` of every point's line."""
        return knot + np.einsum("lp,lp->p", weights, lines.take(begins + knot))

    first, last = image(0), image(size - 1)
    # Beyond the outermost voxels the slope is one.
    result = np.where(values < last, values - first, values - last + (size - 1))
    left = np.flatnonzero((values > first) & (values < last))
    low, high, estimate = np.zeros(len(left), np.intp), np.full(len(left), size - 1), values[left]
    begins, weights, values = begins[:, left], weights[:, left], values[left]
    # Between `low` and `high` lies the piece. Newton's guess mostly hits it or a neighbour; every third guess
    # halves the bracket instead, so that 3 log2(size) steps are enough.
    for step in range(3 * size.bit_length()):
        if not left.size:
            break
        knot = (low + high) // 2 if step % 3 == 2 else np.clip(estimate, low, high - 1).astype(np.intp)
        below, above = image(knot), image(knot + 1)
        estimate = knot + (values - below) / (above - below)
        result[left] = estimate
        high, low = np.where(values < below, knot, high), np.where(values >= above, knot + 1, low)
        # A bracket is empty only where rounding put a value beside its knot: either neighbour is right then.
        wrong = np.flatnonzero(((values < below) | (values >= above)) & (low < high))
        left, low, high, estimate, values = (array[wrong] for array in (left, low, high, estimate, values))
        begins, weights = begins[:, wrong], weights[:, wrong]
    return result


def _newton(field, targets, points):
    """Newton's method with step halving for x + field(x) = targets.

    Args:
        field: `(i, j, k, 3)`, displacement in voxels.
        targets, points: `(points, 3)`, images, and where to start.

    Returns:
        `(points, 3)`, the best that was found, and its residual `(points)`, in voxels.
    """
    best, targets = points.T.copy(), targets.T  # (3, points)
    displacement, slopes = _field_and_slopes(field, best)
    errors = targets - best - displacement
    residuals = np.sqrt((errors**2).sum(axis=0))
    left = np.flatnonzero(residuals > CONVERGED_VOXELS)
    errors, slopes, targets, fraction = errors[:, left], slopes[..., left], targets[:, left], np.ones(len(left))
    for _ in range(MAX_STEPS):
        if not left.size:
            break
        trial = best[:, left] + fraction * _newton_step(slopes, errors)
        displacement, trial_slopes = _field_and_slopes(field, trial)
        trial_errors = targets - trial - displacement
        trial_residuals = np.sqrt((trial_errors**2).sum(axis=0))
        gain = trial_residuals < residuals[left]
        best[:, left[gain]], residuals[left[gain]] = trial[:, gain], trial_residuals[gain]
        errors, slopes = np.where(gain, trial_errors, errors), np.where(gain, trial_slopes, slopes)
        fraction = np.where(gain, np.minimum(2 * fraction, 1), fraction / 2)
        rest = np.flatnonzero((residuals[left] > CONVERGED_VOXELS) & (fraction > MIN_FRACTION))
        left, fraction = left[rest], fraction[rest]
        errors, slopes, targets = errors[:, rest], slopes[..., rest], targets[:, rest]
    return best.T, residuals


def _field_and_slopes(field, points):
    """A trilinear field at points, and its derivative in the cell that holds each.

    Args:
        field: `(i, j, k, 3)`, continued outside by its border.
        points: `(3, points)` voxel coordinates.

    Returns:
        `(3, points)` values, and `(3, 3, points)` slopes: axis by component.
    """
    shape = field.shape[:3]
    cells = [_cell(coordinate, size) for coordinate, size in zip(points, shape, strict=True)]
    rows = field.reshape(-1, 3)
    values, slopes = {}, np.empty((3, 3, points.shape[1]))
    for i, j, k in np.ndindex(2, 2, 2):
        index = (cells[0][i] * shape[1] + cells[1][j]) * shape[2] + cells[2][k]
        values[i, j, k] = rows.take(index, axis=0).T
    fraction = [cell[2] for cell in cells]
    # Reduced along k, then j, then i; each slope is the difference that its own reduction takes.
    along_k = {(i, j): values[i, j, 1] - values[i, j, 0] for i, j in np.ndindex(2, 2)}
    on_k = {(i, j): values[i, j, 0] + fraction[2] * along_k[i, j] for i, j in np.ndindex(2, 2)}
    along_j = [on_k[i, 1] - on_k[i, 0] for i in range(2)]
    on_j = [on_k[i, 0] + fraction[1] * along_j[i] for i in range(2)]
    slopes[0] = on_j[1] - on_j[0]
    slopes[1] = along_j[0] + fraction[0] * (along_j[1] - along_j[0])
    on_j_k = [along_k[i, 0] + fraction[1] * (along_k[i, 1] - along_k[i, 0]) for i in range(2)]
    slopes[2] = on_j_k[0] + fraction[0] * (on_j_k[1] - on_j_k[0])
    value = on_j[0] + fraction[0] * slopes[0]
    inside = (points >= 0) & (points <= np.array(shape)[:, None] - 1)
    return value, slopes * inside[:, None]


def _newton_step(slopes, errors):
    """The step that a map of derivative 1 + slopes needs; where that is singular or folded, the error itself."""
    x, y, z = slopes + np.eye(3)[..., None]  # derivative along each axis, (3, points)
    yz = _cross(y, z)
    determinant = (x * yz).sum(axis=0)
    regular = determinant > 1e-6
    steps = np.stack([(errors * c).sum(axis=0) for c in (yz, _cross(z, x), _cross(x, y))])
    return np.where(regular, steps / np.where(regular, determinant, 1), errors)


def _cross(a, b):
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
