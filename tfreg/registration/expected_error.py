"""`ExpectedError`: how far from the truth a network expects its transform to be, in mm."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from tfreg.config import ErrorCalibration
from tfreg.preprocessing.pyramid import coarsened
from tfreg.runtime.threads import in_slabs
from tfreg.transforms.composed_passes import applied
from tfreg.transforms.interpolation import sampled
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

# Every so many voxels of the network grid along each axis the error is computed, and between them interpolated.
STRIDE = 2


@dataclass(frozen=True, eq=False)
class ExpectedError:
    """How far from the truth a network expects its transform to be: the median distance, at any point.

    Args:
        lattice: A `Lattice` in fixed world coordinates.
        values_mm: `(i, j, k)` float64, at its voxels.
    """

    lattice: Lattice
    values_mm: np.ndarray

    def __call__(self, points_world: ArrayLike) -> np.ndarray:
        """The expected error at points of the fixed image `(..., 3)`, RAS+ mm: `(...)` float64, mm."""
        return sampled(self.values_mm, self.lattice.to_voxel(points_world))

    def on(self, lattice: Lattice) -> np.ndarray:
        """The expected error at the voxels of a lattice in fixed world coordinates, `(i, j, k)` float32, mm."""
        result = np.empty(lattice.shape, np.float32)

        def fill(slab, points):
            result[slab] = self(points)

        in_slabs(fill, lattice)
        return result


def expected_error_of(
    transform: Transform, calibrations: Sequence[ErrorCalibration], passes: int
) -> ExpectedError | None:
    """The expected error of a network's transform as it is kept, damped or not.

    What the network says of itself, in voxels of its grid, is calibrated, and is taken to point in all directions of
    that grid alike: so many mm as a voxel is long there in the moving world, its root mean square over the axes. By how
    far damping moves a place is an error of its own, in no direction that the first one knows of: both are added as
    squares.

    Args:
        transform: A `Transform`, as `certify` returns it.
        calibrations: `tfreg.config.Prediction.expected_error`.
        passes: How many passes of the network made it.

    Returns:
        An `ExpectedError`; None where the network does not predict it, or it is not calibrated.
    """
    if not calibrations or transform.deformation is None:
        return None
    lattice = coarsened(transform.lattice, (STRIDE,) * 3)
    points = lattice.points()
    voxels = applied(transform.linear_voxel, transform.lattice.to_voxel(points))
    error_voxels = transform.deformation.expected_error_at(voxels)
    if error_voxels is None:
        return None
    calibration = calibrations[min(passes, len(calibrations)) - 1]
    to_moving = transform.init[:3, :3] @ transform.lattice.affine[:3, :3]
    error_mm = calibration.scale * error_voxels**calibration.power * np.linalg.norm(to_moving) / np.sqrt(3)
    if transform.deformation.damping < 1:
        undamped = replace(transform, deformation=transform.deformation.damped(1.0))
        error_mm = np.hypot(error_mm, np.linalg.norm(transform(points) - undamped(points), axis=-1))
    return ExpectedError(lattice, error_mm)
