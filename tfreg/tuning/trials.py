"""The trials of a search, each in a process of its own, side by side where asked."""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from tfreg.errors import UserError, WorkError
from tfreg.runtime.processes import process_pool, result_of
from tfreg.runtime.resources import Resources
from tfreg.tuning.outcome import TrialOutcome
from tfreg.tuning.store import SearchFolder
from tfreg.tuning.trial import TrialTask, run_trial

# So many failures one after the other are no bad luck with the draws.
MAX_FAILURES = 5
PATIENCE_SECONDS = 1.0  # until the oracle is asked again, where it waits for trials of other processes


def run_trials(
    oracle: Any,
    folder: SearchFolder,
    make_task: Callable[[Any], TrialTask],
    metric: str,
    resources: Resources,
    ended: Callable[[], None],
) -> None:
    """Runs trials until the oracle has no more.

    A process ends with its trial, and what it took of memory with it. What an interrupted search has finished is not
    run again.

    Args:
        oracle: A `tfreg.tuning.oracle.Oracle`.
        folder: Every outcome is kept there.
        make_task: Called with a trial; returns its task, or raises a `UserError`.
        metric: Name of the metric that is the objective.
        resources: As many trials run side by side as it has workers.
        ended: Called without arguments after each trial.

    Raises:
        WorkError: If `MAX_FAILURES` trials fail one after the other.
    """
    idle = [f"{oracle.name}-{number}" for number in range(resources.workers)]
    running, failures = {}, 0
    with process_pool(resources, tasks_a_process=1) as submit:
        while idle or running:
            for worker in list(idle):
                trial, over = oracle.ask(worker)
                if trial is not None:
                    running[_begin(submit, folder, make_task, trial)] = worker, trial
                if trial is not None or over:
                    idle.remove(worker)
            if not running:
                time.sleep(PATIENCE_SECONDS if idle else 0)
                continue
            for future in wait(running, PATIENCE_SECONDS if idle else None, FIRST_COMPLETED).done:
                worker, trial = running.pop(future)
                outcome = _outcome(future)
                folder.keep(trial.trial_id, outcome)
                oracle.tell(trial, outcome.metric(metric))
                ended()
                idle.append(worker)
                failures = 0 if outcome.error is None else failures + 1
                if failures == MAX_FAILURES:
                    raise WorkError(
                        f"{folder.folder}: {failures} trials failed one after the other, the last one with: "
                        f"{outcome.error}; mend that and start anew with --force"
                    )


def _begin(submit, folder, make_task, trial):
    """A future of the trial's outcome, already there for one that has ended or cannot begin."""
    outcome = folder.outcome(trial.trial_id)
    if outcome is None:
        try:
            return submit(run_trial, make_task(trial))
        except UserError as error:
            outcome = TrialOutcome(error=str(error))
    future = Future()
    future.set_result(outcome)
    return future


def _outcome(future):
    """What a trial ended with, even where its process died."""
    result = result_of(future)
    return result if isinstance(result, TrialOutcome) else TrialOutcome(**result)
