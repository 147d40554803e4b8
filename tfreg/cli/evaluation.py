"""The command that compares methods on many pairs."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.options import Device, Force, Seed, names_in
from tfreg.errors import WorkError

app = typer.Typer()


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Manifest of pairs or of subjects (CSV).")],
    out: Annotated[Path, typer.Option(help="Folder of the evaluation; an interrupted one goes on.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="A run folder, or none: no network, the refinement alone; may be repeated."),
    ] = None,
    refine: Annotated[
        bool | None,
        typer.Option("--refine/--no-refine", help="Add the refinement from nothing; with --model none, by itself."),
    ] = None,
    refine_models: Annotated[
        bool, typer.Option("--refine-models", help="Add the refinement from each model's prediction.")
    ] = False,
    parts: Annotated[
        str, typer.Option("--parts", "--transforms", help="Parts to compare: linear,deformable,both.")
    ] = "both",
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
    from tfreg.config import EvaluationOptions, checked
    from tfreg.evaluation.evaluate import evaluate as evaluate_pairs
    from tfreg.evaluation.results import TABLES
    from tfreg.runtime.progress import ProgressBar
    from tfreg.runtime.resources import Resources

    options = checked(
        EvaluationOptions,
        models=model or (),
        refine=refine,
        refine_models=refine_models,
        parts=names_in(parts),
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
    )
    summary = evaluate_pairs(data, out, options, Resources(seed, threads, device, workers), force, ProgressBar())
    print((out / TABLES).read_text(encoding="utf-8"))
    print(f"look at {out / TABLES}")
    if summary.failures:
        raise WorkError(
            f"{summary.failures} of {summary.failures + summary.measured} registrations failed; {out / TABLES} lists "
            "them, and its means are of the others"
        )
