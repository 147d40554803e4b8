"""`tfreg report`: the page of a registered pair, and its picture for print."""

from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.io.folders.result_file import check_file, written_files
from tfreg.io.itk_transforms import read_displacement
from tfreg.io.nifti import read_nifti
from tfreg.registration.registration_report import RegistrationReport
from tfreg.registration.result import REPORT
from tfreg.registration.views import block_means, load_views
from tfreg.report.drawing import own_drawing_settings

PAGE = "report.html"
PAGE_EXTENSIONS = (".html", ".htm")
FIGURE_EXTENSIONS = (".png", ".pdf", ".svg")
PRINT_DPI = 300


def write_pair_page(
    folder: str | Path, out: str | Path | None = None, figure: str | Path | None = None, force: bool = False
) -> list[Path]:
    """Writes the page of a registered pair, and its picture for print.

    Args:
        folder: A folder that `tfreg register` wrote.
        out: The page to write; None is report.html in the folder.
        figure: The picture to write (.png, .pdf, .svg), or None.
        force: Replaces existing files.

    Returns:
        List of the paths written.

    Raises:
        UserError: If the folder is not a result or is damaged, or a file exists or cannot be written.
    """
    folder = Path(folder)
    out = folder / PAGE if out is None else Path(out)
    figure = None if figure is None else Path(figure)
    if not (folder / REPORT).is_file():
        raise UserError(f"{folder}: is not a result; name a folder that `tfreg register` or `tfreg evaluate` wrote")
    check_file(out, PAGE_EXTENSIONS, force)
    if figure is not None:
        check_file(figure, FIGURE_EXTENSIONS, force)
    with own_drawing_settings():
        contents = _contents(folder, out, figure)
        with written_files([path for path, _ in contents], force) as partials:
            for (_, write), partial in zip(contents, partials, strict=True):
                write(partial)
    return [path for path, _ in contents]


def _contents(folder, out, figure):
    """The files, each with the function that writes it."""
    report = RegistrationReport.read(folder / REPORT)
    views, fixed_shape = load_views(folder)
    displacement_mm = read_displacement(folder / "displacement.nii.gz")
    logarithm = _read_jacobian(folder / "jacobian.nii.gz")
    for name, array in (("displacement", displacement_mm), ("jacobian", logarithm)):
        if array.shape[:3] != fixed_shape:
            raise UserError(f"{folder / name}.nii.gz: does not belong to the folder's views.npz; register again")
    components = [block_means(displacement_mm[..., d], views.factors) for d in range(3)]
    displacement_mm, logarithm = np.stack(components, axis=-1), block_means(logarithm, views.factors)
    if logarithm.shape != views.fixed.shape:
        raise UserError(f"{folder}: views.npz is damaged; register again")
    # Pictures take a second to import, and wrong input is told before.
    from tfreg.report.pair_page import pair_figure, pair_page

    page = pair_page(report, views, displacement_mm, logarithm)
    contents = [(out, lambda path: path.write_text(page, encoding="utf-8"))]
    if figure is not None:
        drawn = pair_figure(views, displacement_mm)
        contents.append((figure, lambda path: drawn.savefig(path, dpi=PRINT_DPI)))
    return contents


def _read_jacobian(path):
    """`(i, j, k)`, the log Jacobian, which `read_volume` would refuse where it is the same everywhere."""
    if not path.is_file():
        raise UserError(f"{path}: is missing; register again")
    return read_nifti(path).array
