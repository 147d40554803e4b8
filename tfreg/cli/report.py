"""The command for pages to look at."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.options import Force
from tfreg.errors import UserError

app = typer.Typer()


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="What `tfreg register` or `tfreg evaluate` wrote.", metavar="DIR")],
    out: Annotated[
        Path | None, typer.Option(help="Page to write (.html); without it, report.html in the folder.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Picture for print to write (.png, .pdf or .svg).")] = None,
    force: Force = False,
) -> None:
    """Write a page to look at: of a registered pair, or of an evaluation."""
    from tfreg.evaluation.results import SUMMARY
    from tfreg.evaluation.write_page import write_cohort_page
    from tfreg.registration.page import write_pair_page

    if not (folder / SUMMARY).is_file():
        written = write_pair_page(folder, out, figure, force)
    elif figure is None:
        written = [write_cohort_page(folder, out, force)]
    else:
        raise UserError(f"--figure {figure}: is of one pair; name a folder that `tfreg register` wrote")
    for path in written:
        print(path)
