"""The process around a command: streams that are closed, full or of another alphabet, and signals that stop it."""

import atexit
import contextlib
import errno
import io
import os
import signal
import sys

# What stops a command: Ctrl-C, a scheduler, a terminal that was closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LastingText(io.TextIOWrapper):
    """A text stream that goes on, into nothing, where its reader has gone or its disk is full.

    What a command computes must not be lost because nobody can be told of it. Characters that the stream's alphabet
    lacks are written as their escapes.

    Args:
        stream: The `io.TextIOWrapper` that it takes the place of.

    Attributes:
        lost: The `OSError` that ended it, or None.
    """

    def __init__(self, stream):
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self.lost = None
        self._replaced = stream  # which would close the file when it is let go of

    def write(self, text):
        """Writes a text, or drops it."""
        try:
            return super().write(text)
        except OSError as error:
            self._go_nowhere(error)
            return len(text)

    def flush(self):
        """Writes what is held back, or drops it."""
        try:
            super().flush()
        except OSError as error:
            self._go_nowhere(error)

    def _go_nowhere(self, error):
        """From now on the stream's file is the null device, for C++ libraries too."""
        self.lost = self.lost or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        super().flush()


def open_streams():
    """Opens what the caller has closed, and makes both outputs last.

    Else the first file that is opened takes the place of a closed standard output, and holds what any library prints.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(open(number, f"{mode}b", closefd=False), encoding="utf-8"))  # noqa: SIM115
        if mode == "w" and isinstance(getattr(sys, name), io.TextIOWrapper):
            setattr(sys, name, LastingText(getattr(sys, name)))


def ignore_warning_options():
    """Lets processes that begin later run with Python's usual warnings: -W error would end them for other packages'."""
    sys.warnoptions.clear()
    os.environ.pop("PYTHONWARNINGS", None)


def lost_output():
    """Why standard output could not be written, one line; None where it could, or where its reader wanted no more."""
    sys.stdout.flush()
    sys.stderr.flush()
    error = getattr(sys.stdout, "lost", None)
    if error is None or error.errno == errno.EPIPE:
        return None
    return f"standard output could not be written ({error.strerror}); what was computed is in place"


class Stops:
    """Turns the signals that stop a command into a KeyboardInterrupt, so that nothing half-written stays behind.

    A second signal ends the process at once. A signal that the caller ignores, as `nohup` does, stays ignored.

    Attributes:
        received: The first one's number, or None.
    """

    def __init__(self):
        self.received = None

    def install(self):
        """Begins to listen; in the main thread."""
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._stop)

    def _stop(self, number, frame):
        self.received = number
        for one in SIGNALS:
            if signal.getsignal(one) == self._stop:
                signal.signal(one, signal.SIG_DFL)
        raise KeyboardInterrupt

    @property
    def name(self):
        """The signal's name, such as SIGTERM."""
        return signal.Signals(self.received).name


def end(code):
    """Ends the process with a code, without the two seconds that TensorFlow takes to clear up behind it."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
