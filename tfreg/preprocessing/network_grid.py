"""The lattice on which the network sees both volumes."""

from collections.abc import Sequence

import numpy as np

from tfreg.volumes.lattice import Lattice, axis_change

# A field of view this share of a voxel larger than a whole number of voxels is rounding noise.
ROUNDING = 1e-4


def network_grid(
    fixed: Lattice,
    orientation: str | None = None,
    spacing: float | Sequence[float] | None = None,
    shape: Sequence[int] | None = None,
) -> Lattice:
    """The lattice along the fixed volume's own axes, about the centre of its field of view.

    The axes are the fixed volume's, oblique or not, permuted and flipped to be closest to the letters. A sheared
    volume's axes are replaced by the nearest right-angled ones.

    Args:
        fixed: The fixed volume's `Lattice`.
        orientation: Three letters, the world direction in which each index grows, such as "RAS"; None keeps the
            fixed volume's.
        spacing: Millimetres, one number or three in the new order of the axes; None keeps the fixed volume's.
        shape: Three numbers of voxels in the new order of the axes. It pads or crops the field of view; None covers
            it.

    Returns:
        A `Lattice`.

    Raises:
        ValueError: If the orientation does not name each world axis once, or spacing or shape is not positive.
    """
    change = axis_change(fixed.affine, fixed.orientation if orientation is None else orientation)
    directions, spacings, extent_mm = _axes(fixed)
    order = np.argsort(change[:, 0])
    directions = (directions * change[:, 1])[:, order]
    spacings, extent_mm = spacings[order], extent_mm[order]
    if spacing is not None:
        if np.shape(spacing) not in ((), (3,)) or not (np.isfinite(spacing) & (np.asarray(spacing) > 0)).all():
            raise ValueError(f"`spacing` must be one or three positive numbers. Received: spacing={spacing}")
        spacings = np.broadcast_to(np.asarray(spacing, dtype=np.float64), 3)
    if shape is None:
        shape = np.maximum(1, np.ceil(extent_mm / spacings - ROUNDING)).astype(int)
    elif np.shape(shape) != (3,):
        raise ValueError(f"`shape` must be three positive integers. Received: shape={shape}")
    affine = np.eye(4)
    affine[:3, :3] = directions * spacings
    affine[:3, 3] = fixed.centre_world - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Lattice(tuple(shape), affine)


def _axes(fixed):
    """Right-angled unit axes `(3, 3)` as columns, spacings `(3,)` and extent `(3,)` of the field of view in mm."""
    spacing = fixed.spacing
    if not fixed.is_sheared:
        # Float32 headers are right-angled only to rounding: the fixed volume's voxels are kept where they are.
        return fixed.affine[:3, :3] / spacing, spacing, spacing * fixed.shape
    nearest = fixed.right_angled_axes()
    # The outer faces of a sheared field of view, half a voxel beyond the outermost centres.
    half_mm = np.abs(nearest.T @ fixed.affine[:3, :3]) @ (np.array(fixed.shape) / 2)
    return nearest, spacing, 2 * half_mm
