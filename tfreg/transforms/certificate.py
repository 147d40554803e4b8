"""The certificate that a sampled transform nowhere folds: the ten determinants of a digital diffeomorphism.

Liu, Chen, Wei, Carass, Prince: On finite difference Jacobian computation in deformable image registration,
International Journal of Computer Vision 2024.

Every cube of eight neighbouring voxels is cut into five tetrahedra twice: one tetrahedron at each of
the eight corners (a determinant of forward or backward differences) and the central one that each of the two
cuts leaves. If all ten keep their orientation in every cube, the written field, interpolated linearly within
the tetrahedra of either cut, has a positive Jacobian everywhere. That is what is certified: the field as it
is sampled and written in float32, not what lies between the voxels of the continuous map.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tfreg.transforms.fold_repair import can_be_smoothed, smoothed_near
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

# Rounding in float64 stays below this share of a voxel's volume; a composed map's determinants stay above.
MIN_DETERMINANT = 1e-10

# The damping is found to this fraction.
DAMPING_STEPS = 256

# Rounds of local smoothing before damping, and the determinant below which a voxel takes part: smoothing one
# voxel may lower its neighbour's.
SMOOTHING_ROUNDS = 12
LOW_DETERMINANT = 0.01

# Cubes tested at once: the temporaries of one part stay in the processor's cache.
CHUNK_CUBES = 2**15

CORNERS = list(itertools.product((0, 1), repeat=3))


@dataclass(frozen=True)
class Certificate:
    """What is certain about the folds of a transform on a lattice.

    Args:
        folding_fraction: `folding_fraction` of the field before damping, after local smoothing.
        certified: True if all ten determinants of the field that is written are positive everywhere.
        damping: The deformation's λ in that field, 1 where it was left as it was.
        smoothing_rounds: How often the deformation was smoothed near its folds.

    Example:
        >>> transform, fixed, _ = tfreg.load_transform("result")
        >>> _, _, certificate = tfreg.transforms.certify(transform, fixed)
        >>> certificate.certified
        True
        >>> certificate.folding_fraction
        0.0
    """

    folding_fraction: float
    certified: bool
    damping: float
    smoothing_rounds: int = 0


def digital_jacobian(displacement_mm: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The least of the determinants at every voxel.

    At a voxel these are the eight determinants of forward or backward differences along the three axes, and
    those of the central tetrahedra of the surrounding cubes that have the voxel as a corner; as many as there
    are at the border. All are relative to the lattice's own voxel: 1 where the transform is the identity,
    whatever the lattice's spacing and orientation. Along an axis of one voxel the displacement counts as
    constant.

    Args:
        displacement_mm: `(i, j, k, 3)`, RAS+ mm.
        affine: `(4, 4)` of the lattice.

    Returns:
        `(i, j, k)` float32; up to `MIN_DETERMINANT` the voxel folds.

    Example:
        >>> lattice = tfreg.Lattice((6, 7, 8), np.eye(4))
        >>> shrunk_mm = (-0.5 * lattice.points()).astype(np.float32)
        >>> jacobian = tfreg.transforms.digital_jacobian(shrunk_mm, lattice.affine)
        >>> jacobian.shape, float(jacobian.min())
        ((6, 7, 8), 0.125)
    """
    return _tested(displacement_mm, affine)[0]


def folding_fraction(displacement_mm: np.ndarray, affine: np.ndarray) -> float:
    """Share of the voxels where the digital Jacobian is not positive.

    Args:
        displacement_mm: `(i, j, k, 3)`, RAS+ mm.
        affine: `(4, 4)` of the lattice.

    Returns:
        A float from 0 to 1; 0 if and only if all ten determinants are positive in every cube.

    Example:
        >>> lattice = tfreg.Lattice((6, 7, 8), np.eye(4))
        >>> tfreg.transforms.folding_fraction(-0.5 * lattice.points(), lattice.affine)
        0.0
        >>> mirrored_mm = -2.0 * lattice.points()
        >>> tfreg.transforms.folding_fraction(mirrored_mm, lattice.affine)
        1.0
    """
    return float(np.mean(_folds(digital_jacobian(displacement_mm, affine))))


def certify(
    transform: Transform, lattice: Lattice, progress: Callable[[int], object] | None = None, smooth: bool = False
) -> tuple[Transform, np.ndarray, Certificate]:
    """Tests a transform on a lattice and, if it folds there, damps its deformation until it does not.

    Φ becomes 1 + λ(Φ - 1) with the largest λ, in steps of 1/256 of the present damping, that a bisection
    finds to pass: the next larger λ fails. The linear part and init stay as they are, and the map stays
    composed and exactly invertible. Where no λ passes, as when the linear part mirrors, the transform is
    returned as it came.

    Args:
        transform: A `Transform`.
        lattice: The `Lattice` on which the displacement will be written, in fixed world coordinates.
        progress: Called with the number of voxels done after each part of a whole field, or None.
        smooth: True smooths the deformation near its folds first, where it can be.

    Returns:
        The `Transform` to keep, its displacement `(i, j, k, 3)` float32 on the lattice (RAS+ mm), and the
        `Certificate`.

    Example:
        >>> transform, fixed, _ = tfreg.load_transform("result")
        >>> transform, displacement_mm, certificate = tfreg.transforms.certify(transform, fixed)
        >>> displacement_mm.shape == (*fixed.shape, 3)
        True
        >>> certificate
        Certificate(folding_fraction=0.0, certified=True, damping=1.0, smoothing_rounds=0)
    """
    displacement_mm = transform.displacement_mm(lattice, progress)
    jacobian, folded = _tested(displacement_mm, lattice.affine)
    rounds = 0
    while smooth and folded.size and rounds < SMOOTHING_ROUNDS and can_be_smoothed(transform):
        transform = smoothed_near(transform, lattice.to_world(np.argwhere(~(jacobian > LOW_DETERMINANT))))
        displacement_mm = transform.displacement_mm(lattice, progress)
        jacobian, folded = _tested(displacement_mm, lattice.affine)
        rounds += 1
    fraction = float(np.mean(_folds(jacobian)))
    damping = 1.0 if transform.deformation is None else transform.deformation.damping
    if not folded.size:
        return transform, displacement_mm, Certificate(fraction, True, damping, rounds)
    if transform.deformation is None or np.linalg.det(transform.linear_world[:3, :3]) <= 0:
        return transform, displacement_mm, Certificate(fraction, False, damping, rounds)

    del displacement_mm, jacobian
    suspects, fails = folded, DAMPING_STEPS
    # The cubes that folded so far decide quickly; what they let pass is then tested as a whole.
    while (passes := _largest_passing(transform, lattice, suspects, fails)) > 0:
        candidate = _damped(transform, passes)
        displacement_mm = candidate.displacement_mm(lattice, progress)
        folded = _tested(displacement_mm, lattice.affine)[1]
        if not folded.size:
            return candidate, displacement_mm, Certificate(fraction, True, candidate.deformation.damping, rounds)
        suspects, fails = np.union1d(suspects, folded), passes
    return transform, transform.displacement_mm(lattice, progress), Certificate(fraction, False, damping, rounds)


def _damped(transform, step):
    deformation = transform.deformation
    return replace(transform, deformation=deformation.damped(deformation.damping * step / DAMPING_STEPS))


def _largest_passing(transform, lattice, suspects, fails):
    """The damping step that passes in all suspect cubes while the next one fails; 0 is taken to pass."""
    passes = 0
    while fails - passes > 1:
        middle = (passes + fails) // 2
        if _cubes_pass(_damped(transform, middle), lattice, suspects):
            passes = middle
        else:
            fails = middle
    return passes


def _folds(jacobian):
    return ~(jacobian > MIN_DETERMINANT)  # true too where it is not a number


def _tested(displacement_mm, affine):
    """The digital Jacobian `(i, j, k)` float32, and the flat indices of the cubes that fold."""
    shape = displacement_mm.shape[:3]
    cubes = _cubes_along(shape)
    jacobian = np.full([n + 1 for n in cubes], np.inf, np.float32)
    folded = []
    thickness = max(1, CHUNK_CUBES // (cubes[1] * cubes[2]))
    for start in range(0, cubes[0], thickness):
        stop = min(start + thickness, cubes[0])
        planes = displacement_mm[start : stop + 1]
        for axis in range(3):
            if shape[axis] == 1:
                planes = planes.repeat(2, axis)
        size = (stop - start, *cubes[1:])
        windows = [tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True)) for corner in CORNERS]
        voxels = _in_voxels(planes, affine)
        smallest = np.full(size, np.inf, np.float32)
        slab = jacobian[start : stop + 1]
        for corners, determinant in _determinants([voxels[(slice(None), *window)] for window in windows]):
            np.minimum(smallest, determinant, out=smallest)
            for corner in corners:
                np.minimum(slab[windows[corner]], determinant, out=slab[windows[corner]])
        folded.append(np.flatnonzero(_folds(smallest)) + start * cubes[1] * cubes[2])
    for axis in range(3):
        if shape[axis] == 1:
            jacobian = jacobian.min(axis, keepdims=True)
    return jacobian, np.concatenate(folded)


def _cubes_pass(transform, lattice, cubes):
    """True if no cube of those, given by flat index, folds."""
    last = np.array(lattice.shape) - 1
    for start in range(0, len(cubes), CHUNK_CUBES):
        part = np.unravel_index(cubes[start : start + CHUNK_CUBES], _cubes_along(lattice.shape))
        voxels = np.minimum(np.stack(part, axis=-1) + np.array(CORNERS)[:, None], last)  # (corners, cubes, 3)
        points = lattice.to_world(voxels)
        displacement_mm = (transform(points) - points).astype(np.float32)
        images = list(_in_voxels(displacement_mm, lattice.affine).swapaxes(0, 1))
        if any(_folds(determinant).any() for _, determinant in _determinants(images)):
            return False
    return True


def _cubes_along(shape):
    """Cubes along each axis; along an axis of one voxel, that voxel is taken twice."""
    return tuple(max(n - 1, 1) for n in shape)


def _in_voxels(displacement_mm, affine):
    """A displacement `(..., 3)` in voxels of its lattice, `(3, ...)` float64."""
    to_voxel = np.linalg.inv(affine[:3, :3])
    x, y, z = np.moveaxis(displacement_mm, -1, 0).astype(np.float64, order="C")
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in to_voxel])


def _determinants(displacements):
    """The ten determinants of cubes.

    Args:
        displacements: For each of `CORNERS` `(3, ...)`, its displacement in voxels.

    Yields:
        The corners that a determinant is counted at, as indices into `CORNERS`, and it, `(...)` float32.
    """
    edges = {}
    for index, corner in enumerate(CORNERS):
        for d in range(3):
            if corner[d] == 0:
                edge = displacements[index + (4, 2, 1)[d]] - displacements[index]
                edge[d] += 1
                # The edge along d, seen from both of its ends.
                edges[index, d] = edges[index + (4, 2, 1)[d], d] = edge
    for index in range(8):
        yield [index], _triple_product(*(edges[index, d] for d in range(3))).astype(np.float32)
    # The central tetrahedra: corner 000 and its three neighbours across the faces; corner 111 and its three.
    # Their three edges from there run along two axes each; they hold a third of the cube, twice a corner's sixth.
    first = [edges[0b000, 0] + edges[0b100, 1], edges[0b000, 1] + edges[0b010, 2], edges[0b000, 2] + edges[0b001, 0]]
    yield [0b000, 0b110, 0b101, 0b011], (_triple_product(*first) / 2).astype(np.float32)
    other = [edges[0b111, 0] + edges[0b011, 1], edges[0b111, 1] + edges[0b101, 2], edges[0b111, 2] + edges[0b110, 0]]
    yield [0b111, 0b001, 0b010, 0b100], (_triple_product(*other) / 2).astype(np.float32)


def _triple_product(a, b, c):
    """a · (b × c) of vectors `(3, ...)`."""
    return a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])
