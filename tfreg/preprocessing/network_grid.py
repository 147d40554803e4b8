"""The lattice on which the network sees both volumes."""

from collections.abc import Sequence

import numpy as np

from tfreg.config import NetworkGrid
from tfreg.volumes.lattice import Lattice, axis_change

# A field of view this share of a voxel larger than a whole number of voxels is rounding noise.
ROUNDING = 1e-4

# Sizes of cubes are multiples of this, so that the volumes of a cohort share their compiled models.
SIZE_STEP = 8


def configured_grid(fixed: Lattice, grid: NetworkGrid) -> Lattice:
    """The network grid that a config asks for.

    Args:
        fixed: The fixed volume's `Lattice`.
        grid: `tfreg.config.NetworkGrid`.

    Returns:
        That of `cube_lattice` where the config counts voxels, else that of `network_grid`.
    """
    if grid.voxels is not None:
        return cube_lattice(fixed, grid.voxels, grid.orientation, grid.min_size)
    return network_grid(fixed, grid.orientation, grid.spacing, grid.shape)


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


def cube_lattice(fixed: Lattice, max_voxels: float, orientation: str | None = None, min_size: int = 1) -> Lattice:
    """The lattice of cubes over a field of view that has as many voxels as the volume itself.

    Cubes even out anisotropic spacing: thick slices are divided, fine pixels merged. The sizes are rounded up.

    Args:
        fixed: The fixed volume's `Lattice`.
        max_voxels: Beyond this number the cubes are made larger.
        orientation: As of `network_grid`.
        min_size: A field of view that is too thin for so many cubes along an axis is divided into as many thinner
            voxels, and along the other axes into larger ones.

    Returns:
        A `Lattice`.
    """
    volume_mm3 = abs(np.linalg.det(fixed.affine[:3, :3]))
    share = max(1.0, np.prod(fixed.shape) / max_voxels)
    spacing = float(np.cbrt(volume_mm3 * share))
    own = network_grid(fixed, orientation)
    spacings = _with_thin_axes(own.spacing * own.shape, spacing, max_voxels, min_size)
    shape = -(-np.array(network_grid(fixed, orientation, spacings).shape) // SIZE_STEP) * SIZE_STEP
    return network_grid(fixed, orientation, spacings, tuple(int(n) for n in shape))


def _with_thin_axes(extent_mm, spacing, max_voxels, min_size):
    """Three spacings: one for all axes; those of fewer than `min_size` voxels are divided into as many."""
    thin = extent_mm / spacing < min_size - ROUNDING
    for _ in range(2):  # larger voxels along the others can make another axis thin
        if thin.any() and not thin.all():
            per_slice = max_voxels / min_size ** thin.sum()
            spacing = max(spacing, (extent_mm[~thin].prod() / per_slice) ** (1 / (~thin).sum()))
            thin = extent_mm / spacing < min_size - ROUNDING
    return np.where(thin, extent_mm / min_size, spacing)


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
