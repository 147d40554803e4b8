"""The picture of a registration, after the paper's Figure 2."""

import numpy as np
from matplotlib.figure import Figure

from tfreg.report.slices import PLANES, contrast, plane_to_show, upright_slice
from tfreg.volumes.volume import Volume

GRID_LINES = 24  # along the longer side
AREA = 14.0  # square inches of a panel
NOT_COMPARED = "0.75"  # grey: the moving image does not reach here


def registration_figure(
    fixed: Volume, moving: Volume, warped: Volume, displacement_mm: np.ndarray, title: str = ""
) -> Figure:
    """Draws moving, fixed and warped image, the deformed grid, and the differences before and after.

    One slice through the middle, coronal, or in the plane of the slices where these are thick. The
    patient's right is on the left.

    Args:
        fixed: The fixed `Volume`.
        moving: The moving image on the fixed lattice before registration, a `Volume`, NaN where it does
            not reach.
        warped: The moving image on the fixed lattice after it, likewise.
        displacement_mm: `(i, j, k, 3)` on the fixed lattice, RAS+ mm.
        title: A line above the pictures.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    upright = fixed.reoriented("RAS").lattice
    plane = plane_to_show(upright.spacing)
    fixed_slice, moving_slice, warped_slice = (
        upright_slice(fixed.with_array(contrast(volume.array)), plane) for volume in (fixed, moving, warped)
    )
    # Millimetres along the fixed volume's own axes, so that without a deformation the lines are straight.
    mapped_mm = upright.to_voxel(fixed.lattice.points() + displacement_mm) * upright.spacing
    mapped = [upright_slice(fixed.with_array(mapped_mm[..., d]), plane) for d in PLANES[plane][1]]
    across, up = (upright.spacing[d] for d in PLANES[plane][1])
    rows, columns = fixed_slice.shape
    tallness = rows * up / (columns * across)
    width = float(np.clip(np.sqrt(AREA / tallness), 2.6, 5.0))
    figure = Figure(figsize=(3 * width + 1.0, 2 * width * tallness + 1.2), layout="compressed")
    panels = figure.subplots(2, 3)
    look = {"aspect": up / across, "cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    for panel, (name, picture) in zip(
        panels.flat,
        {
            "moving, initially aligned": moving_slice,
            "fixed": fixed_slice,
            "warped": warped_slice,
            "warped, deformed grid": warped_slice,
        }.items(),
        strict=False,
    ):
        panel.imshow(np.nan_to_num(picture), **look)
        panel.set_title(name)
        _mark_directions(panel, PLANES[plane][2])
    step_mm = max(rows * up, columns * across) / GRID_LINES
    for component in mapped:
        levels = np.arange(np.ceil(component.min() / step_mm), component.max() / step_mm) * step_mm
        if len(levels):
            panels[1, 0].contour(component, levels=levels, colors="tab:orange", linewidths=0.7, linestyles="solid")
    look |= {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}
    for panel, name, picture in (
        (panels[1, 1], "fixed - moving", moving_slice),
        (panels[1, 2], "fixed - warped", warped_slice),
    ):
        difference = fixed_slice - picture
        inside = np.isfinite(difference)
        drawn = panel.imshow(difference, **look)
        panel.set_facecolor(NOT_COMPARED)
        panel.set_title(f"{name} (mean size {np.abs(difference[inside]).mean() if inside.any() else np.nan:.3f})")
    figure.colorbar(drawn, ax=panels[1], shrink=0.8, label="of the intensity range")
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
        panel.title.set_fontsize(10)
    figure.suptitle(f"{title} ({plane})" if title else plane)
    return figure


def _mark_directions(panel, letters):
    left, right, top, bottom = letters
    for x, y, letter in ((0.01, 0.5, left), (0.99, 0.5, right), (0.5, 0.98, top), (0.5, 0.02, bottom)):
        panel.text(
            x,
            y,
            letter,
            transform=panel.transAxes,
            color="yellow",
            fontsize=9,
            fontweight="bold",
            ha="left" if x < 0.1 else "right" if x > 0.9 else "center",
            va="top" if y > 0.9 else "bottom" if y < 0.1 else "center",
        )
