"""The largest memory of a process."""

import contextlib
import resource
from pathlib import Path


def peak_mb(process: int | None = None) -> float:
    """The largest memory that a running process has had, MB.

    What the system tells of a process that has ended counts from before its program began, when it was a copy of its
    parent; so it is asked before, where it can be.

    Args:
        process: Its number; None for this one.

    Returns:
        A number; 0 of another process where the system does not tell.
    """
    with contextlib.suppress(OSError), open(f"/proc/{process or 'self'}/status", errors="replace") as lines:
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 if process is None else 0.0


def forget_peak() -> None:
    """Starts this process' peak afresh; where Linux does not allow it, it goes on from the start of the process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
