"""Keeps what C++ libraries write past Python off the terminal."""

import contextlib
import os
import sys

STDOUT, STDERR = 1, 2


@contextlib.contextmanager
def silenced(*streams):
    """Within this context everything that is written to standard error is dropped; exceptions pass.

    HDF5 prints its whole stack before ITK raises one error, and TensorFlow 2.21 prints a page when it is
    imported, whatever TF_CPP_MIN_LOG_LEVEL says. With TF_CPP_MIN_LOG_LEVEL=0 nothing is dropped.

    Args:
        streams: `STDOUT` and `STDERR`, or one of them; without, standard error.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        for stream in streams or (STDERR,):
            kept = os.dup(stream)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, stream)
            os.dup2(nowhere, stream)
        yield
