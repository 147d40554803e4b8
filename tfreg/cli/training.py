"""The command that trains the registration network."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.option_groups import grouped
from tfreg.cli.options import SeedlessMachine

app = typer.Typer()
# Columns of the best epoch that are printed.
SHOWN = ("epoch", "val_displacement_dice", "val_mean_distance", "val_distance_before", "val_loss")


@app.command()
@grouped
def train(
    config: Annotated[Path, typer.Argument(help="YAML config, such as configs/demo.yaml.")],
    run: Annotated[Path, typer.Option(help="Folder of the run; an interrupted one is resumed.")],
    machine: SeedlessMachine,
    data: Annotated[Path | None, typer.Option(help="Subjects manifest (CSV); none with pairs: simulated.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Weights to begin with: another run, an .npz file, or weights: those that ship; not for a resumed run."
        ),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, such as loss.beta=1e-5.")] = None,
    several_gpus: Annotated[bool, typer.Option("--several-gpus", help="Split every batch over all GPUs.")] = False,
) -> None:
    """Train the network without ground truth, or on simulated pairs; resumes an interrupted run."""
    from tfreg.config import load_config
    from tfreg.runtime.progress import ProgressBar, ProgressLines
    from tfreg.runtime.resources import Resources
    from tfreg.training.train import train as train_run

    report = train_run(
        load_config(config, overrides or ()),
        data,
        run,
        start=start,
        resources=Resources(**dict(machine)),
        several_gpus=several_gpus,
        progress=ProgressBar() if sys.stderr.isatty() else ProgressLines(),
    )
    for text in report.warnings:
        print(f"tfreg: warning: {text}", file=sys.stderr)
    if not report.finished:
        print(f"{run}: {report.epochs} epochs in the time that was given; the same command goes on")
        return
    best = ", ".join(f"{name} {report.best[name]:g}" for name in SHOWN if name in report.best)
    print(f"{run}: {report.epochs} epochs; best: {best}")
