"""The command that compares methods on many pairs."""

from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.option_groups import Fields, grouped
from tfreg.cli.options import Force
from tfreg.config import EvaluationOptions, Processing
from tfreg.errors import WorkError

app = typer.Typer()
Comparing = Annotated[EvaluationOptions, Fields(flags={"models": ("--model",), "parts": ("--parts", "--transforms")})]


@app.command()
@grouped
def evaluate(
    data: Annotated[Path, typer.Option(help="Manifest of pairs or of subjects (CSV).")],
    out: Annotated[Path, typer.Option(help="Folder of the evaluation; an interrupted one goes on.")],
    options: Comparing,
    machine: Processing,
    force: Force = False,
) -> None:
    """Compare models, the refinement and classical tools on many pairs: the paper's Tables 1 and 2."""
    from tfreg.evaluation.evaluate import evaluate as evaluate_pairs
    from tfreg.evaluation.results import TABLES
    from tfreg.runtime.progress import ProgressBar
    from tfreg.runtime.resources import Resources

    summary = evaluate_pairs(data, out, options, Resources(**dict(machine)), force, ProgressBar())
    print((out / TABLES).read_text(encoding="utf-8"))
    print(f"look at {out / TABLES}")
    if summary.failures:
        raise WorkError(
            f"{summary.failures} of {summary.failures + summary.measured} registrations failed; {out / TABLES} lists "
            "them, and its means are of the others"
        )
