"""The command line: one thin handler a verb, heavy imports inside."""

import atexit
import contextlib
import os
import sys
import warnings
from typing import Annotated

import typer

from tfreg import __version__
from tfreg.cli import classification, cohorts, pairs, serving, tuning
from tfreg.errors import InputWarning, UserError

app = typer.Typer(
    name="tfreg",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Registers 3D medical volumes: linear and deformable part in one forward pass. Not a medical device.",
)
for commands in (pairs, cohorts, classification, tuning, serving):
    app.add_typer(commands.app)


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


def _show_warning(message, category, *_):
    if issubclass(category, InputWarning):
        print(f"tfreg: warning: {message}", file=sys.stderr)


def main():
    """Runs the command line; bad input ends with one line on standard error and exit code 2, failed work with 1."""
    warnings.showwarning = _show_warning
    try:
        app()
    except UserError as error:
        print(f"tfreg: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)


def run():
    """The command `tfreg`: `main`, without the two seconds that TensorFlow takes to clear up behind it."""
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    if "tensorflow" not in sys.modules or not isinstance(code, int | None):
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code or 0)
