"""The command line: one thin handler a verb, heavy imports inside."""

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from tfreg import __version__
from tfreg.errors import InputWarning, UserError

app = typer.Typer(
    name="tfreg",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Registers 3D medical volumes: linear and deformable part in one forward pass. Not a medical device.",
)

Threads = Annotated[int | None, typer.Option(help="Largest number of CPU threads.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Device = Annotated[str | None, typer.Option(help="cpu or gpu; without it, what is there.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing result.")]
Interpolation = Annotated[str, typer.Option(help="linear or cubic for images, nearest for labels.")]
Background = Annotated[float | None, typer.Option(help="Value outside the moving image; without it, its smallest.")]


def _version(asked: bool):
    if asked:
        print(f"tfreg {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
):
    pass


@app.command()
def register(
    fixed: Annotated[Path, typer.Option(help="The image whose grid is kept.")],
    moving: Annotated[Path, typer.Option(help="The image that is transformed.")],
    out: Annotated[Path, typer.Option(help="Folder for the result.")],
    model: Annotated[str, typer.Option(help="A run folder, a .keras file in one, or none.")],
    refine: Annotated[bool, typer.Option("--refine", help="Optimise the transform for this pair.")] = False,
    preset: Annotated[str, typer.Option(help="fast or quality: how much time the refinement may take.")] = "quality",
    similarity: Annotated[
        str | None, typer.Option(help="lncc, mse, ncc, mi, dwm, mind, or a sum such as lncc+0.5*mi; without it, lncc.")
    ] = None,
    smoothness: Annotated[
        float | None, typer.Option(help="How stiff the refined deformation is; without it, 0.25.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Register the other way round too, and see whether both agree.")
    ] = False,
    transform: Annotated[str, typer.Option(help="linear, deformable or both: the parts to use.")] = "both",
    init: Annotated[
        str | None, typer.Option(help="header, centre, moments, or an ITK transform file; without it, the model's.")
    ] = None,
    interpolation: Interpolation = "linear",
    background: Background = None,
    fixed_labels: Annotated[Path | None, typer.Option(help="Segmentation of the fixed image, to measure Dice.")] = None,
    moving_labels: Annotated[Path | None, typer.Option(help="Segmentation of the moving image.")] = None,
    fixed_points: Annotated[Path | None, typer.Option(help="Landmarks, CSV x,y,z in RAS mm, to measure TRE.")] = None,
    moving_points: Annotated[Path | None, typer.Option(help="The same landmarks in the moving image.")] = None,
    fixed_mask: Annotated[Path | None, typer.Option(help="Where the fixed image counts.")] = None,
    moving_mask: Annotated[Path | None, typer.Option(help="Where the moving image counts.")] = None,
    record_paths: Annotated[
        bool, typer.Option("--record-paths", help="Write the inputs' paths to report.json.")
    ] = False,
    force: Force = False,
    threads: Threads = None,
    seed: Seed = 0,
    device: Device = None,
):
    """Register one pair and write images, transforms and a report."""
    _choice("--transform", transform, ("linear", "deformable", "both"))
    _choice("--interpolation", interpolation, ("linear", "cubic"))
    from tfreg.workflows.register import register_files

    result = register_files(
        fixed,
        moving,
        out,
        model=None if model == "none" else model,
        refine=refine,
        preset=preset,
        similarity=similarity,
        smoothness=smoothness,
        check=check,
        init=init,
        transform=transform,
        interpolation=interpolation,
        background=background,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_points=fixed_points,
        moving_points=moving_points,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        seed=seed,
        threads=threads,
        device=device,
        record_paths=record_paths,
        force=force,
    )
    for text in result.report["warnings"]:
        print(f"tfreg: warning: {text}", file=sys.stderr)
    for stage, entry in result.report["metrics"].items():
        figures = [f"correlation {entry['correlation']:.3f}"]
        if "mean_dice" in entry:
            figures.append(f"Dice {entry['mean_dice']:.3f}")
        if "landmarks" in entry:
            figures.append(f"TRE {entry['landmarks']['mean_mm']:.2f} mm")
        print(f"{stage.replace('_', ' ')}: {', '.join(figures)}")
    print(f"verdict: {'; '.join([result.report['verdict'], *result.report['reasons']])}")
    print(f"look at {out / 'report.png'}")


@app.command()
def warp(
    transform: Annotated[Path, typer.Option(help="A result folder, or its transform.npz.")],
    input: Annotated[
        list[Path], typer.Option(help="Image, labels or landmarks (.csv) of the moving side; may be repeated.")
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
    from tfreg.workflows.warp import warp_files

    for path in warp_files(
        transform,
        input,
        out,
        inverse=inverse,
        interpolation=interpolation,
        reference=reference,
        background=background,
        force=force,
    ):
        print(path)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="What `tfreg register` or `tfreg evaluate` wrote.", metavar="DIR")],
    out: Annotated[
        Path | None, typer.Option(help="Page to write (.html); without it, report.html in the folder.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Picture for print to write (.png, .pdf or .svg).")] = None,
    force: Force = False,
):
    """Write a page to look at: of a registered pair, or of an evaluation."""
    from tfreg.workflows.report import write_report

    for path in write_report(folder, out, figure, force):
        print(path)


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
    from tfreg.workflows.train import train as train_run

    report = train_run(
        load_config(config, overrides or ()), data, run, threads=threads, device=device, several_gpus=several_gpus
    )
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
    from tfreg.workflows.evaluate import evaluate as evaluate_pairs
    from tfreg.workflows.evaluation_results import TABLES

    summary = evaluate_pairs(
        data,
        out,
        models=model or (),
        refine=refine,
        refine_models=refine_models,
        transforms=_names(transforms),
        baselines=_names(baselines),
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
    if failures:
        print(f"tfreg: warning: {failures} registrations failed; they are listed in {out / TABLES}", file=sys.stderr)
    print(f"look at {out / TABLES}")


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="A run folder, or a .keras file in one.")],
    out: Annotated[Path, typer.Option(help="The model's folder; versions are numbered folders in it.")] = Path(
        "export/models/tfreg"
    ),
    shape: Annotated[
        list[str] | None, typer.Option(help="Size to warm up with, such as 64x192x192; may be repeated.")
    ] = None,
    onednn: Annotated[bool, typer.Option("--onednn", help="Faster convolutions that need oneDNN on the CPU.")] = False,
    max_voxels: Annotated[int, typer.Option(help="Requests for larger volumes are refused.")] = 16_000_000,
    threads: Threads = None,
    device: Device = None,
):
    """Write a run as the next version of a SavedModel for TensorFlow Serving."""
    shapes = [_size(text) for text in shape or ()]
    from tfreg.native_output import silenced

    with silenced():
        from tfreg.serving.export import export_run

    folder, manifest = export_run(run, out, shapes, onednn, max_voxels, threads, device)
    differences = ", ".join(f"{name} {value:.1e}" for name, value in manifest["largest_difference"].items())
    print(f"in a process without tfreg the answers differ by at most: {differences}")
    print(folder)


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
    from tfreg.workflows.simulate import simulate as simulate_cohort

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


def _choice(option, value, choices):
    if value not in choices:
        raise UserError(f"{option} {value}: choose {', '.join(choices)}")


def _names(text):
    """The names in a comma-separated list."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _size(text):
    """Three sizes from a text such as 64x192x192."""
    sizes = text.lower().split("x")
    if len(sizes) != 3 or not all(size.isdigit() for size in sizes):
        raise UserError(f"--shape {text}: give three sizes, such as 64x192x192")
    return tuple(int(size) for size in sizes)


def _show_warning(message, category, *_):
    if issubclass(category, InputWarning):
        print(f"tfreg: warning: {message}", file=sys.stderr)


def main():
    """Runs the command line; bad input ends with one line on standard error and exit code 2."""
    warnings.showwarning = _show_warning
    try:
        app()
    except UserError as error:
        print(f"tfreg: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
