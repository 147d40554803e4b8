"""A volume is an array with an affine."""

from dataclasses import dataclass, field, replace

import nibabel as nib
import numpy as np

from tfreg.volumes.lattice import Lattice, axis_change


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image or segmentation and its place in the world.

    Args:
        array: `(i, j, k)`, any real dtype.
        affine: `(4, 4)`, voxel to world RAS+ mm.
        frame: NIfTI code of the world frame (1 scanner, 2 aligned, 3 Talairach, 4 MNI), kept when written.
        notes: What the reader of the file had to decide, one sentence each.

    Raises:
        ValueError: If the array is not three-dimensional or the affine cannot be inverted.

    Example:
        >>> volume = tfreg.Volume(np.zeros((20, 18, 16), np.float32), np.diag([-2.0, -2.0, 3.0, 1.0]))
        >>> volume.shape, volume.orientation
        ((20, 18, 16), 'LPS')
        >>> volume.reoriented("SAR").shape
        (16, 18, 20)
    """

    array: np.ndarray
    affine: np.ndarray
    frame: int = 1
    notes: tuple[str, ...] = ()
    lattice: Lattice = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise ValueError(f"`array` must have three axes. Received: shape={self.array.shape}")
        i, j, k = self.array.shape
        object.__setattr__(self, "lattice", Lattice((i, j, k), self.affine))
        object.__setattr__(self, "affine", self.lattice.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape, `(i, j, k)`."""
        return self.lattice.shape

    @property
    def spacing(self) -> np.ndarray:
        """`(3,)`, mm along each array axis."""
        return self.lattice.spacing

    @property
    def orientation(self) -> str:
        """Three letters such as "RAS"."""
        return self.lattice.orientation

    def with_array(self, array: np.ndarray) -> "Volume":
        """The same place in the world with another array of the same shape."""
        if array.shape != self.shape:
            raise ValueError(f"`array` must have shape {self.shape}. Received: shape={array.shape}")
        return replace(self, array=array)

    def reoriented(self, orientation: str) -> "Volume":
        """The same voxels with array axes flipped and permuted to `orientation`, such as "RAS".

        No value is interpolated and no voxel moves in the world.

        Raises:
            ValueError: If the orientation does not name each world axis once.
        """
        change = axis_change(self.affine, orientation)
        array = nib.orientations.apply_orientation(self.array, change)
        affine = self.affine @ nib.orientations.inv_ornt_aff(change, self.shape)
        return replace(self, array=np.ascontiguousarray(array), affine=affine)
