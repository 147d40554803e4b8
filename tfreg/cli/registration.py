"""Commands for one pair."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.option_groups import grouped
from tfreg.cli.options import (
    Background,
    Folder,
    Force,
    Interpolation,
    Machine,
    PairInputs,
    RecordPaths,
    Registering,
    print_summary,
)
from tfreg.config import DEFAULT_MODEL, model_or_none

app = typer.Typer()


@app.command()
@grouped
def register(
    pair: PairInputs,
    out: Folder,
    options: Registering,
    machine: Machine,
    model: Annotated[
        str,
        typer.Option(
            help="A run folder, a .keras file in one, weights: those that ship, or none: the refinement alone; without "
            "it, weights with --no-refine, else none."
        ),
    ] = DEFAULT_MODEL,
    record_paths: RecordPaths = False,
    force: Force = False,
) -> None:
    """Register one pair and write images, transforms and a report."""
    from tfreg.registration.register_files import Output, register_files
    from tfreg.runtime.progress import ProgressBar
    from tfreg.runtime.resources import Resources

    files, options = pair.resolved(options, out.name)
    source = model_or_none(model, options.refine)
    output = Output(record_paths, force, ProgressBar())
    print_summary(register_files(files, out, options, source, Resources(**dict(machine)), output), out)


@app.command()
def warp(
    transform: Annotated[Path, typer.Option(help="A result folder, or its transform.npz.")],
    input: Annotated[
        list[Path],
        typer.Option(help="Image, labels or landmarks (.csv, .fcsv, .mrk.json) of the moving side; may be repeated."),
    ],
    out: Annotated[Path, typer.Option(help="File to write; a folder for several inputs.")],
    inverse: Annotated[bool, typer.Option("--inverse", help="From the fixed side to the moving one.")] = False,
    interpolation: Interpolation = "linear",
    reference: Annotated[
        Path | None, typer.Option(help="A volume whose grid is used instead of the target image's.")
    ] = None,
    background: Background = None,
    force: Force = False,
) -> None:
    """Apply a result to more images, labels or landmarks."""
    from tfreg.registration.warp import WarpOptions, warp_files

    warp_files(transform, input, out, WarpOptions(inverse, interpolation, reference, background), force, print)
