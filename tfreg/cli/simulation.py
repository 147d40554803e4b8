"""The command for simulated data."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.option_groups import Fields, grouped
from tfreg.cli.options import Force
from tfreg.config import Processing, SimulationOptions

app = typer.Typer()
THREADS = {"threads": "Largest number of CPU threads."}


@app.command()
@grouped
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the data set.")],
    options: SimulationOptions,
    machine: Annotated[Processing, Fields(("workers", "seed", "device"), helps=THREADS)],
    force: Force = False,
) -> None:
    """Write a breathing-chest data set with masks, landmarks, health labels and true deformations."""
    from tfreg.runtime.progress import ProgressBar
    from tfreg.runtime.resources import Resources
    from tfreg.simulation.data_set import simulate as simulate_people

    print(simulate_people(out, options, Resources(**dict(machine)), force, ProgressBar()))
