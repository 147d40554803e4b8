"""Commands that tell healthy from ill by deformations."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.options import Device, Force, Threads
from tfreg.errors import WorkError

app = typer.Typer()
verbs = typer.Typer(no_args_is_help=True)
app.add_typer(verbs, name="classify", help="Tell healthy from ill by the residual deformation. Not a medical device.")

Data = Annotated[Path, typer.Option(help="Subjects manifest (CSV) with two phases of each subject.")]
Config = Annotated[Path, typer.Argument(help="YAML config, such as configs/classify_chest.yaml.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, such as network.epochs=50.")]
Classifier = Annotated[Path, typer.Argument(help="A folder that `tfreg classify train` wrote.")]
Cache = Annotated[Path, typer.Option(help="Folder that keeps deformations by the content of their images.")]
Split = Annotated[str | None, typer.Option(help="Only subjects of this split.")]
Workers = Annotated[int, typer.Option(help="Processes that register side by side.")]
Model = Annotated[Path | None, typer.Option(help="The registration network, if it does not lie where it did.")]
KEPT = Path("runs/deformations")


@verbs.command("register")
def register(
    config: Config,
    overrides: Overrides = None,
    data: Data = ...,
    deformations: Cache = KEPT,
    split: Split = None,
    workers: Workers = 1,
    threads: Threads = None,
    device: Device = None,
):
    """Register a whole table of subjects to residual deformations; the other commands do it where it is missing."""
    from tfreg.classification.classify import read_cohort
    from tfreg.config import Classification, load_config

    cohort = read_cohort(
        load_config(config, overrides or (), section=Classification),
        data,
        deformations,
        split=split,
        least=0,
        workers=workers,
        threads=threads,
        device=device,
    )
    print(f"{deformations}: {len(cohort.registered)} deformations, {len(cohort.to_review)} of them to be reviewed")
    _end(cohort.failures, len(cohort.registered))


@verbs.command("train")
def train(
    config: Config,
    overrides: Overrides = None,
    data: Data = ...,
    out: Annotated[Path, typer.Option(help="Folder for the classifier.")] = ...,
    deformations: Cache = KEPT,
    split: Split = None,
    workers: Workers = 1,
    force: Force = False,
    threads: Threads = None,
    device: Device = None,
):
    """Train the paper's classifier, and the regression that it must beat."""
    from tfreg.classification.classify import train_classifier
    from tfreg.config import Classification, load_config

    report = train_classifier(
        load_config(config, overrides or (), section=Classification),
        data,
        out,
        deformations,
        split=split,
        workers=workers,
        threads=threads,
        device=device,
        force=force,
    )
    for name, found in report["held_out"].items():
        print(f"{name}, subjects held out: accuracy {found['accuracy']:.3f}, AUC {found['auc']:.3f}")
    healthy, ill = report["subjects"]["healthy"], report["subjects"]["ill"]
    print(f"{out}: trained on {healthy} healthy and {ill} ill subjects")
    _end(report["failures"], healthy + ill)


@verbs.command("evaluate")
def evaluate(
    source: Annotated[Path, typer.Argument(help="A config, to cross-validate; or a trained classifier, to test.")],
    overrides: Overrides = None,
    data: Data = ...,
    out: Annotated[Path, typer.Option(help="Folder for tables, predictions and the picture.")] = ...,
    deformations: Cache = KEPT,
    split: Split = None,
    shuffled: Annotated[bool, typer.Option("--shuffled", help="Control: shuffle the groups among subjects.")] = False,
    model: Model = None,
    workers: Workers = 1,
    force: Force = False,
    threads: Threads = None,
    device: Device = None,
):
    """Judge networks and regression on subjects that they have not seen."""
    from tfreg.classification.classify import PICTURE, TABLES, evaluate_classifier

    summary = evaluate_classifier(
        source,
        data,
        out,
        deformations,
        overrides=overrides or (),
        model=model,
        shuffled=shuffled,
        split=split,
        workers=workers,
        threads=threads,
        device=device,
        force=force,
    )
    print((out / TABLES).read_text(encoding="utf-8"))
    print(f"look at {out / PICTURE}")
    _end(summary["failures"], next(iter(summary["methods"].values()))["subjects"])


@verbs.command("predict")
def predict(
    classifier: Classifier,
    data: Data = ...,
    out: Annotated[Path, typer.Option(help="CSV file for the probabilities.")] = ...,
    deformations: Cache = KEPT,
    split: Split = None,
    model: Model = None,
    workers: Workers = 1,
    force: Force = False,
    threads: Threads = None,
    device: Device = None,
):
    """Tell for every subject of a table how probably it is ill."""
    from tfreg.classification.classify import predict_health

    rows = predict_health(
        classifier,
        data,
        out,
        deformations,
        model=model,
        split=split,
        workers=workers,
        threads=threads,
        device=device,
        force=force,
    )
    failures = {row["subject"]: row["error"] for row in rows if row["error"]}
    ill, known = sum(row["health"] == "ill" for row in rows), len(rows) - len(failures)
    print(f"{out}: {known} of {len(rows)} subjects, {ill} called ill")
    _end(failures, known)


def _end(failures, done):
    """Tells which subjects were left out, and ends with exit code 1 where there are any."""
    for subject, error in failures.items():
        print(f"tfreg: warning: {subject} was left out: {error}", file=sys.stderr)
    if failures:
        raise WorkError(f"{len(failures)} of {len(failures) + done} registrations failed; the result is of the others")
