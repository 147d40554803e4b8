"""A small picture of one pair, a checkerboard and outlines, for looking through many."""

from pathlib import Path

import matplotlib.image
import numpy as np
from scipy import ndimage

from tfreg.io.folders.whole_file import whole_file
from tfreg.report.slices import PLANES, contrast, plane_to_show, upright_slice
from tfreg.transforms.transform import Transform
from tfreg.volumes.volume import Volume

HEIGHT = 220  # pixels of each slice
TILES = 6  # of the checkerboard along the shorter side
FIXED_COLOUR, WARPED_COLOUR = (0.2, 0.85, 0.4), (1.0, 0.45, 0.1)


def write_pair_picture(
    path: Path,
    fixed: Volume,
    moving: Volume,
    displacement_mm: np.ndarray,
    fixed_labels: Volume | None = None,
    warped_labels: Volume | None = None,
) -> None:
    """Writes a PNG of three panels: fixed, warped, and a checkerboard of both; outlines of fixed and warped labels.

    The slice is the one that holds most of the fixed labels, across the axis of thickest slices, in the patient's
    orientation: right on the left.

    Args:
        path: The file; its folder is made.
        fixed, moving: Image `Volume`s.
        displacement_mm: `(i, j, k, 3)` on the fixed lattice, RAS+ mm.
        fixed_labels, warped_labels: Segmentation `Volume`s on the fixed lattice, or None.
    """
    warped = Transform.identity(fixed.lattice).warp_image(moving, fixed.lattice, displacement_mm=displacement_mm)
    spacing = fixed.reoriented("RAS").spacing
    plane = plane_to_show(spacing)
    axis, (across, up), _ = PLANES[plane]
    number = None if fixed_labels is None else _fullest(fixed_labels.reoriented("RAS").array, axis)

    def slice_of(array, order):
        flat = upright_slice(fixed.with_array(array), plane, number)
        zoom = HEIGHT / (flat.shape[0] * spacing[up]) * spacing[[up, across]]
        return ndimage.zoom(flat, zoom, order=order, grid_mode=True, mode="nearest")

    fixed_slice, warped_slice = (slice_of(np.nan_to_num(contrast(v.array)), 1) for v in (fixed, warped))
    tile = max(8, min(fixed_slice.shape) // TILES)
    rows, columns = np.indices(fixed_slice.shape) // tile
    board = np.where((rows + columns) % 2 == 0, fixed_slice, warped_slice)
    panels = [np.repeat(np.clip(panel, 0, 1)[..., None], 3, axis=-1) for panel in (fixed_slice, warped_slice, board)]
    if fixed_labels is not None and warped_labels is not None:
        fixed_outline, warped_outline = (
            _outline(slice_of(volume.array, 0)) for volume in (fixed_labels, warped_labels)
        )
        panels[0][fixed_outline] = FIXED_COLOUR
        panels[1][fixed_outline] = FIXED_COLOUR
        panels[1][warped_outline] = WARPED_COLOUR
    gap = np.ones((panels[0].shape[0], 4, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        picture = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1)
        matplotlib.image.imsave(partial, picture, format="png")


def _fullest(labels, axis):
    """The slice with most labelled voxels; None without any."""
    if not labels.any():
        return None
    return int(np.argmax((labels != 0).sum(axis=tuple(a for a in range(3) if a != axis))))


def _outline(labels):
    """Where a label meets another value."""
    smallest = ndimage.minimum_filter(labels, 3, mode="nearest")
    return (labels != 0) & (ndimage.maximum_filter(labels, 3, mode="nearest") != smallest)
