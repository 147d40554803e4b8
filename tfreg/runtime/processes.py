"""Work in processes of which one may crash without the others."""

import functools
import multiprocessing
import os
from concurrent.futures import as_completed
from pathlib import Path

from tfreg.errors import UserError
from tfreg.runtime.resources import limit_native_threads

# Processes are replaced after this many sizes of fixed images: TensorFlow keeps what it compiled for each of them.
SIZES_A_PROCESS = 10


def in_processes(function, batches, resources, workers):
    """Calls a function with every task in processes of their own.

    Args:
        function: Called with a task and `resources`; a function of a module, because the processes import it anew.
        batches: Iterable of lists of tasks; new processes start with each list.
        resources: A `tfreg.runtime.resources.Resources`.
        workers: Processes side by side.

    Yields:
        (task, result) as they come. Where a process died, the result is a dictionary with `error`, one line;
        exceptions of the function are raised here.
    """
    from pebble import ProcessExpired, ProcessPool

    limit_native_threads(resources.threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for batch in batches:
        pool = ProcessPool(workers, context=multiprocessing.get_context("spawn"))
        try:
            waiting = {pool.schedule(function, args=(task, resources)): task for task in batch}
            for future in as_completed(waiting):
                try:
                    result = future.result()
                except ProcessExpired as error:
                    result = {"error": end_of_process(error.exitcode)}
                yield waiting[future], result
            pool.close()
        except BaseException:
            pool.stop()
            raise
        finally:
            pool.join()


def end_of_process(exit_code):
    """How a process ended that gave no result, in words."""
    if exit_code == -9:
        return "the process was killed by signal 9, as where memory runs out"
    return f"the process ended with exit code {exit_code}"


def batches_by_size(tasks):
    """Tasks in lists of few sizes, for `in_processes`.

    Args:
        tasks: A list of objects with `size`, that of the fixed image; those of one size after each other.

    Yields:
        Lists of tasks.
    """
    sizes, batch = set(), []
    for task in tasks:
        if len(sizes | {task.size}) > SIZES_A_PROCESS:
            yield batch
            sizes, batch = set(), []
        sizes.add(task.size)
        batch.append(task)
    if batch:
        yield batch


@functools.lru_cache(maxsize=1)
def set_up_once(resources):
    """`Resources.set_up` in a process that does many tasks."""
    resources.set_up()


def error_text(error, pair):
    """One line on what went wrong, with the names of the pair's files but not their folders."""
    text = " ".join(str(error).split()) or type(error).__name__
    for path in (value for value in vars(pair).values() if isinstance(value, Path)):
        text = text.replace(str(path), path.name)
    return text[:400] if isinstance(error, UserError) else f"{type(error).__name__}: {text[:400]}"
