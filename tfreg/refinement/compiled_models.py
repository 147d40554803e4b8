"""Models that are compiled once for the pairs of a shape, ahead of their turn, and lent to one pair at a time."""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from tfreg.runtime.threads import in_context, thread_count

# Models that wait for the next pair: the levels of two shapes.
MAX_IDLE = 8


class CompilableModel(Protocol):
    """A model that can be compiled before it has something to do."""

    def compile_ahead(self) -> None:
        """Takes a step for which the model is traced and compiled; its weights do not matter afterwards."""


class CompiledModels:
    """The models that a function builds, leased to one pair at a time; the latest used wait for the next one.

    A model's weights are those of the pair that is registered: two pairs at the same time have a model each, also
    where they are of one shape. They share nothing, and none waits for the other.

    Args:
        build: Takes hashable arguments and returns a `CompilableModel`.
        surroundings: Tells what else a new model depends on, something hashable.
    """

    def __init__(
        self, build: Callable[..., CompilableModel], surroundings: Callable[[], Hashable] = lambda: None
    ) -> None:
        self._build, self._surroundings = build, surroundings
        self._idle = []  # (key, model), the latest used last
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def leased(self) -> Iterator["Lease"]:
        """The models of one pair, from one thread; where the context ends they are free for other pairs.

        Models of a pair that failed are dropped.
        """
        with _compiling() as pool:
            lease = Lease(self, pool)
            yield lease
        self._take_back(lease.models())

    def new(self, key: Hashable) -> CompilableModel:
        """A model that no pair has had before."""
        arguments, options, _ = key
        return self._build(*arguments, **dict(options))

    def key(self, arguments: tuple, options: dict[str, Hashable]) -> Hashable:
        """What a model is looked up by: the arguments of `build`, and the surroundings."""
        return arguments, tuple(sorted(options.items())), self._surroundings()

    def idle(self, key: Hashable) -> CompilableModel | None:
        """A model that waits for a pair, which is from now on the caller's, or None."""
        with self._lock:
            for index in reversed(range(len(self._idle))):
                if self._idle[index][0] == key:
                    return self._idle.pop(index)[1]
        return None

    def _take_back(self, models):
        with self._lock:
            self._idle = [*self._idle, *models][-MAX_IDLE:]


class Lease:
    """The models that one pair has for itself; for one thread.

    Args:
        owner: The `CompiledModels` that they are from.
        pool: A `ThreadPoolExecutor` of one thread, which compiles them ahead.
    """

    def __init__(self, owner: CompiledModels, pool: ThreadPoolExecutor) -> None:
        self._owner, self._pool = owner, pool
        self._futures = {}

    def __call__(self, *arguments: Hashable, **options: Hashable) -> Any:
        """The model for these arguments; waits for the thread that is compiling it.

        Args:
            arguments, options: What `build` takes.

        Returns:
            The model; its weights and its optimizer are those of its last use.
        """
        key = self._owner.key(arguments, options)
        future = self._futures.get(key)
        # One that the thread has not begun yet is built here, before those that stand in front of it.
        if future is None or future.cancel():
            future = self._futures[key] = _done(self._owner.idle(key) or self._owner.new(key))
        return future.result()

    def ahead(self, *arguments: Hashable, **options: Hashable) -> None:
        """Has a model compiled by the other thread, where none is idle and more threads than one are allowed.

        Args:
            arguments, options: What `build` takes.
        """
        key = self._owner.key(arguments, options)
        if key in self._futures:
            return
        model = self._owner.idle(key)
        if model is not None:
            self._futures[key] = _done(model)
        elif thread_count() > 1:
            self._futures[key] = self._pool.submit(in_context(self._compiled), key)

    def models(self) -> list[tuple[Hashable, CompilableModel]]:
        """What has been leased, with its keys, the latest asked for last."""
        done = ((key, future) for key, future in self._futures.items() if future.done() and not future.cancelled())
        return [(key, future.result()) for key, future in done if future.exception() is None]

    def _compiled(self, key):
        model = self._owner.new(key)
        model.compile_ahead()
        return model


def _done(model):
    future = Future()
    future.set_result(model)
    return future


@contextlib.contextmanager
def _compiling():
    """A pool of one thread; what it has not begun at the end is dropped.

    One, because TensorFlow's own threads wait for the compiler, and there may be two of them.
    """
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
