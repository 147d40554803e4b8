"""Functions that are compiled once for all pairs, ahead of their turn."""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from tfreg.runtime.threads import in_context, thread_count

# Functions that are kept: of all pairs of any size, and of the levels of some that are large.
MAX_KEPT = 12


class CompilableFunction(Protocol):
    """A function without a memory, which can be compiled before it has something to do."""

    def compile_ahead(self) -> None:
        """Runs it once, for which it is traced and compiled."""


class CompiledFunctions:
    """What a function builds for its arguments, kept for the next pair; the latest used stay.

    Args:
        build: Takes hashable arguments and returns a `CompilableFunction`.
        surroundings: Tells what else a new one depends on, something hashable.
    """

    def __init__(
        self, build: Callable[..., CompilableFunction], surroundings: Callable[[], Hashable] = lambda: None
    ) -> None:
        self._build, self._surroundings = build, surroundings
        self._kept: dict[Hashable, CompilableFunction] = {}  # the latest used last
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def compiler(self) -> Iterator["Compiler"]:
        """What compiles the functions of one pair, from one thread; what it has not begun at the end is dropped."""
        # One thread, because TensorFlow's own threads wait for the compiler, and there may be two of them.
        pool = ThreadPoolExecutor(1)
        try:
            yield Compiler(self, pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def key(self, arguments: tuple, options: dict[str, Hashable]) -> Hashable:
        """What a function is looked up by: the arguments of `build`, and the surroundings."""
        return arguments, tuple(sorted(options.items())), self._surroundings()

    def kept(self, key: Hashable) -> CompilableFunction | None:
        """A function that was built before, or None."""
        with self._lock:
            function = self._kept.pop(key, None)
            if function is not None:
                self._kept[key] = function
        return function

    def new(self, key: Hashable) -> CompilableFunction:
        """Builds a function; of two that are built at the same time, the one that is there first is kept."""
        arguments, options, _ = key
        function = self._build(*arguments, **dict(options))
        with self._lock:
            function = self._kept.setdefault(key, function)
            for oldest in list(self._kept)[:-MAX_KEPT]:
                del self._kept[oldest]
        return function


class Compiler:
    """The functions of one pair; for one thread.

    Args:
        owner: The `CompiledFunctions` that they are from.
        pool: A `ThreadPoolExecutor` of one thread, which compiles them ahead.
    """

    def __init__(self, owner: CompiledFunctions, pool: ThreadPoolExecutor) -> None:
        self._owner, self._pool = owner, pool
        self._futures: dict[Hashable, Future] = {}

    def __call__(self, *arguments: Hashable, **options: Hashable) -> Any:
        """The function for these arguments; waits for the thread that is compiling it.

        Args:
            arguments, options: What `build` takes.
        """
        key = self._owner.key(arguments, options)
        future = self._futures.pop(key, None)
        # One that the thread has not begun yet is built here, before those that stand in front of it.
        if future is not None and not future.cancel():
            return future.result()
        return self._owner.kept(key) or self._owner.new(key)

    def ahead(self, *arguments: Hashable, **options: Hashable) -> None:
        """Has a function compiled by the other thread, where none is kept and more threads than one are allowed.

        Args:
            arguments, options: What `build` takes.
        """
        key = self._owner.key(arguments, options)
        if key not in self._futures and thread_count() > 1 and self._owner.kept(key) is None:
            self._futures[key] = self._pool.submit(in_context(self._compiled), key)

    def _compiled(self, key):
        function = self._owner.new(key)
        function.compile_ahead()
        return function
