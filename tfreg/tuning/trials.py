"""The trials of a search, each in a process of its own, side by side where asked."""

import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait

from tfreg.errors import UserError, WorkError
from tfreg.runtime.processes import end_of_process
from tfreg.runtime.resources import limit_native_threads
from tfreg.runtime.threads import usable_cpus
from tfreg.tuning.trial import run_trial

# So many failures one after the other are no bad luck with the draws.
MOST_FAILURES = 5
PATIENCE_SECONDS = 1.0  # until the oracle is asked again, where it waits for trials of other processes


def run_trials(oracle, folder, make_task, figure, workers, ended):
    """Runs trials until the oracle has no more.

    A process ends with its trial, and what it took of memory with it. What an interrupted search has finished is not
    run again.

    Args:
        oracle: A `tfreg.tuning.oracle.Oracle`.
        folder: A `SearchFolder`; every outcome is kept there.
        make_task: Called with a trial; returns its `TrialTask`, or raises a `UserError`.
        figure: Name of the figure that is the objective.
        workers: Trials side by side.
        ended: Called without arguments after each trial.

    Raises:
        WorkError: If `MOST_FAILURES` trials fail one after the other.
    """
    from pebble import ProcessPool

    pool = ProcessPool(workers, max_tasks=1, context=multiprocessing.get_context("spawn"))
    idle = [f"{oracle.name}-{number}" for number in range(workers)]
    running, failures = {}, 0
    try:
        while idle or running:
            for worker in list(idle):
                trial, over = oracle.ask(worker)
                if trial is not None:
                    running[_begin(pool, folder, make_task, trial)] = worker, trial
                if trial is not None or over:
                    idle.remove(worker)
            if not running:
                time.sleep(PATIENCE_SECONDS if idle else 0)
                continue
            for future in wait(running, PATIENCE_SECONDS if idle else None, FIRST_COMPLETED).done:
                worker, trial = running.pop(future)
                outcome = _outcome(future)
                folder.keep(trial.trial_id, outcome)
                oracle.tell(trial, outcome.get(figure))
                ended()
                idle.append(worker)
                failures = failures + 1 if "error" in outcome else 0
                if failures == MOST_FAILURES:
                    raise WorkError(
                        f"{folder.folder}: {failures} trials failed one after the other, the last one with: "
                        f"{outcome['error']}; mend that and start anew with --force"
                    )
        pool.close()
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


def limit_processes(workers, threads):
    """Divides the machine among processes that are begun later.

    Args:
        workers: How many there are side by side.
        threads: Of each; None divides the processors.

    Returns:
        The threads of each process, or None for all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if workers > 1:
        threads = threads or max(1, usable_cpus() // workers)
        # Else the first one takes all memory of the GPU.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    limit_native_threads(threads)
    return threads


def _begin(pool, folder, make_task, trial):
    """A future of the trial's outcome, already there for one that has ended or cannot begin."""
    outcome = folder.outcome(trial.trial_id)
    if outcome is None:
        try:
            return pool.schedule(run_trial, args=(make_task(trial),))
        except UserError as error:
            outcome = {"error": str(error)}
    future = Future()
    future.set_result(outcome)
    return future


def _outcome(future):
    """What a trial ended with, even where its process died."""
    from pebble import ProcessExpired

    try:
        return future.result()
    except ProcessExpired as error:
        return {"error": end_of_process(error.exitcode)}
