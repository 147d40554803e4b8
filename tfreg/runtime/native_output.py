"""Keeps what C++ libraries write past Python off the terminal."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

STDOUT, STDERR = 1, 2

_lock = threading.Lock()
_dropped: dict = {}  # {stream: [how many contexts drop it, a copy of where it led before]}


@contextlib.contextmanager
def silenced(*streams: int) -> Iterator[None]:
    """Within this context everything that is written to standard error is dropped; exceptions pass.

    HDF5 prints its whole stack before ITK raises one error, and TensorFlow 2.21 prints a page when it is
    imported, whatever TF_CPP_MIN_LOG_LEVEL says. With TF_CPP_MIN_LOG_LEVEL=0 nothing is dropped. Streams belong to
    the whole process: one stays dropped until the last thread has left its context.

    Args:
        streams: `STDOUT` and `STDERR`, or one of them; without, standard error.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    with contextlib.ExitStack() as stack:
        for stream in streams or (STDERR,):
            _drop(stream)
            stack.callback(_restore, stream)
        yield


def _drop(stream):
    with _lock:
        if stream in _dropped:
            _dropped[stream][0] += 1
            return
        _flush()
        try:
            copy = os.dup(stream)
        except OSError:
            copy = None  # it was closed before
        else:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)
        _dropped[stream] = [1, copy]


def _restore(stream):
    with _lock:
        _dropped[stream][0] -= 1
        if _dropped[stream][0]:
            return
        _flush()
        _, copy = _dropped.pop(stream)
        if copy is not None:
            os.dup2(copy, stream)
            os.close(copy)


def _flush():
    """Writes what Python holds back; a stream may be absent, closed, or lead nowhere."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
