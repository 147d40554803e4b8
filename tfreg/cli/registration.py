"""Commands for one pair."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.options import (
    Background,
    Device,
    Fixed,
    FixedLabels,
    FixedPoints,
    Folder,
    Force,
    Init,
    Interpolation,
    Moving,
    MovingLabels,
    MovingPoints,
    Parts,
    RecordPaths,
    Seed,
    Threads,
    tell,
)

app = typer.Typer()


@app.command()
def register(
    fixed: Fixed,
    moving: Moving,
    out: Folder,
    model: Annotated[
        str, typer.Option(help="A run folder, a .keras file in one, or none: the refinement alone.")
    ] = "none",
    refine: Annotated[
        bool | None,
        typer.Option("--refine/--no-refine", help="Optimise the transform for this pair; without a model, by itself."),
    ] = None,
    preset: Annotated[str, typer.Option(help="fast or quality: how much time the refinement may take.")] = "quality",
    similarity: Annotated[
        str | None,
        typer.Option(
            help="lncc, mse, ncc, mi, dwm, mind, or a sum such as lncc+0.5*mi; without it, lncc, coarsely with MIND."
        ),
    ] = None,
    smoothness: Annotated[
        float | None, typer.Option(help="How stiff the refined deformation is; without it, 0.35.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Register the other way round too, and see whether both agree.")
    ] = False,
    transform: Parts = "both",
    init: Init = None,
    interpolation: Interpolation = "linear",
    background: Background = None,
    fixed_labels: FixedLabels = None,
    moving_labels: MovingLabels = None,
    fixed_points: FixedPoints = None,
    moving_points: MovingPoints = None,
    fixed_mask: Annotated[Path | None, typer.Option(help="Where the fixed image counts.")] = None,
    moving_mask: Annotated[Path | None, typer.Option(help="Where the moving image counts.")] = None,
    record_paths: RecordPaths = False,
    force: Force = False,
    threads: Threads = None,
    seed: Seed = 0,
    device: Device = None,
):
    """Register one pair and write images, transforms and a report."""
    from tfreg.config import RegistrationOptions, checked
    from tfreg.io.tables.manifest import PairFiles
    from tfreg.registration.initial_matrix import rule_or_file
    from tfreg.registration.register_files import Output, register_files
    from tfreg.runtime.resources import Resources

    rule, init_file = rule_or_file(init)
    options = checked(
        RegistrationOptions,
        refine=refine,
        preset=preset,
        similarity=similarity,
        smoothness=smoothness,
        check=check,
        init=rule,
        transform=transform,
        interpolation=interpolation,
        background=background,
    )
    files = PairFiles(
        id=out.name,
        fixed=fixed,
        moving=moving,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_points=fixed_points,
        moving_points=moving_points,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        init=init_file,
    )
    source = None if model == "none" else model
    result = register_files(files, out, options, source, Resources(seed, threads, device), Output(record_paths, force))
    tell(result, out)


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
):
    """Apply a result to more images, labels or landmarks."""
    from tfreg.registration.warp import warp_files

    warp_files(
        transform,
        input,
        out,
        inverse=inverse,
        interpolation=interpolation,
        reference=reference,
        background=background,
        force=force,
        tell=print,
    )
