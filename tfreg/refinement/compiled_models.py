"""Models that are compiled once for all pairs of a shape, and ahead of their turn."""

import contextlib
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor

# Models kept: the levels of two shapes.
KEPT = 8


class CompiledModels:
    """The models that a function builds, by its arguments; the latest used are kept.

    Args:
        build: Takes hashable arguments and returns a model that can be trained; for `ahead` it has a method
            `blank_pair`, which gives what the model is called with.
    """

    def __init__(self, build):
        self._build = build
        self._models = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, *arguments, **options):
        """The model for these arguments; waits for the thread that is compiling it.

        Args:
            arguments, options: What `build` takes.

        Returns:
            The model; its weights and its optimizer are those of its last use.
        """
        key = _key(arguments, options)
        with self._lock:
            future = self._models.get(key)
            # One that no thread has begun yet is built here, before those that stand in front of it.
            builds = future is None or future.cancel()
            if builds:
                future = self._models[key] = Future()
                future.set_running_or_notify_cancel()
            self._used(key)
        if builds:
            try:
                future.set_result(self._built(key))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def ahead(self, pool, *arguments, **options):
        """Has the model built by a thread that takes its first step too, for which it is traced and compiled.

        Args:
            pool: A `ThreadPoolExecutor`.
            arguments, options: What `build` takes.
        """
        key = _key(arguments, options)
        with self._lock:
            if key not in self._models or self._models[key].cancelled():
                self._models[key] = pool.submit(self._built, key, step=True)
            self._used(key)

    def _built(self, key, step=False):
        """A new model, after a step where asked for; one that fails is tried afresh next time."""
        arguments, options = key
        try:
            model = self._build(*arguments, **dict(options))
            if step:
                model.train_on_batch(model.blank_pair())
        except BaseException:
            with self._lock:
                self._models.pop(key, None)
            raise
        return model

    def _used(self, key):
        """Makes a model the latest used, and forgets the one that was not used for the longest time."""
        self._models.move_to_end(key)
        if len(self._models) > KEPT:
            self._models.popitem(last=False)


def _key(arguments, options):
    return arguments, tuple(sorted(options.items()))


@contextlib.contextmanager
def compiling_ahead():
    """A pool of one thread for `CompiledModels.ahead`; what it has not begun at the end is dropped.

    One, because TensorFlow's own threads wait for the compiler, and there may be two of them.
    """
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
