"""The command line: one thin handler a verb, heavy imports inside."""

import errno
import sys
import warnings
from typing import Annotated

import typer

from tfreg import __version__
from tfreg.cli import classification, evaluation, registration, report, serving, simulation, training, tuning
from tfreg.cli.process import Stops, end, ignore_warning_options, lost_output, open_streams
from tfreg.errors import InputWarning, UserError

app = typer.Typer(
    name="tfreg",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Registers 3D medical volumes: linear and deformable part in one forward pass. Not a medical device.",
)
for commands in (registration, report, training, evaluation, simulation, classification, tuning, serving):
    app.add_typer(commands.app)


def _version(asked: bool) -> None:
    if asked:
        print(f"tfreg {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


# What the system says of a path that is too long, or lies where the user may not look.
_UNUSABLE = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EILSEQ)
# What a machine lacks, and what to do about it; other errors of the system are told in full, as faults of ours.
_CURES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.EROFS: "choose a place that may be written to",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs, or raise the machine's limit of open files",
    errno.ENOMEM: "close other programs, use smaller volumes, or --device cpu",
}
_OUT_OF_MEMORY = ("ResourceExhaustedError",)  # TensorFlow's, which is not loaded here


def _show_warning(message, category, *_):
    if issubclass(category, InputWarning):
        print(f"tfreg: warning: {message}", file=sys.stderr)


def main():
    """Runs the command line; bad input ends with one line on standard error and exit code 2, failed work with 1."""
    with warnings.catch_warnings():
        # Of Python's warnings a person sees those on the input, whatever -W and PYTHONWARNINGS say.
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", InputWarning)
        warnings.showwarning = _show_warning
        # A file's name need not be text in the terminal's encoding, and must not stop a command that is done.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            app()
        except UserError as error:
            _refuse(error, error.exit_code)
        except UnicodeEncodeError as error:
            # A name in bytes that are no text, given to a library that needs text.
            if error.reason != "surrogates not allowed":
                raise
            _refuse(f"{error.object}: is not UTF-8; rename the file or folder")
        except OSError as error:
            if "usable temporary directory" in str(error):
                _refuse("there is no folder for temporary files; set TMPDIR to one that may be written to")
            if error.errno in _UNUSABLE and error.filename is not None:
                _refuse(f"{error.filename}: {error.strerror}; check the path")
            if error.errno not in _CURES:
                raise
            _refuse(f"{error.filename or 'the system'}: {error.strerror}; {_CURES[error.errno]}")
        except Exception as error:
            if not isinstance(error, MemoryError) and type(error).__name__ not in _OUT_OF_MEMORY:
                raise
            reason = next(iter(str(error).strip().splitlines()), "no more is given")
            _refuse(f"not enough memory ({reason[:200]}); {_CURES[errno.ENOMEM]}")


def _refuse(reason, code=UserError.exit_code):
    print(f"tfreg: error: {UserError(str(reason))}", file=sys.stderr)
    sys.exit(code)


def run():
    """The command `tfreg`: `main` in a process of its own, which ends in one line whatever stops it."""
    open_streams()
    ignore_warning_options()
    stops = Stops()
    stops.install()
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        # What a signal breaks off can fail in any way.
        if stops.received is None:
            raise
        code = 1
    if stops.received is not None and code:
        print(f"tfreg: stopped by {stops.name}", file=sys.stderr)
        code = 128 + stops.received
    lost = lost_output()
    if lost is not None and not code:
        print(f"tfreg: error: {lost}", file=sys.stderr)
        code = 1
    if "tensorflow" not in sys.modules or not isinstance(code, int | None):
        sys.exit(code)
    end(code or 0)
