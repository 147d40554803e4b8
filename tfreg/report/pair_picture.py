"""A small picture of one pair, for looking through many."""

import matplotlib.image
import numpy as np
from scipy import ndimage

from tfreg.volumes.intensity import filled, normalise
from tfreg.volumes.resampling import sample
from tfreg.volumes.volume import Volume

HEIGHT = 220  # pixels of each slice
TILES = 6  # of the checkerboard along the shorter side
FIXED_COLOUR, WARPED_COLOUR = (0.2, 0.85, 0.4), (1.0, 0.45, 0.1)


def write_pair_picture(path, fixed, moving, displacement_mm, fixed_labels=None, warped_labels=None):
    """Writes a PNG of three panels: fixed, warped, and a checkerboard of both; outlines of fixed and warped labels.

    The slice is the one that holds most of the fixed labels, across the axis of thickest slices, in the patient's
    orientation: right on the left.

    Args:
        path: The file; its folder is made.
        fixed, moving: Image `Volume`s.
        displacement_mm: `(i, j, k, 3)` on the fixed lattice, RAS+ mm.
        fixed_labels, warped_labels: Segmentation `Volume`s on the fixed lattice, or None.
    """
    voxels = moving.lattice.to_voxel(fixed.lattice.points() + displacement_mm)
    warped = sample(filled(moving.array)[0], voxels, "linear", float(np.nanmin(moving.array)))
    upright = fixed.reoriented("RAS")
    axis = _axis(upright)
    number = _fullest(None if fixed_labels is None else fixed_labels.reoriented("RAS").array, upright.shape, axis)

    def slice_of(array, order):
        flat = Volume(array, fixed.affine).reoriented("RAS").array.take(number, axis)[::-1, ::-1].T
        step = np.delete(upright.spacing, axis)[::-1]
        zoom = HEIGHT / (flat.shape[0] * step[0]) * step
        return ndimage.zoom(flat, zoom, order=order, grid_mode=True, mode="nearest")

    fixed_slice, warped_slice = (slice_of(_contrast(array), 1) for array in (fixed.array, warped))
    tile = max(8, min(fixed_slice.shape) // TILES)
    rows, columns = np.indices(fixed_slice.shape) // tile
    board = np.where((rows + columns) % 2 == 0, fixed_slice, warped_slice)
    panels = [np.repeat(np.clip(panel, 0, 1)[..., None], 3, axis=-1) for panel in (fixed_slice, warped_slice, board)]
    if fixed_labels is not None:
        known, found = (_outline(slice_of(volume.array, 0)) for volume in (fixed_labels, warped_labels))
        panels[0][known] = FIXED_COLOUR
        panels[1][known] = FIXED_COLOUR
        panels[1][found] = WARPED_COLOUR
    gap = np.ones((panels[0].shape[0], 4, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    matplotlib.image.imsave(partial, np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1), format="png")
    partial.replace(path)


def _axis(volume):
    """The axis to look along: that of the thickest slices, else from front to back."""
    thickest = int(np.argmax(volume.spacing))
    return thickest if volume.spacing[thickest] >= 2 * np.median(volume.spacing) else 1


def _fullest(labels, shape, axis):
    """The slice with most labelled voxels; the middle one without labels."""
    if labels is None or not labels.any():
        return shape[axis] // 2
    return int(np.argmax((labels != 0).sum(axis=tuple(a for a in range(3) if a != axis))))


def _contrast(array):
    """Intensities in [0, 1]."""
    try:
        return normalise(filled(array)[0], percentiles=(0.5, 99.5))[0]
    except ValueError:  # nothing of the moving image lies on the fixed lattice
        return np.zeros(array.shape, np.float32)


def _outline(labels):
    """Where a label meets another value."""
    smallest = ndimage.minimum_filter(labels, 3, mode="nearest")
    return (labels != 0) & (ndimage.maximum_filter(labels, 3, mode="nearest") != smallest)
