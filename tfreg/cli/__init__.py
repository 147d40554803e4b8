"""The command line: one thin handler a verb, heavy imports inside."""

import atexit
import contextlib
import errno
import os
import sys
import warnings
from typing import Annotated

import typer

from tfreg import __version__
from tfreg.cli import classification, cohorts, pairs, serving, tuning
from tfreg.errors import InputWarning, UserError

# What the system says of a path that is too long, or lies where the user may not look.
UNUSABLE = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EILSEQ)

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
    """Runs the command line; bad input ends with one line on standard error and exit code 2."""
    warnings.showwarning = _show_warning
    # A file's name need not be text in the terminal's encoding, and must not stop a command that is done.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except UserError as error:
        print(f"tfreg: error: {error}", file=sys.stderr)
        sys.exit(2)
    except UnicodeEncodeError as error:
        # A name in bytes that are no text, given to a library that needs text.
        if error.reason != "surrogates not allowed":
            raise
        print(f"tfreg: error: {UserError(f'{error.object}: is not UTF-8; rename the file or folder')}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # Of paths that the system cannot even look at; whatever else fails is no fault of the user's.
        if error.filename is None or error.errno not in UNUSABLE:
            raise
        print(f"tfreg: error: {UserError(f'{error.filename}: {error.strerror}; check the path')}", file=sys.stderr)
        sys.exit(2)


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
