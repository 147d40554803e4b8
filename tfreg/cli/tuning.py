"""The command that searches the values of a config."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from tfreg.cli.option_groups import Fields, grouped
from tfreg.cli.options import Force
from tfreg.config import Processing, TuningOptions

app = typer.Typer()
HELPS = {
    "workers": "Trials side by side.",
    "threads": "CPU threads of each trial.",
    "seed": "Seed of the draws; the trainings have the config's.",
}


@app.command()
@grouped
def tune(
    config: Annotated[Path, typer.Argument(help="YAML config; its `search:` block names keys and values.")],
    data: Annotated[Path, typer.Option(help="Subjects manifest (CSV).")],
    out: Annotated[Path, typer.Option(help="Folder of the search; an interrupted one goes on.")],
    options: TuningOptions,
    machine: Annotated[Processing, Fields(helps=HELPS)],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, such as training.epochs=20.")] = None,
    force: Force = False,
) -> None:
    """Search alpha and beta, or any keys, for the best trained network; an interrupted search goes on."""
    from tfreg.config import load_config
    from tfreg.runtime.progress import ProgressBar
    from tfreg.runtime.resources import Resources
    from tfreg.tuning.results import BEST, PICTURE, TEXT
    from tfreg.tuning.tune import Origin
    from tfreg.tuning.tune import tune as search

    given = {f"--{name}": value for name, value in options} | {"--seed": machine.seed}
    given = {"--data": data.name, "--out": out.name, **{k: v for k, v in given.items() if v is not None}}
    words = [config.name, *(overrides or ()), *(str(word) for option in given.items() for word in option)]
    result = search(
        load_config(config, overrides or ()),
        data,
        out,
        options,
        Resources(**dict(machine)),
        force,
        Origin(str(config), shlex.join(["tfreg", "tune", *words])),
        ProgressBar(),
    )
    if result.best is None:
        print("this process has run its trials; the chief writes the results")
        return
    print((out / TEXT).read_text(encoding="utf-8"))
    failed = sum(row.status == "failed" for row in result.trials)
    if failed:
        print(f"tfreg: warning: {failed} of {len(result.trials)} trials failed; see {out / TEXT}", file=sys.stderr)
    print(f"train with {out / BEST}")
    print(f"look at {out / PICTURE}")
