"""Process pools: work in processes of which one may crash without the others."""

import contextlib
import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tfreg.errors import UserError
from tfreg.runtime.resources import Resources, limit_native_threads

# Processes are replaced after this many sizes of fixed images: TensorFlow keeps what it compiled for each of them.
SIZES_A_PROCESS = 10


def in_processes(
    function: Callable[[Any, Resources], Any], batches: Iterable[Sequence[Any]], resources: Resources
) -> Iterator[tuple[Any, Any]]:
    """Calls a function with every task in processes of their own.

    Args:
        function: Called with a task and `resources.of_each_process()`; a function of a module, because the processes
            import it anew.
        batches: Lists of tasks; new processes start with each list.
        resources: Processes side by side, and what each may use.

    Yields:
        (task, result) as they come. Where a process died, the result is a dictionary with `error`, one line;
        exceptions of the function are raised here.
    """
    for batch in batches:
        with process_pool(resources) as submit:
            waiting = {submit(function, task): task for task in batch}
            for future in as_completed(waiting):
                yield waiting[future], result_of(future)


@contextlib.contextmanager
def process_pool(resources: Resources, tasks_a_process: int = 0) -> Iterator[Callable[[Callable, Any], Future]]:
    """Processes side by side; they end at once where their command is stopped or killed.

    Args:
        resources: A `tfreg.runtime.resources.Resources`.
        tasks_a_process: A process is replaced after so many; 0 for never.

    Yields:
        A function that takes a function of a module and a task, calls that with the task and
        `resources.of_each_process()`, and returns a `Future` for `result_of`.
    """
    from pebble import ProcessPool

    each = resources.of_each_process()
    # Spawned, not forked: a fork of a process that holds TensorFlow's threads may hang.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPool(resources.workers, tasks_a_process, initializer=_begin, initargs=(each,), context=spawn)
    try:
        yield lambda function, task: pool.schedule(function, args=(task, each))
        pool.close()
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


def result_of(future: Future) -> Any:
    """What a task gave, or a dictionary with `error`, one line, where its process died."""
    from pebble import ProcessExpired

    try:
        return future.result()
    except ProcessExpired as error:
        return {"error": end_of_process(error.exitcode)}


def _begin(resources):
    """What a process of a pool does first."""
    limit_native_threads(resources.threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if resources.workers > 1:
        # Else the first one takes all memory of the GPU.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    parent = multiprocessing.parent_process()

    def watch():
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_of_process(exit_code: int) -> str:
    """How a process ended that gave no result, in words."""
    if exit_code == -9:
        return "the process was killed by signal 9, as where memory runs out"
    return f"the process ended with exit code {exit_code}"


def batches_by_size(tasks: Iterable[Any]) -> Iterator[list[Any]]:
    """Tasks in lists of few sizes, for `in_processes`.

    Args:
        tasks: A list of objects with `size`, that of the fixed image; those of one size after each other.

    Yields:
        Lists of tasks.
    """
    sizes: set[Any] = set()
    batch: list[Any] = []
    for task in tasks:
        if len(sizes | {task.size}) > SIZES_A_PROCESS:
            yield batch
            sizes, batch = set(), []
        sizes.add(task.size)
        batch.append(task)
    if batch:
        yield batch


@functools.lru_cache(maxsize=1)
def set_up_once(resources: Resources) -> None:
    """`Resources.set_up` in a process that does many tasks."""
    resources.set_up()


def error_text(error: BaseException, files: object, folders: Iterable[str | Path] = ()) -> str:
    """One line on what went wrong, with the names of files but not their folders.

    Args:
        error: An exception.
        files: An object some of whose attributes are `Path`s, such as a pair.
        folders: More folders that are not named.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    for path in (value for value in vars(files).values() if isinstance(value, Path)):
        text = text.replace(str(path), path.name)
    for folder in folders:
        text = text.replace(f"{folder}/", "")
    return text[:400] if isinstance(error, UserError) else f"{type(error).__name__}: {text[:400]}"
