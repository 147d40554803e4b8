"""Threads: the parts of a volume side by side; NumPy and SciPy leave Python's lock meanwhile."""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, TypeVar

# Voxels or points done at a time: their temporaries stay in the processor's cache.
PART_SIZE = 2**16

# The CPU time that a container may use in so much time, in microseconds (cgroup v2).
QUOTA = Path("/sys/fs/cgroup/cpu.max")

Result = TypeVar("Result")

_limit: ContextVar[int | None] = ContextVar("threads", default=None)


@contextlib.contextmanager
def limited_threads(threads: int | None) -> Iterator[None]:
    """Within this context work takes no more threads.

    Args:
        threads: The largest number, or None for what holds already.
    """
    token = _limit.set(threads or _limit.get())
    try:
        yield
    finally:
        _limit.reset(token)


def in_context(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function for another thread, where the limits of this one hold."""
    context = copy_context()
    return lambda *arguments: context.copy().run(function, *arguments)


def in_threads(function: Callable[[Any], Result], parts: Iterable[Any]) -> list[Result]:
    """What a function makes of each part.

    Args:
        function: Takes a part.
        parts: Any iterable.

    Returns:
        A list of results, in the parts' order; the first error is raised.
    """
    with ThreadPoolExecutor(thread_count()) as pool:
        return list(pool.map(in_context(function), parts))


def in_slabs(function: Callable[[slice, Any], Result], lattice: Any) -> list[Result]:
    """What a function makes of slabs along the first axis, which together are a lattice.

    Args:
        function: Takes a slice of the first axis, and the world points `(n, j, k, 3)` of its voxels, RAS+ mm.
        lattice: A `Lattice`.

    Returns:
        A list of results, one a slab; the first error is raised.
    """
    size = lattice.shape[0]
    step = max(1, PART_SIZE // (lattice.shape[1] * lattice.shape[2]))

    def done(start):
        stop = min(start + step, size)
        return function(slice(start, stop), lattice.extended((-start, 0, 0), (stop - size, 0, 0)).points())

    return in_threads(done, range(0, size, step))


def thread_count() -> int:
    """As many as `limited_threads` or a person's OMP_NUM_THREADS allow, else one for each CPU that may be used."""
    limit = _limit.get()
    if limit is not None:
        return limit
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    return int(allowed) if allowed.isdecimal() and int(allowed) else usable_cpus()


def usable_cpus() -> int:
    """How many CPUs this process may use, one at least: schedulers and containers leave it few of the machine's."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = QUOTA.read_text(encoding="ascii").split()
        cpus = min(cpus, math.ceil(int(quota) / int(period)))  # "max" for no quota
    return max(cpus, 1)
