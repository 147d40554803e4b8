"""The alignment of two volumes before the network: world to world, by their headers or their contents."""

import numpy as np
from scipy import ndimage

from tfreg.preprocessing.intensity import normalise
from tfreg.volumes.volume import Volume

KINDS = ("header", "centre", "moments")


def initial_alignment(
    kind: str, fixed: Volume, moving: Volume, fixed_mask: Volume | None = None, moving_mask: Volume | None = None
) -> np.ndarray:
    """The translation that brings the moving volume near the fixed one.

    "header" trusts the scanner coordinates. "centre" puts the centres of the fields of view on each other.
    "moments" puts the centres of mass of the intensities on each other. It does not rotate: principal axes have no
    sign, and differ between two fields of view of the same anatomy, so they turn as many pairs over as they align.

    Args:
        kind: "header", "centre" or "moments".
        fixed: The fixed `Volume`.
        moving: The moving `Volume`.
        fixed_mask: `Volume` on the fixed volume's lattice, or None: "moments" weighs the voxels where it is not 0.
        moving_mask: The same for the moving volume.

    Returns:
        `(4, 4)` float64, fixed world to moving world, RAS+ mm (the direction of a pull-back).

    Raises:
        ValueError: If the kind is unknown, a mask lies on another lattice, or a volume or the masked part of it
            has no contrast.
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {', '.join(KINDS)}. Received: kind={kind!r}")
    matrix = np.eye(4)
    if kind == "centre":
        matrix[:3, 3] = moving.lattice.centre_world - fixed.lattice.centre_world
    elif kind == "moments":
        matrix[:3, 3] = _centre_of_mass(moving, moving_mask) - _centre_of_mass(fixed, fixed_mask)
    return matrix


def _centre_of_mass(volume, mask):
    """`(3,)`, world RAS+ mm. Values that are not finite and padding weigh nothing."""
    weights = _weights(volume.array)
    if mask is not None:
        if not mask.lattice.same_as(volume.lattice):
            raise ValueError(f"`mask` must lie on its volume's lattice. Received: {mask.lattice}, {volume.lattice}")
        weights = np.where(mask.array != 0, weights, 0)
    if not weights.any():
        raise ValueError("The mask covers no voxel with an intensity above the volume's floor.")
    return volume.lattice.to_world(ndimage.center_of_mass(weights))


def _weights(array):
    """`(i, j, k)` float32 in [0, 1], intensities above the volume's floor."""
    try:
        # Percentiles, so that a few wild voxels move neither the floor nor the centre.
        return normalise(array, percentiles=(1, 99))[0]
    except ValueError:
        # An object of less than 1 % of the voxels.
        return normalise(array, percentiles=(0, 100))[0]
