"""A lattice is where the voxels of a volume lie in the world."""

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike

# Voxel centres that lie this near to each other, in voxels along each axis, are the same place.
SAME_PLACE_VOXELS = 0.1

# Axes this near to right angles, as the largest change of a unit vector, are so but for the rounding of float32.
RIGHT_ANGLED = 1e-6


def axis_change(affine: np.ndarray, orientation: str) -> np.ndarray:
    """How array axes are permuted and flipped to run most nearly along three world directions.

    Args:
        affine: `(4, 4)`, voxel to world RAS+ mm.
        orientation: Three letters, such as "RAS".

    Returns:
        `(3, 2)` int: for each present axis the new axis that it becomes, and -1 if it is flipped, else 1.

    Raises:
        ValueError: If the orientation does not name each world axis once.
    """
    letters = list(orientation) if isinstance(orientation, str) else []
    if len(letters) != 3 or any(sum(letter in pair for letter in letters) != 1 for pair in ("RL", "AP", "SI")):
        raise ValueError(
            "`orientation` must be three letters, one each of R or L, A or P, S or I, such as 'RAS'. "
            f"Received: orientation={orientation!r}"
        )
    target = nib.orientations.axcodes2ornt(letters)
    return nib.orientations.ornt_transform(nib.io_orientation(affine), target).astype(int)


@dataclass(frozen=True, eq=False)
class Lattice:
    """The voxel centres of a volume: a shape, and the affine that places them in the world.

    Args:
        shape: Number of voxels along each array axis, three positive integers.
        affine: `(4, 4)`, voxel (i, j, k) to world RAS+ mm.

    Raises:
        ValueError: If the shape is not three positive integers or the affine cannot be inverted.

    Example:
        >>> lattice = tfreg.Lattice((20, 18, 16), np.diag([-2.0, -2.0, 3.0, 1.0]))
        >>> lattice.orientation
        'LPS'
        >>> lattice.spacing.tolist()
        [2.0, 2.0, 3.0]
        >>> lattice.to_world([1, 2, 3]).tolist()
        [-2.0, -4.0, 9.0]
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1 or shape != tuple(self.shape):
            raise ValueError(f"`shape` must be three positive integers. Received: shape={self.shape}")
        if affine.shape != (4, 4) or not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise ValueError(f"`affine` must be 4x4 with last row 0 0 0 1. Received: affine={self.affine}")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if not np.isfinite(affine).all() or not spacing.all():
            raise ValueError(f"`affine` must be finite and invertible. Received: affine={affine.tolist()}")
        if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-6:
            raise ValueError(f"`affine` must be invertible. Received: affine={affine.tolist()}")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing(self) -> np.ndarray:
        """`(3,)`, mm between neighbouring voxels along each array axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def mean_size_mm(self) -> float:
        """Mean of the field of view's three sizes."""
        return float(np.mean(np.array(self.shape) * self.spacing))

    @property
    def volume_mm3(self) -> float:
        """The size of the field of view."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) * np.prod(self.shape))

    @property
    def orientation(self) -> str:
        """Three letters, the world direction in which each array index grows, such as "RAS"."""
        return "".join(nib.aff2axcodes(self.affine))

    @property
    def centre_voxel(self) -> np.ndarray:
        """`(3,)`, voxel coordinates of the centre, (n-1)/2 along each axis."""
        return (np.array(self.shape) - 1) / 2

    @property
    def centre_world(self) -> np.ndarray:
        """`(3,)`, world RAS+ mm of the centre of the field of view."""
        return self.to_world(self.centre_voxel)

    def to_world(self, points_voxel: ArrayLike) -> np.ndarray:
        """Maps voxel coordinates `(..., 3)` to world RAS+ mm `(..., 3)`."""
        return np.asarray(points_voxel) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxel(self, points_world: ArrayLike) -> np.ndarray:
        """Maps world RAS+ mm `(..., 3)` to voxel coordinates `(..., 3)`."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points_world) @ inverse[:3, :3].T + inverse[:3, 3]

    def voxels(self) -> np.ndarray:
        """`(i, j, k, 3)` float64, the identity grid: the voxel coordinates of every voxel."""
        return np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in self.shape), indexing="ij"), axis=-1)

    def points(self) -> np.ndarray:
        """`(i, j, k, 3)` float64, the world RAS+ mm of every voxel centre."""
        # Term by term, because a product of many points with a small matrix takes several times as long.
        i, j, k = (np.arange(n)[:, None] * step for n, step in zip(self.shape, self.affine[:3, :3].T, strict=True))
        return (self.affine[:3, 3] + i)[:, None, None] + (j[:, None] + k)

    def extended(self, before: int | Sequence[int] | np.ndarray, after: int | Sequence[int] | np.ndarray) -> "Lattice":
        """The lattice with more voxels of the same kind at its ends.

        Args:
            before, after: How many voxels at the low and at the high ends, one number or one an axis; negative
                numbers take voxels away.

        Returns:
            A `Lattice`.
        """
        before, after = np.broadcast_to(before, 3), np.broadcast_to(after, 3)
        affine = np.array(self.affine)
        affine[:3, 3] -= affine[:3, :3] @ before
        i, j, k = (int(n) for n in np.array(self.shape) + before + after)
        return Lattice((i, j, k), affine)

    def distance_voxels(self, other: "Lattice") -> float:
        """How far the voxels of another lattice lie from those of this one that have the same index.

        Args:
            other: A `Lattice`, of which only the affine counts.

        Returns:
            The largest distance at a corner along one axis, in voxels of this lattice.
        """
        corners = np.stack(np.meshgrid(*([0, n - 1] for n in self.shape), indexing="ij"), axis=-1)
        return float(np.abs(self.to_voxel(other.to_world(corners)) - corners).max())

    def same_as(self, other: "Lattice", tolerance_voxels: float = SAME_PLACE_VOXELS) -> bool:
        """True if both have the same shape and their voxel centres are the same places to `tolerance_voxels`."""
        return self.shape == other.shape and self.distance_voxels(other) <= tolerance_voxels

    def right_angled_axes(self) -> np.ndarray:
        """`(3, 3)`, unit vectors as columns: the right-angled axes nearest to the lattice's own."""
        u, _, vt = np.linalg.svd(self.affine[:3, :3] / self.spacing)
        return u @ vt

    @property
    def is_sheared(self) -> bool:
        """True if the axes are not at right angles, by more than float32 rounds."""
        return np.abs(self.right_angled_axes() - self.affine[:3, :3] / self.spacing).max() > RIGHT_ANGLED

    @property
    def shear_degrees(self) -> float:
        """By how much the pair of axes that is furthest from a right angle misses it."""
        directions = self.affine[:3, :3] / self.spacing
        cosines = np.abs(directions.T @ directions - np.eye(3)).max()
        return float(np.degrees(np.arcsin(min(1.0, cosines))))

    def straightened(self) -> "Lattice":
        """The lattice with its axes at right angles, where that moves no voxel centre to another place.

        A header that was rounded, or that holds few digits, is off right angles by some hundredths of a degree, and
        ITK refuses it in NIfTI. Centre and spacing are kept.

        Returns:
            A `Lattice`: this one if it is right-angled, or if its shear is more than rounding.
        """
        if not self.is_sheared:
            return self
        affine = np.array(self.affine)
        affine[:3, :3] = self.right_angled_axes() * self.spacing
        affine[:3, 3] = self.centre_world - affine[:3, :3] @ self.centre_voxel
        straight = Lattice(self.shape, affine)
        return straight if self.distance_voxels(straight) <= SAME_PLACE_VOXELS else self


def difference(lattice: Lattice, other: Lattice) -> str:
    """In words, what tells a `Lattice` from the one `other` that it should be."""
    if lattice.shape != other.shape:
        return f"{'x'.join(map(str, lattice.shape))} voxels, not {'x'.join(map(str, other.shape))}"
    text = f"its voxels lie up to {other.distance_voxels(lattice):.3g} voxels away"
    if lattice.orientation != other.orientation:
        return f"{text}: its axes run {lattice.orientation}, not {other.orientation}"
    spacings = [" x ".join(f"{mm:.6g}" for mm in each.spacing) for each in (lattice, other)]
    return text if spacings[0] == spacings[1] else f"{text}: its spacing is {spacings[0]} mm, not {spacings[1]} mm"
