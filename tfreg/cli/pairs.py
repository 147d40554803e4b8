"""Commands for one pair."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.options import (
    Background,
    Device,
    Force,
    Interpolation,
    Seed,
    Threads,
    check_choice,
    tell,
)

app = typer.Typer()


@app.command()
def register(
    fixed: Annotated[Path, typer.Option(help="The image whose grid is kept.")],
    moving: Annotated[Path, typer.Option(help="The image that is transformed.")],
    out: Annotated[Path, typer.Option(help="Folder for the result.")],
    model: Annotated[str, typer.Option(help="A run folder, a .keras file in one, or none.")],
    refine: Annotated[bool, typer.Option("--refine", help="Optimise the transform for this pair.")] = False,
    preset: Annotated[str, typer.Option(help="fast or quality: how much time the refinement may take.")] = "quality",
    similarity: Annotated[
        str | None, typer.Option(help="lncc, mse, ncc, mi, dwm, mind, or a sum such as lncc+0.5*mi; without it, lncc.")
    ] = None,
    smoothness: Annotated[
        float | None, typer.Option(help="How stiff the refined deformation is; without it, 0.25.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Register the other way round too, and see whether both agree.")
    ] = False,
    transform: Annotated[str, typer.Option(help="linear, deformable or both: the parts to use.")] = "both",
    init: Annotated[
        str | None, typer.Option(help="header, centre, moments, or an ITK transform file; without it, the model's.")
    ] = None,
    interpolation: Interpolation = "linear",
    background: Background = None,
    fixed_labels: Annotated[Path | None, typer.Option(help="Segmentation of the fixed image, to measure Dice.")] = None,
    moving_labels: Annotated[Path | None, typer.Option(help="Segmentation of the moving image.")] = None,
    fixed_points: Annotated[Path | None, typer.Option(help="Landmarks, CSV x,y,z in RAS mm, to measure TRE.")] = None,
    moving_points: Annotated[Path | None, typer.Option(help="The same landmarks in the moving image.")] = None,
    fixed_mask: Annotated[Path | None, typer.Option(help="Where the fixed image counts.")] = None,
    moving_mask: Annotated[Path | None, typer.Option(help="Where the moving image counts.")] = None,
    record_paths: Annotated[
        bool, typer.Option("--record-paths", help="Write the inputs' paths to report.json.")
    ] = False,
    force: Force = False,
    threads: Threads = None,
    seed: Seed = 0,
    device: Device = None,
):
    """Register one pair and write images, transforms and a report."""
    check_choice("--transform", transform, ("linear", "deformable", "both"))
    check_choice("--interpolation", interpolation, ("linear", "cubic"))
    from tfreg.workflows.register import register_files

    result = register_files(
        fixed,
        moving,
        out,
        model=None if model == "none" else model,
        refine=refine,
        preset=preset,
        similarity=similarity,
        smoothness=smoothness,
        check=check,
        init=init,
        transform=transform,
        interpolation=interpolation,
        background=background,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_points=fixed_points,
        moving_points=moving_points,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        seed=seed,
        threads=threads,
        device=device,
        record_paths=record_paths,
        force=force,
    )
    tell(result, out)


@app.command()
def warp(
    transform: Annotated[Path, typer.Option(help="A result folder, or its transform.npz.")],
    input: Annotated[
        list[Path], typer.Option(help="Image, labels or landmarks (.csv) of the moving side; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="File to write; a folder for several inputs.")],
    inverse: Annotated[bool, typer.Option("--inverse", help="From the fixed side to the moving one.")] = False,
    interpolation: Interpolation = "linear",
    reference: Annotated[
        Path | None, typer.Option(help="A volume whose grid is used instead of the target image's.")
    ] = None,
    background: Background = None,
    force: Force = False,
):
    """Apply a result to more images, labels or landmarks."""
    from tfreg.workflows.warp import warp_files

    for path in warp_files(
        transform,
        input,
        out,
        inverse=inverse,
        interpolation=interpolation,
        reference=reference,
        background=background,
        force=force,
    ):
        print(path)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="What `tfreg register` or `tfreg evaluate` wrote.", metavar="DIR")],
    out: Annotated[
        Path | None, typer.Option(help="Page to write (.html); without it, report.html in the folder.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Picture for print to write (.png, .pdf or .svg).")] = None,
    force: Force = False,
):
    """Write a page to look at: of a registered pair, or of an evaluation."""
    from tfreg.workflows.report import write_report

    for path in write_report(folder, out, figure, force):
        print(path)
