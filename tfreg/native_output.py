"""Keeps what C++ libraries write past Python off the terminal."""

import contextlib
import os
import sys


@contextlib.contextmanager
def silenced():
    """Within this context everything that is written to standard error is dropped; exceptions pass.

    HDF5 prints its whole stack before ITK raises one error, and TensorFlow 2.21 prints a page when it is
    imported, whatever TF_CPP_MIN_LOG_LEVEL says. With TF_CPP_MIN_LOG_LEVEL=0 nothing is dropped.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        kept = os.dup(2)
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
