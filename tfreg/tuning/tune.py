"""`tfreg tune`: Keras Tuner over α and β, or over any key of a config; resumable."""

import json
from pathlib import Path

from tfreg.config import TuningOptions, checked, config_with
from tfreg.errors import UserError, WorkError
from tfreg.io.folders.folder_lock import LOCK, locked_folder
from tfreg.io.folders.input_digests import digest_of_pairs
from tfreg.runtime.keras_settings import load_keras
from tfreg.runtime.native_output import silenced
from tfreg.runtime.progress import progress_bar
from tfreg.training.train import pairs_by_split
from tfreg.tuning.objectives import OBJECTIVES, check_objective, trial_config
from tfreg.tuning.results import best_of, row_of, write_search
from tfreg.tuning.space import check_space, drawn_values, hyperparameters, searched
from tfreg.tuning.store import SearchFolder, worker_name
from tfreg.tuning.trial import TrialTask
from tfreg.tuning.trials import limit_processes, run_trials

TRIALS = 20
EARLIER, EPOCHS = "tuner/trial_id", "tuner/epochs"  # what Hyperband says of a trial that it continues


def tune(
    config,
    data,
    out,
    *,
    tuner="bayesian",
    trials=None,
    objective="dice",
    seed=0,
    workers=1,
    threads=None,
    device=None,
    force=False,
    source="config",
    command="tfreg tune",
    progress=True,
):
    """Searches the values of a config's keys that give the best trained network.

    Every trial is a run of `tfreg train`, in a process of its own. With KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT
    and KERASTUNER_TUNER_ID set, as Keras Tuner documents them, several processes or machines that share `out` share
    the trials: the one whose ID contains "chief" hands them out and writes the results.

    Args:
        config: A `tfreg.config.Config`; its `search` says what varies.
        data: Subjects manifest (CSV).
        out: Folder of the search; an interrupted one goes on where it stopped.
        tuner: "random", "bayesian" or "hyperband".
        trials: How many trials; None for `TRIALS`. More than before may be asked for when a search is resumed.
            Hyperband's follow from `training.epochs`.
        objective: A name in `tfreg.tuning.objectives.OBJECTIVES`.
        seed: Of the draws; the trainings have the config's.
        workers: Trials side by side.
        threads: Of each trial; None divides the machine among the workers.
        device: "cpu", "gpu" or None.
        force: Starts anew.
        source: What error messages call the config.
        command: What the results say of how they came about.
        progress: Shows a progress bar.

    Returns:
        A dictionary: `trials`, a list of rows (see `tfreg.tuning.results.row_of`), and `best`, the best of
        them. In a process that only runs trials for a chief both are empty.

    Raises:
        UserError: If an option, the config, the manifest or the folder is bad.
        WorkError: If all trials fail, or many one after the other. One trial that fails is recorded instead.
    """
    options = checked(
        TuningOptions,
        tuner=tuner,
        trials=trials,
        objective=objective,
        seed=seed,
        workers=workers,
        threads=threads,
        device=device,
    )
    trials, seed, workers, threads = options.trials, options.seed, options.workers, options.threads
    _check_hyperband(tuner, trials, searched(config))
    check_space(config, source)
    pairs = pairs_by_split(config, data)
    check_objective(objective, searched(config), pairs[1], data)
    settings = {
        "config": config.model_dump(mode="json"),
        "search": {k: v if isinstance(v, tuple) else v.model_dump() for k, v in searched(config).items()},
        "tuner": tuner,
        "objective": objective,
        "seed": seed,
        "data": [digest_of_pairs(part) for part in pairs],
    }
    # Processes that run trials for a chief share its folder, and it is the chief that begins anew.
    worker = worker_name()
    with locked_folder(out, LOCK if worker is None else f"{LOCK}-{worker}") as check:
        folder = SearchFolder(out, json.loads(json.dumps(settings)), force and worker is None, [data], check)
        given = (tuner, trials, objective, seed, workers, threads, device, command, progress)
        return _search(config, data, folder, *given)


def _search(config, data, folder, tuner, trials, objective, seed, workers, threads, device, command, progress):
    """Searches in a folder that is locked."""
    config = trial_config(config, objective)
    load_keras()
    with silenced():
        from tfreg.tuning.oracle import Oracle

    target, most_epochs = OBJECTIVES[objective], config.training.epochs
    trials = None if tuner == "hyperband" else trials or TRIALS
    oracle = Oracle(tuner, hyperparameters(config), target, folder.folder, seed, trials, most_epochs)
    threads = limit_processes(workers, threads)

    def make_task(trial):
        values = trial.hyperparameters.values
        changes = drawn_values(config, values)
        if EPOCHS in values:
            changes["training.epochs"] = int(values[EPOCHS])
        drawn = config_with(config, changes, f"trial {trial.trial_id}")
        earlier = folder.run(values[EARLIER]) if EARLIER in values else None
        return TrialTask(drawn, Path(data), folder.run(trial.trial_id), target.figure, earlier, threads, device)

    def table():
        return [
            row_of(t, config, target.figure, folder.outcome(t.trial_id), t.hyperparameters.values.get(EARLIER))
            for t in oracle.trials
        ]

    with progress_bar(progress) as bar:
        line = bar.add_task("tuning", total=trials, status="")

        def ended():
            if oracle.is_remote:
                bar.advance(line)
                return
            rows = table()
            write_search(folder, rows, config, target, command)
            best, done = best_of(rows, target), sum(row["status"] != "running" for row in rows)
            status = f"best {best['objective']:.4g}, trial {best['trial']}" if best else "none has succeeded"
            bar.update(line, completed=done, status=status)

        if oracle.is_chief:
            oracle.answer()
        else:
            run_trials(oracle, folder, make_task, target.figure, workers, ended)
    if oracle.is_remote:
        return {"trials": [], "best": None}
    rows = table()
    write_search(folder, rows, config, target, command)
    best = best_of(rows, target)
    if best is None:
        raise WorkError(
            f"{folder.folder}: all trials failed, the last one with: {rows[-1]['error']}; mend that and start anew "
            "with --force"
        )
    return {"trials": rows, "best": best}


def _check_hyperband(tuner, trials, keys):
    """Refuses what does not go together with Hyperband."""
    if tuner == "hyperband" and trials is not None:
        raise UserError("--trials: Hyperband's trials follow from training.epochs; leave the option out")
    if tuner == "hyperband" and "training.epochs" in keys:
        raise UserError("--tuner hyperband: chooses training.epochs itself; take it out of `search`")
