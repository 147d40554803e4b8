"""The command for simulated data."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.option_groups import grouped
from tfreg.cli.options import Force, Threads
from tfreg.config import SimulationOptions

app = typer.Typer()


@app.command()
@grouped
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the data set.")],
    options: SimulationOptions,
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Write a breathing-chest data set with masks, landmarks, health labels and true deformations."""
    from tfreg.runtime.progress import ProgressBar
    from tfreg.runtime.resources import Resources
    from tfreg.simulation.data_set import simulate as simulate_people

    print(simulate_people(out, options, Resources(threads=threads), force, ProgressBar()))
