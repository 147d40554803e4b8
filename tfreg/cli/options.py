"""Options that several commands share, and how their texts are read."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfreg.errors import UserError

Threads = Annotated[int | None, typer.Option(help="Largest number of CPU threads.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Device = Annotated[str | None, typer.Option(help="cpu or gpu; without it, what is there.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing result.")]
Interpolation = Annotated[str, typer.Option(help="linear or cubic for images, nearest for labels.")]
Background = Annotated[
    float | None,
    typer.Option(help="Value outside the moving image; without it, its padding or smallest value, or 0 for labels."),
]
Fixed = Annotated[Path, typer.Option(help="The image whose grid is kept.")]
Moving = Annotated[Path, typer.Option(help="The image that is transformed.")]
Folder = Annotated[Path, typer.Option(help="Folder for the result.")]
Parts = Annotated[str, typer.Option(help="linear, deformable or both: the parts to use.")]
Init = Annotated[
    str | None, typer.Option(help="header, centre, moments, or an ITK transform file; without it, the model's.")
]
FixedLabels = Annotated[Path | None, typer.Option(help="Segmentation of the fixed image, to measure Dice.")]
MovingLabels = Annotated[Path | None, typer.Option(help="Segmentation of the moving image.")]
FixedPoints = Annotated[
    Path | None, typer.Option(help="Landmarks, .csv (x,y,z in RAS mm), .fcsv or .mrk.json, to measure TRE.")
]
MovingPoints = Annotated[Path | None, typer.Option(help="The same landmarks in the moving image.")]
RecordPaths = Annotated[bool, typer.Option("--record-paths", help="Write the inputs' paths to report.json.")]


def names_in(text):
    """The names in a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def size_of(text):
    """Three sizes from a text such as 64x192x192."""
    sizes = text.lower().split("x")
    if len(sizes) != 3 or not all(size.isdigit() for size in sizes):
        raise UserError(f"--shape {text}: give three sizes, such as 64x192x192")
    return tuple(int(size) for size in sizes)


def tell(result, out):
    """Prints what came out of a registration."""
    for text in result.report["warnings"]:
        print(f"tfreg: warning: {text}", file=sys.stderr)
    for stage, entry in result.report["metrics"].items():
        figures = [f"correlation {entry['correlation']:.3f}"]
        if "mean_dice" in entry:
            lost = entry["lost_labels"]
            figures.append(f"Dice {entry['mean_dice']:.3f}")
            figures += [f"{len(lost)} of {len(entry['dice'])} structures lost ({', '.join(lost)})"] if lost else []
        if "landmarks" in entry:
            figures.append(f"TRE {entry['landmarks']['mean_mm']:.2f} mm")
        print(f"{stage.replace('_', ' ')}: {', '.join(figures)}")
    print(f"verdict: {'; '.join([result.report['verdict'], *result.report['reasons']])}")
    if (out / "report.png").is_file():
        print(f"look at {out / 'report.png'}")
