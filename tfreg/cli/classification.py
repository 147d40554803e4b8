"""Commands that tell healthy from ill by deformations."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.option_groups import Fields, grouped
from tfreg.cli.options import Force
from tfreg.config import JudgementOptions, PredictionOptions, Processing, SubjectOptions
from tfreg.errors import WorkError

app = typer.Typer()
verbs = typer.Typer(no_args_is_help=True)
app.add_typer(verbs, name="classify", help="Tell healthy from ill by the residual deformation. Not a medical device.")

Data = Annotated[Path, typer.Option(help="Subjects manifest (CSV) with two phases of each subject.")]
Config = Annotated[Path, typer.Argument(help="YAML config, such as configs/classify_chest.yaml.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value, such as network.epochs=50.")]
Classifier = Annotated[Path, typer.Argument(help="A folder that `tfreg classify train` wrote.")]
Cache = Annotated[Path, typer.Option(help="Folder that keeps deformations by the content of their images.")]
# The seed is the config's.
Machine = Annotated[Processing, Fields(without=("seed",))]
CACHE = Path("runs/deformations")


@verbs.command("register")
@grouped
def register(
    config: Config,
    data: Data,
    subjects: SubjectOptions,
    machine: Machine,
    overrides: Overrides = None,
    deformations: Cache = CACHE,
) -> None:
    """Register a whole table of subjects to residual deformations; the other commands do it where it is missing."""
    from tfreg.classification.cohort import read_cohort
    from tfreg.config import Classification, load_config

    settings = load_config(config, overrides or (), section=Classification)
    cohort = read_cohort(settings, data, deformations, subjects.split, 0, *_means(machine))
    print(f"{deformations}: {len(cohort.registered)} deformations, {len(cohort.to_review)} of them to be reviewed")
    _end(cohort.failures, len(cohort.registered))


@verbs.command("train")
@grouped
def train(
    config: Config,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the classifier.")],
    subjects: SubjectOptions,
    machine: Machine,
    overrides: Overrides = None,
    deformations: Cache = CACHE,
    force: Force = False,
) -> None:
    """Train the paper's classifier, and the regression that it must beat."""
    from tfreg.classification.train import train_classifier
    from tfreg.config import Classification, load_config

    settings = load_config(config, overrides or (), section=Classification)
    resources, progress = _means(machine)
    report = train_classifier(settings, data, out, deformations, subjects, resources, force, progress)
    for name, metrics in report.held_out.items():
        print(f"{name}, subjects held out: accuracy {metrics.accuracy:.3f}, AUC {metrics.auc:.3f}")
    healthy, ill = report.subjects.healthy, report.subjects.ill
    print(f"{out}: trained on {healthy} healthy and {ill} ill subjects")
    _end(report.failures, healthy + ill)


@verbs.command("evaluate")
@grouped
def evaluate(
    source: Annotated[Path, typer.Argument(help="A config, to cross-validate; or a trained classifier, to test.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for tables, predictions and the picture.")],
    options: JudgementOptions,
    machine: Machine,
    overrides: Overrides = None,
    deformations: Cache = CACHE,
    force: Force = False,
) -> None:
    """Judge networks and regression on subjects that they have not seen."""
    from tfreg.classification.evaluate import PICTURE, TABLES, cross_validate, evaluate_classifier
    from tfreg.config import Classification, load_config

    resources, progress = _means(machine)
    given = (data, out, deformations, options, resources, force, progress)
    if source.is_dir():
        summary = evaluate_classifier(source, *given)
    else:
        summary = cross_validate(load_config(source, overrides or (), section=Classification), *given)
    print((out / TABLES).read_text(encoding="utf-8"))
    print(f"look at {out / PICTURE}")
    _end(summary.failures, next(iter(summary.methods.values())).subjects)


@verbs.command("predict")
@grouped
def predict(
    classifier: Classifier,
    data: Data,
    out: Annotated[Path, typer.Option(help="CSV file for the probabilities.")],
    options: PredictionOptions,
    machine: Machine,
    deformations: Cache = CACHE,
    force: Force = False,
) -> None:
    """Tell for every subject of a table how probably it is ill."""
    from tfreg.classification.predict import predict_health

    resources, progress = _means(machine)
    predictions = predict_health(classifier, data, out, deformations, options, resources, force, progress)
    failures = {one.subject: one.error for one in predictions if one.error}
    ill, judged = sum(one.health == "ill" for one in predictions), len(predictions) - len(failures)
    print(f"{out}: {judged} of {len(predictions)} subjects, {ill} called ill")
    _end(failures, judged)


def _means(machine):
    """The resources of a command, and how it tells of its progress."""
    from tfreg.runtime.progress import ProgressBar
    from tfreg.runtime.resources import Resources

    return Resources(**dict(machine)), ProgressBar()


def _end(failures, done):
    """Tells which subjects were left out, and ends with exit code 1 where there are any."""
    for subject, error in failures.items():
        print(f"tfreg: warning: {subject} was left out: {error}", file=sys.stderr)
    if failures:
        raise WorkError(f"{len(failures)} of {len(failures) + done} registrations failed; the result is of the others")
