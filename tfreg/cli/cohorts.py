"""Commands for many volumes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.options import (
    Device,
    Force,
    Seed,
    Threads,
    names_in,
)
from tfreg.errors import WorkError

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


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Manifest of pairs or of subjects (CSV).")],
    out: Annotated[Path, typer.Option(help="Folder of the evaluation; an interrupted one goes on.")],
    model: Annotated[list[str] | None, typer.Option(help="A run folder; may be repeated.")] = None,
    refine: Annotated[bool, typer.Option("--refine", help="Add the refinement from nothing.")] = False,
    refine_models: Annotated[
        bool, typer.Option("--refine-models", help="Add the refinement from each model's prediction.")
    ] = False,
    transforms: Annotated[str, typer.Option(help="Parts to compare: linear,deformable,both.")] = "both",
    baselines: Annotated[str, typer.Option(help="Classical tools: syn,greedy,greedy_r4,elastix,demons.")] = "",
    preset: Annotated[str, typer.Option(help="fast or quality, of the refinement.")] = "quality",
    similarity: Annotated[str | None, typer.Option(help="Of the refinement, as in `tfreg register`.")] = None,
    smoothness: Annotated[float | None, typer.Option(help="Of the refinement, as in `tfreg register`.")] = None,
    init: Annotated[
        str | None, typer.Option(help="header, centre or moments for all methods; without it, the model's.")
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(help="Pairs made of subjects: MOVING:FIXED phases, all, all:PHASE or images; may be repeated."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only subjects of this split.")] = None,
    count: Annotated[int | None, typer.Option(help="Only so many random pairs of each kind.")] = None,
    labels: Annotated[str, typer.Option(help="Column of the manifest with the segmentations.")] = "labels",
    reference: Annotated[str | None, typer.Option(help="The method that the others are compared with.")] = None,
    workers: Annotated[int, typer.Option(help="Processes side by side.")] = 1,
    force: Force = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each process.")] = None,
    seed: Seed = 0,
    device: Device = None,
):
    """Compare models, the refinement and classical tools on many pairs: the paper's Tables 1 and 2."""
    from tfreg.evaluation.evaluate import evaluate as evaluate_pairs
    from tfreg.evaluation.results import TABLES

    summary = evaluate_pairs(
        data,
        out,
        models=model or (),
        refine=refine,
        refine_models=refine_models,
        transforms=names_in(transforms),
        baselines=names_in(baselines),
        preset=preset,
        similarity=similarity,
        smoothness=smoothness,
        init=init,
        pairs=pairs or ("all",),
        split=split,
        count=count,
        labels=labels,
        reference=reference,
        workers=workers,
        threads=threads,
        seed=seed,
        device=device,
        force=force,
    )
    print((out / TABLES).read_text(encoding="utf-8"))
    failures = sum(len(found["failures"]) for part in summary.values() for found in part["methods"].values())
    print(f"look at {out / TABLES}")
    if failures:
        measured = sum(found["measured"] for part in summary.values() for found in part["methods"].values())
        raise WorkError(
            f"{failures} of {failures + measured} registrations failed; {out / TABLES} lists them, and its means are "
            "of the others"
        )


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
    from tfreg.simulation.data_set import simulate as simulate_cohort

    print(
        simulate_cohort(
            out,
            subjects=subjects,
            shape=shape,
            spacing=spacing,
            modality=modality,
            diseased=diseased,
            severity=severity,
            seed=seed,
            orientation=orientation,
            splits=splits,
            circular_fov=circular_fov,
            force=force,
            threads=1 if threads is None else threads,
        )
    )
