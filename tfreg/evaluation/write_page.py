"""`tfreg report`: the page of an evaluation."""

from pathlib import Path

from tfreg.evaluation.results import PICTURES, read_evaluation
from tfreg.io.folders.result_file import check_file, written_files
from tfreg.registration.page import PAGE, PAGE_EXTENSIONS
from tfreg.report.drawing import own_drawing_settings


def write_cohort_page(folder: Path, out: Path | None = None, force: bool = False) -> Path:
    """Writes the page of an evaluation.

    Args:
        folder: A folder that `tfreg evaluate` wrote.
        out: The page to write; None is report.html in the folder.
        force: Replaces an existing file.

    Returns:
        The path written.

    Raises:
        UserError: If the folder is not an evaluation or is damaged, or the file exists or cannot be written.
    """
    folder = Path(folder)
    out = folder / PAGE if out is None else Path(out)
    check_file(out, PAGE_EXTENSIONS, force)
    summary, rows = read_evaluation(folder)
    # Pictures take a second to import, and wrong input is told before.
    from tfreg.evaluation.page import cohort_page

    def picture(pair):
        file = folder / PICTURES / f"{pair}.png"
        return file.read_bytes() if file.is_file() else None

    with own_drawing_settings():
        page = cohort_page(summary, rows, picture)
        with written_files([out], force) as (partial,):
            partial.write_text(page, encoding="utf-8")
    return out
