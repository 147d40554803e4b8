"""Commands in processes of their own, which end where the process that waits for them does."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from tfreg.runtime.memory import peak_mb

# Of Linux' prctl: the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.01


def run_child(command: Sequence[str], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """Runs a command to its end.

    It is killed where this function is left by an exception, and on Linux where this process ends, however it ends.

    Args:
        command: Program and arguments.
        environment: What is changed in the environment.

    Returns:
        Its seconds, and its largest memory in MB.

    Raises:
        ChildProcessError: If it fails; says the last line that it wrote.
    """
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*map(str, command)],
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            preexec_fn=_end_with(os.getpid()),
        )
        try:
            ended, peak = 0, 0.0
            while not ended:
                peak = max(peak, peak_mb(process.pid))
                ended, status, usage = os.wait4(process.pid, os.WNOHANG)
                if not ended:
                    time.sleep(POLL_SECONDS)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            raise ChildProcessError(lines[-1] if lines else f"exit code {process.returncode}")
    return seconds, peak or usage.ru_maxrss / 2**10


def _end_with(parent):
    """What a child does before its program starts: asks to be killed when its parent ends; None where it cannot."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask():
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # which has ended before it was asked
            os._exit(1)

    return ask
