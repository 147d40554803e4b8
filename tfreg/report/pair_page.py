"""The HTML page of one registered pair: a viewer, the picture and the metrics, in one file."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.report import pair_tables as tables
from tfreg.report.deformed_grid import grid_field
from tfreg.report.mosaic import mosaic
from tfreg.report.page import data_uri, render
from tfreg.report.pair_views import IMAGES, PairViews
from tfreg.report.registration_figure import registration_figure

FIGURE_DPI = 110
# Told apart on a dark picture, and from the orange of the grid.
LABEL_COLOURS = (
    "#7ee081", "#4cc9f0", "#ffe066", "#ef6f9b", "#c39bff", "#5eead4", "#f4f1de", "#9bb8ff", "#d4e157", "#e0a3c8"
)  # fmt: skip
# Colours of the log Jacobian reach this share of the voxels shown, and never less than this range.
JACOBIAN_PERCENTILE = 99.5
MIN_JACOBIAN_LIMIT = 0.1


def pair_page(report: Any, views: PairViews, displacement_mm: np.ndarray, log_jacobian: np.ndarray) -> str:
    """Makes a page that needs no other file and no network.

    Args:
        report: A `tfreg.registration.registration_report.RegistrationReport`.
        views: A `PairViews`.
        displacement_mm: `(i, j, k, 3)` on the views' lattice, RAS+ mm.
        log_jacobian: `(i, j, k)` on it.

    Returns:
        HTML, a string.
    """
    volumes = {name: getattr(views, name) for name in IMAGES}
    if views.labels is not None:
        volumes["labels"] = views.labels
    codes, limit = jacobian_codes(log_jacobian, None if views.labels is None else views.labels.array)
    volumes["jacobian"] = views.fixed.with_array(codes)
    field = grid_field(views.fixed, displacement_mm)
    mosaics = {name: mosaic(volume.reoriented("RAS").array) for name, volume in volumes.items()}
    mosaics["field"] = mosaic(field.codes)
    upright = views.fixed.reoriented("RAS").lattice
    colours = [
        {"value": value, "colour": LABEL_COLOURS[index % len(LABEL_COLOURS)]}
        for index, value in enumerate(views.label_values)
    ]
    viewer = {
        "shape": upright.shape,
        "spacing": upright.spacing.tolist(),
        "affine": upright.affine.tolist(),
        "windows": views.windows,
        "mosaics": {name: {"columns": made.columns, "checksum": made.checksum} for name, made in mosaics.items()},
        "labels": colours,
        "jacobianLimit": limit,
        "field": {"shape": field.codes.shape[:3], "matrix": field.matrix.tolist(), "scale": field.scale_mm},
    }
    paths = report.paths or {}
    return render(
        "pair.html",
        names={name: Path(paths[name]).name if name in paths else name for name in ("fixed", "moving")},
        verdict=report.verdict,
        certificate=tables.certificate_words(report.certificate),
        reasons=report.reasons,
        warnings=report.warnings,
        headline=tables.headline(report),
        agreement=tables.agreement_table(report),
        by_label=tables.label_table(report),
        quality=tables.quality_table(report),
        jacobian=tables.jacobian_table(report),
        provenance=tables.provenance(report),
        version=report.versions["tfreg"],
        picture=_picture(views, displacement_mm),
        mosaics={name: data_uri(made.png) for name, made in mosaics.items()},
        viewer=viewer,
        lattice=views.fixed.lattice,
        factors=views.factors if tuple(views.factors) != (1, 1, 1) else None,
        labels=colours,
        has_labels=views.labels is not None,
    )


def pair_figure(views: PairViews, displacement_mm: np.ndarray) -> Any:
    """The picture after the paper's Figure 2, a `matplotlib.figure.Figure`; arguments as in `pair_page`."""
    fixed, moving, warped = (views.picture(name) for name in IMAGES)
    return registration_figure(fixed, moving, warped, displacement_mm)


def jacobian_codes(log_jacobian: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, float]:
    """The log Jacobian in bytes, over a symmetrical range.

    Args:
        log_jacobian: `(i, j, k)`, NaN where there is none.
        labels: `(i, j, k)`, what is not 0 is shown; None shows everything.

    Returns:
        `(i, j, k)` uint8, 0 where nothing is shown, else 1 for -limit, 128 for 0 and 255 for the limit; and the
        limit.
    """
    inside = np.isfinite(log_jacobian) if labels is None else np.isfinite(log_jacobian) & (labels != 0)
    sizes = np.abs(log_jacobian[inside])
    limit = float(np.percentile(sizes, JACOBIAN_PERCENTILE)) if sizes.size else 0.0
    limit = max(MIN_JACOBIAN_LIMIT, np.ceil(10 * limit) / 10)
    share = np.clip(np.where(inside, log_jacobian, 0) / limit, -1, 1)
    return np.where(inside, 128 + np.rint(127 * share), 0).astype(np.uint8), limit


def _picture(views, displacement_mm):
    stream = io.BytesIO()
    pair_figure(views, displacement_mm).savefig(stream, format="png", dpi=FIGURE_DPI)
    return data_uri(stream.getvalue())
