"""The command for simulated data."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.options import Force, Seed, Threads

app = typer.Typer()


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the data set.")],
    subjects: Annotated[int, typer.Option(help="How many people.")] = 8,
    shape: Annotated[tuple[int, int, int], typer.Option(help="Voxels along each axis.")] = (96, 96, 96),
    spacing: Annotated[tuple[float, float, float], typer.Option(help="mm along each axis.")] = (3.75, 3.75, 3.75),
    modality: Annotated[str, typer.Option(help="mr or ct.")] = "mr",
    diseased: Annotated[float, typer.Option(help="Share of subjects with stiff lung bases, 0 to 1.")] = 0.3,
    severity: Annotated[tuple[float, float], typer.Option(help="Range of their severity, 0 to 1.")] = (0.5, 1.0),
    orientation: Annotated[str, typer.Option(help="Where the axes point, three letters such as RAS.")] = "RAS",
    splits: Annotated[tuple[float, float, float], typer.Option(help="Shares of train, validation and test.")] = (
        0.6,
        0.2,
        0.2,
    ),
    circular_fov: Annotated[bool, typer.Option("--circular-fov", help="CT only: pad outside a circle.")] = False,
    seed: Seed = 0,
    threads: Threads = None,
    force: Force = False,
):
    """Write a breathing-chest data set with masks, landmarks, health labels and true deformations."""
    from tfreg.config import SimulationOptions, checked
    from tfreg.runtime.progress import ProgressBar
    from tfreg.runtime.resources import Resources
    from tfreg.simulation.data_set import simulate as simulate_people

    options = checked(
        SimulationOptions,
        subjects=subjects,
        shape=shape,
        spacing=spacing,
        modality=modality,
        diseased=diseased,
        severity=severity,
        orientation=orientation,
        splits=splits,
        circular_fov=circular_fov,
        seed=seed,
    )
    print(simulate_people(out, options, Resources(threads=threads), force, ProgressBar()))
