"""Keras Tuner's oracles, which choose the next trial, with a memory that survives a kill."""

import contextlib
import io
import json
import os
import sys
import warnings
from pathlib import Path

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus

from tfreg.errors import UserError
from tfreg.io.folders.whole_file import whole_file
from tfreg.tuning.objectives import Objective

PROJECT = "search"


class _OneFile:
    """Keeps an oracle and all its trials in one file, which is replaced whole.

    Keras Tuner writes oracle and trials into separate files, in place: a kill between two of them leaves trials that
    nobody runs, one within them a search that cannot be loaded. A trial that was running is handed out again first.
    """

    def save(self):
        state = {"oracle": self.get_state(), "trials": [trial.get_state() for trial in self.trials.values()]}
        with whole_file(self._file, durable=True) as partial:
            partial.write_text(json.dumps(state), encoding="utf-8")

    def reload(self):
        try:
            state = json.loads(self._file.read_text(encoding="utf-8"))
            trials = [Trial.from_state(trial) for trial in state["trials"]]
            self.trials = {trial.trial_id: trial for trial in trials}
            self.set_state(state["oracle"])
        # Whatever a damaged file makes Keras Tuner raise, the file is what is wrong.
        except Exception as error:
            raise UserError(f"{self._file}: is damaged; start anew with --force") from error
        self._retry_queue = [trial.trial_id for trial in self.ongoing_trials.values()][::-1]
        self.ongoing_trials = {}

    @property
    def _file(self):
        return Path(self._get_oracle_fname())


class _Random(_OneFile, keras_tuner.oracles.RandomSearchOracle):
    pass


class _Bayesian(_OneFile, keras_tuner.oracles.BayesianOptimizationOracle):
    pass


class _Hyperband(_OneFile, keras_tuner.oracles.HyperbandOracle):
    pass


class Oracle:
    """What chooses the trials of a search: Keras Tuner's, in this process or, over gRPC, in its chief's.

    Args:
        tuner: "random", "bayesian" or "hyperband".
        space: What may be drawn.
        objective: What is made as good as possible.
        folder: Of the search; what it knows from before is loaded.
        seed: Of the draws.
        trials: How many there are; None for Hyperband, whose trials follow from `epochs`.
        epochs: The largest number of epochs of a trial.
    """

    def __init__(
        self,
        tuner: str,
        space: keras_tuner.HyperParameters,
        objective: Objective,
        folder: Path,
        seed: int,
        trials: int | None,
        epochs: int,
    ) -> None:
        options = {
            "objective": keras_tuner.Objective(objective.metric, objective.direction),
            "hyperparameters": space,
            "allow_new_entries": False,
            "tune_new_entries": False,
            "seed": seed + 1,  # Keras Tuner takes 0 for none
            "max_consecutive_failed_trials": sys.maxsize,  # raises before it saves; `tune` counts them
        }
        if tuner == "hyperband":
            oracle = _Hyperband(max_epochs=epochs, **options)
        else:
            oracle = {"random": _Random, "bayesian": _Bayesian}[tuner](max_trials=trials, **options)
        oracle.verbose = 0
        with contextlib.redirect_stdout(io.StringIO()):  # "Reloading Tuner from"
            self._tuner = BaseTuner(oracle, directory=str(folder), project_name=PROJECT)
        self._objective, self.max_trials = objective, trials
        if not self.is_remote:
            self._tuner.save()

    @property
    def name(self) -> str:
        """What this process calls itself towards the oracle."""
        return self._tuner.tuner_id

    @property
    def is_chief(self) -> bool:
        """Whether this process answers others, which run the trials."""
        return "KERASTUNER_ORACLE_IP" in os.environ and "chief" in self.name

    @property
    def is_remote(self) -> bool:
        """Whether another process, the chief, chooses the trials and keeps their results."""
        return "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in self.name

    @property
    def trials(self) -> list[Trial]:
        """All trials so far, in the order in which they were begun."""
        return list(self._tuner.oracle.trials.values())

    def answer(self) -> None:
        """As the chief: answers the other processes until none has a trial left."""
        with _without_warnings():
            self._tuner.search(verbose=0)

    def ask(self, worker: str) -> tuple[Trial | None, bool]:
        """Asks for the next trial of a worker.

        Args:
            worker: Its name.

        Returns:
            A trial, or None if there is none now, and whether there will be none any more.
        """
        with _without_warnings():
            trial = self._tuner.oracle.create_trial(worker)
        runs = trial.status == TrialStatus.RUNNING
        return (trial if runs else None), trial.status == TrialStatus.STOPPED

    def tell(self, trial: Trial, value: float | None) -> None:
        """Tells the result of a trial.

        Args:
            trial: From `ask`.
            value: The objective, or None if the trial failed.
        """
        with _without_warnings():
            if value is None:
                trial.status = TrialStatus.FAILED
            else:
                self._tuner.oracle.update_trial(trial.trial_id, {self._objective.metric: value})
                trial.status = TrialStatus.COMPLETED
            self._tuner.oracle.end_trial(trial)


@contextlib.contextmanager
def _without_warnings():
    """What Keras Tuner and scikit-learn tell those who develop them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
