"""The command that trains the registration network."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.options import Device, Threads

app = typer.Typer()


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML config, such as configs/demo.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, such as loss.beta=1e-5.")] = None,
    data: Annotated[Path, typer.Option(help="Subjects manifest (CSV).")] = ...,
    run: Annotated[Path, typer.Option(help="Folder of the run; an interrupted one is resumed.")] = ...,
    several_gpus: Annotated[bool, typer.Option("--several-gpus", help="Split every batch over all GPUs.")] = False,
    threads: Threads = None,
    device: Device = None,
):
    """Train the network without ground truth; resumes an interrupted run."""
    from tfreg.config import load_config
    from tfreg.training.train import train as train_run

    report = train_run(
        load_config(config, overrides or ()), data, run, threads=threads, device=device, several_gpus=several_gpus
    )
    for text in report["warnings"]:
        print(f"tfreg: warning: {text}", file=sys.stderr)
    best = {
        key: value for key, value in report["best"].items() if key in ("epoch", "val_loss", "val_displacement_dice")
    }
    print(f"{run}: {report['epochs']} epochs; best: " + ", ".join(f"{key} {value:g}" for key, value in best.items()))
