"""Options that several commands share, and how their texts are read."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tfreg.cli.option_groups import Fields
from tfreg.config import Processing, RegistrationOptions
from tfreg.errors import UserError

Force = Annotated[bool, typer.Option("--force", help="Replace an existing result.")]
Folder = Annotated[Path, typer.Option(help="Folder for the result.")]
RecordPaths = Annotated[bool, typer.Option("--record-paths", help="Write the inputs' paths to report.json.")]
Interpolation = Annotated[str, typer.Option(help="linear or cubic for images, nearest for labels.")]
Background = Annotated[
    float | None,
    typer.Option(help="Value outside the moving image; without it, its padding or smallest value, or 0 for labels."),
]
# What a command of one process takes of the machine.
Machine = Annotated[Processing, Fields(without=("workers",))]
# The same of a command in which nothing is random, or whose seed is another option's.
SeedlessMachine = Annotated[Processing, Fields(without=("workers", "seed"))]
# How one pair is registered; where it begins is told with the pair.
Registering = Annotated[RegistrationOptions, Fields(without=("init",), flags={"parts": ("--parts", "--transform")})]


@dataclass(frozen=True)
class PairInputs:
    """The files of one pair, and what its registration begins from."""

    fixed: Annotated[Path, typer.Option(help="The image whose grid is kept.")]
    moving: Annotated[Path, typer.Option(help="The image that is transformed.")]
    fixed_labels: Annotated[Path | None, typer.Option(help="Segmentation of the fixed image, to measure Dice.")] = None
    moving_labels: Annotated[Path | None, typer.Option(help="Segmentation of the moving image.")] = None
    fixed_points: Annotated[
        Path | None, typer.Option(help="Landmarks, .csv (x,y,z in RAS mm), .fcsv or .mrk.json, to measure TRE.")
    ] = None
    moving_points: Annotated[Path | None, typer.Option(help="The same landmarks in the moving image.")] = None
    fixed_mask: Annotated[Path | None, typer.Option(help="Where the fixed image counts.")] = None
    moving_mask: Annotated[Path | None, typer.Option(help="Where the moving image counts.")] = None
    init: Annotated[
        str | None,
        typer.Option(
            help="header, centre, moments, best of the three, or an ITK transform file; without it, the model's."
        ),
    ] = None

    def resolved(self, options: RegistrationOptions, name: str) -> tuple[Any, RegistrationOptions]:
        """The pair's `PairFiles`, and the options with the rule that it begins by.

        Args:
            options: What else was asked for.
            name: What the pair is called.
        """
        from tfreg.io.tables.manifest import PairFiles
        from tfreg.registration.initial_matrix import rule_or_file

        rule, file = rule_or_file(self.init)
        files = PairFiles(**vars(self) | {"id": name, "init": file})
        return files, options.model_copy(update={"init": rule})


def size_of(text):
    """Three sizes from a text such as 64x192x192."""
    sizes = text.lower().split("x")
    if len(sizes) != 3 or not all(size.isdigit() for size in sizes):
        raise UserError(f"--shape {text}: give three sizes, such as 64x192x192")
    return tuple(int(size) for size in sizes)


def print_summary(result, out):
    """Prints what came out of a registration.

    Args:
        result: A `Registration`.
        out: The folder that holds it.
    """
    report = result.report
    for text in report.warnings:
        print(f"tfreg: warning: {text}", file=sys.stderr)
    for stage, metrics in report.metrics:
        texts = [f"correlation {metrics.correlation or float('nan'):.3f}"]
        if metrics.dice is not None:
            texts.append(f"Dice {metrics.mean_dice or float('nan'):.3f}")
            if metrics.lost_labels:
                lost = metrics.lost_labels
                texts.append(f"{len(lost)} of {len(metrics.dice)} structures lost ({', '.join(lost)})")
        if metrics.landmarks is not None:
            texts.append(f"TRE {metrics.landmarks.mean_mm:.2f} mm")
        print(f"{stage.replace('_', ' ')}: {', '.join(texts)}")
    print(f"verdict: {'; '.join([report.verdict, *report.reasons])}")
    if (out / "report.png").is_file():
        print(f"look at {out / 'report.png'}")
