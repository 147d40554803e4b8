"""`tfreg tune`: Keras Tuner over α and β, or over any key of a config; resumable."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfreg.config import Config, DrawOptions, TuningOptions, checked, config_with
from tfreg.errors import UserError, WorkError
from tfreg.io.digests import pairs_digest
from tfreg.io.folders.folder_lock import LOCK, locked_folder
from tfreg.runtime.keras_settings import load_keras
from tfreg.runtime.native_output import silenced
from tfreg.runtime.progress import NO_PROGRESS, Progress
from tfreg.runtime.resources import Resources
from tfreg.training.splits import pairs_by_split
from tfreg.tuning.objectives import OBJECTIVES, Objective, check_objective, trial_config
from tfreg.tuning.outcome import SearchSettings, TrialOutcome, TrialRow
from tfreg.tuning.results import SearchResult, best_of, write_search
from tfreg.tuning.space import check_space, drawn_values, hyperparameters, searched
from tfreg.tuning.store import SearchFolder, worker_name
from tfreg.tuning.trial import TrialTask
from tfreg.tuning.trials import run_trials

TRIALS = 20
EARLIER, EPOCHS = "tuner/trial_id", "tuner/epochs"  # what Hyperband says of a trial that it continues


@dataclass(frozen=True)
class Origin:
    """What a search is called by.

    Args:
        config: What error messages call the config.
        command: The command line that the results name, without the places of files.
    """

    config: str = "config"
    command: str = "tfreg tune"


def tune(
    config: Config,
    data: str | Path,
    out: str | Path,
    options: TuningOptions | None = None,
    resources: Resources | None = None,
    force: bool = False,
    origin: Origin | None = None,
    progress: Progress = NO_PROGRESS,
) -> SearchResult:
    """Searches the values of a config's keys that give the best trained network.

    Every trial is a run of `tfreg train`, in a process of its own. With KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT
    and KERASTUNER_TUNER_ID set, as Keras Tuner documents them, several processes or machines that share `out` share
    the trials: the one whose ID contains "chief" hands them out and writes the results.

    Args:
        config: Its `search` says what varies.
        data: Subjects manifest (CSV).
        out: Folder of the search; an interrupted one goes on where it stopped.
        options: How the search goes; None for the defaults. More trials than before may be asked for when a search is
            resumed.
        resources: The seed is that of the draws; the trainings have the config's. As many trials run side by side as
            there are workers. None for the defaults.
        force: Starts anew.
        origin: What messages and results say of where the search comes from.
        progress: Whom it tells how far it is.

    Returns:
        The trials and the best of them. In a process that only runs trials for a chief there are none.

    Raises:
        UserError: If an option, the config, the manifest or the folder is bad.
        WorkError: If all trials fail, or many one after the other. One trial that fails is recorded instead.

    Example:
        >>> from tfreg.config import TuningOptions
        >>> config = tfreg.load_config("run/config.yaml", ["model.transform=linear", "training.epochs=1"])
        >>> result = tfreg.tune(config, "chests/subjects.csv", "search", TuningOptions(trials=1))
        >>> result.best.trial
        '0'
    """
    options, resources, origin = options or TuningOptions(), resources or Resources(), origin or Origin()
    seed = checked(DrawOptions, seed=resources.seed or 0).seed
    _check_hyperband(options, searched(config))
    check_space(config, origin.config)
    pairs = pairs_by_split(config, data)
    check_objective(options.objective, searched(config), pairs[1], data)
    settings = SearchSettings(
        config=config,
        search=searched(config),
        tuner=options.tuner,
        objective=options.objective,
        seed=seed,
        data=tuple(pairs_digest(split) for split in pairs),
    )
    # Processes that run trials for a chief share its folder, and it is the chief that begins anew.
    worker = worker_name()
    with locked_folder(out, LOCK if worker is None else f"{LOCK}-{worker}") as check:
        folder = SearchFolder(out, settings, force and worker is None, [data], check)
        drawn_from = trial_config(config, options.objective)
        search = Search(drawn_from, Path(data), folder, OBJECTIVES[options.objective], origin.command)
        oracle = search.oracle(options, seed)
        return search.run(oracle, resources, progress)


@dataclass(frozen=True)
class Search:
    """A search in a folder that is locked.

    Args:
        config: From which trials are drawn.
        data: Subjects manifest.
        folder: Of the search.
        objective: What it makes as good as possible.
        command: The command line that the results name.
    """

    config: Config
    data: Path
    folder: SearchFolder
    objective: Objective
    command: str

    def oracle(self, options: TuningOptions, seed: int) -> Any:
        """The `tfreg.tuning.oracle.Oracle` that chooses the trials; it goes on where an earlier one stopped."""
        load_keras()
        with silenced():
            from tfreg.tuning.oracle import Oracle

        trials = None if options.tuner == "hyperband" else options.trials or TRIALS
        return Oracle(
            options.tuner,
            hyperparameters(self.config),
            self.objective,
            self.folder.folder,
            seed,
            trials,
            self.config.training.epochs,
        )

    def run(self, oracle: Any, resources: Resources, progress: Progress) -> SearchResult:
        """Runs all trials, and writes the results after each.

        Args:
            oracle: From `oracle`.
            resources: See `tfreg.tuning.trials.run_trials`.
            progress: Whom it tells how far it is.

        Returns:
            See `tune`.

        Raises:
            WorkError: If all trials fail, or many one after the other.
        """
        with progress.stage("tuning", oracle.max_trials) as advance:
            done = 0

            def ended():
                nonlocal done
                if oracle.is_remote:
                    advance()
                    return
                result = self.written(oracle)
                best, before = result.best, done
                done = sum(row.status != "running" for row in result.trials)
                status = f"best {best.objective:.4g}, trial {best.trial}" if best else "none has succeeded"
                advance(done - before, status=status)

            if oracle.is_chief:
                oracle.answer()
            else:
                run_trials(oracle, self.folder, self.task, self.objective.metric, resources, ended)
        if oracle.is_remote:
            return SearchResult()
        result = self.written(oracle)
        if result.best is None:
            raise WorkError(
                f"{self.folder.folder}: all trials failed, the last one with: {result.trials[-1].outcome.error}; "
                "mend that and start anew with --force"
            )
        return result

    def task(self, trial: Any) -> TrialTask:
        """What is run for a trial.

        Args:
            trial: A `keras_tuner.engine.trial.Trial`.

        Raises:
            UserError: If the values that were drawn do not go together.
        """
        values = trial.hyperparameters.values
        changes = drawn_values(self.config, values)
        if EPOCHS in values:
            changes["training.epochs"] = int(values[EPOCHS])
        drawn = config_with(self.config, changes, f"trial {trial.trial_id}")
        earlier = self.folder.run(values[EARLIER]) if EARLIER in values else None
        return TrialTask(drawn, self.data, self.folder.run(trial.trial_id), self.objective.metric, earlier)

    def row(self, trial: Any) -> TrialRow:
        """What is known of a `keras_tuner.engine.trial.Trial`."""
        values = trial.hyperparameters.values
        outcome = self.folder.outcome(trial.trial_id) or TrialOutcome()
        return TrialRow(
            trial.trial_id,
            drawn_values(self.config, values),
            outcome,
            outcome.metric(self.objective.metric),
            values.get(EARLIER),
        )

    def written(self, oracle: Any) -> SearchResult:
        """The trials so far, which are written to the folder."""
        rows = tuple(self.row(trial) for trial in oracle.trials)
        write_search(self.folder, rows, self.config, self.objective, self.command)
        return SearchResult(rows, best_of(rows, self.objective))


def _check_hyperband(options, keys):
    """Refuses what does not go together with Hyperband."""
    if options.tuner == "hyperband" and options.trials is not None:
        raise UserError("--trials: Hyperband's trials follow from training.epochs; leave the option out")
    if options.tuner == "hyperband" and "training.epochs" in keys:
        raise UserError("--tuner hyperband: chooses training.epochs itself; take it out of `search`")
