"""Searches whose trials are played: what becomes of trials that fail, of interruptions, and of several processes."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pebble
import pytest
from searches import table_of

from tfreg.config import TuningOptions, load_config, parse_config
from tfreg.errors import UserError
from tfreg.io.folders.folder_lock import locked_folder
from tfreg.runtime.resources import Resources
from tfreg.tuning import trials as tuning_loop
from tfreg.tuning.oracle import Oracle
from tfreg.tuning.store import SEARCH, SearchFolder
from tfreg.tuning.tune import tune

PLAYED = """
import os, time

def play(task, resources):
    "Stands for a training: fails, dies, or is the better the nearer beta is to 1e-6."
    import math
    from tfreg.tuning.outcome import TrialOutcome

    task.run.mkdir(exist_ok=True)
    with open(task.run / "played.txt", "a") as file:
        file.write(f"{os.getpid()} {task.config.training.epochs} {task.earlier and task.earlier.name}\\n")
    fate = os.environ.get(f"FATE_{task.run.name}")
    if fate == "fail":
        return TrialOutcome(error="ResourceExhaustedError: out of memory")
    if fate == "exit":
        os._exit(7)
    if fate == "kill":
        os.kill(os.getpid(), 9)
    time.sleep(float(os.environ.get("PLAYED_SECONDS", "0")))
    distance = abs(math.log10(task.config.loss.beta) + 6)
    metrics = {"dice": 1 - 0.1 * distance, "tre_mm": distance, "similarity_loss": distance, "folding_fraction": 0.0}
    return TrialOutcome(**metrics, best_epoch=1, epochs=1, seconds=1, peak_memory_gib=1)
"""


def random(trials):
    """Options of a search by chance."""
    return TuningOptions(tuner="random", trials=trials)


@pytest.fixture
def played(tmp_path, monkeypatch):
    """Trials are played by processes that load no TensorFlow; the folder of the search."""
    (tmp_path / "played_trials.py").write_text(PLAYED)
    monkeypatch.syspath_prepend(tmp_path)
    import played_trials

    monkeypatch.setattr(tuning_loop, "run_trial", played_trials.play)
    yield tmp_path / "out"
    sys.modules.pop("played_trials")


class Threads:
    """Stands for pebble's `ProcessPool` where no process has to die."""

    def __init__(self, workers, max_tasks, initializer, initargs, context):
        assert max_tasks == 1
        self.pool = ThreadPoolExecutor(workers)

    def schedule(self, function, args):
        return self.pool.submit(function, *args)

    def close(self):
        pass

    stop = close

    def join(self):
        self.pool.shutdown()


@pytest.fixture
def played_here(played, monkeypatch):
    """Trials are played in this process; the folder of the search."""
    monkeypatch.setattr(pebble, "ProcessPool", Threads)
    return played


def plays_of(out):
    """Trial to the lines that its plays wrote: process, epochs, the trial that it continues."""
    return {file.parent.name: file.read_text().split("\n")[:-1] for file in sorted(out.glob("trials/*/played.txt"))}


def test_trials_that_fail_or_die_are_recorded_and_skipped(played, data, config, monkeypatch):
    for trial, fate in (("0", "fail"), ("2", "exit"), ("3", "kill")):
        monkeypatch.setenv(f"FATE_{trial}", fate)
    result = tune(config, data, played, random(6))
    assert [row.status for row in result.trials] == [
        "failed",
        "completed",
        "failed",
        "failed",
        "completed",
        "completed",
    ]
    table = table_of(played)
    assert table[0]["error"] == "ResourceExhaustedError: out of memory"
    assert table[2]["error"] == "the process ended with exit code 7"
    assert table[3]["error"] == "the process was killed by signal 9, as where memory runs out"
    assert (table[0]["objective"], table[2]["dice"], table[3]["epochs"]) == ("", "", "")
    completed = [row for row in result.trials if row.status == "completed"]
    assert result.best == max(completed, key=lambda row: row.outcome.dice)
    text = (played / "tables.md").read_text(encoding="utf-8")
    assert "Trial 2 failed: the process ended with exit code 7." in text
    assert load_config(played / "best.yaml").loss.beta == result.best.values["loss.beta"]
    # Each in a process of its own, which took its memory along.
    processes = [line.split()[0] for lines in plays_of(played).values() for line in lines]
    assert len(set(processes)) == len(processes) == 6
    assert str(os.getpid()) not in processes
    # Nothing is tried again.
    again = tune(config, data, played, random(6))
    assert again == result
    assert all(len(lines) == 1 for lines in plays_of(played).values())


def test_many_failures_in_a_row_end_the_search(played_here, data, config, monkeypatch):
    for trial in range(1, 8):
        monkeypatch.setenv(f"FATE_{trial}", "fail")
    with pytest.raises(UserError, match=r"5 trials failed one after the other, .*out of memory; mend that"):
        tune(config, data, played_here, random(9))
    assert [row["status"] for row in table_of(played_here)] == ["completed", *["failed"] * 5]


def test_a_search_without_any_success_says_so(played_here, data, config, monkeypatch):
    monkeypatch.setenv("FATE_0", "fail")
    with pytest.raises(UserError, match=r"all trials failed, the last one with: ResourceExhaustedError: out of memory"):
        tune(config, data, played_here, random(1))
    assert (played_here / "tables.md").exists()
    assert not (played_here / "best.yaml").exists()


class Interruption(BaseException):
    """Ends a search where a test wants it."""


@pytest.mark.parametrize("place", ["asked", "kept", "told"])
def test_a_search_that_ends_anywhere_goes_on_as_if_it_had_not(played_here, data, config, monkeypatch, place):
    """Interrupted with each trial: the same trials, none of them played twice where its result was kept."""
    whole = tune(config, data, played_here.with_name("whole"), random(3))
    owner, name = {"asked": (Oracle, "ask"), "kept": (SearchFolder, "keep"), "told": (Oracle, "tell")}[place]
    original = getattr(owner, name)

    def interrupted(*arguments):
        original(*arguments)
        raise Interruption

    for _ in range(3):
        monkeypatch.setattr(owner, name, interrupted)
        with pytest.raises(Interruption):
            tune(config, data, played_here, random(3))
        monkeypatch.setattr(owner, name, original)
        if place == "asked":
            break  # that trial waits, and no other is begun
    assert tune(config, data, played_here, random(3)) == whole
    assert {trial: len(lines) for trial, lines in plays_of(played_here).items()} == {"0": 1, "1": 1, "2": 1}


def test_more_trials_may_be_asked_for_later(played_here, data, config):
    first = tune(config, data, played_here, random(2))
    both = tune(config, data, played_here, random(3))
    assert both.trials[:2] == first.trials
    assert [row.trial for row in both.trials] == ["0", "1", "2"]
    assert all(len(lines) == 1 for lines in plays_of(played_here).values())


def test_force_starts_anew_and_keeps_what_is_not_its_own(played_here, data, config):
    tune(config, data, played_here, random(2))
    (played_here / "notes.txt").write_text("mine")
    (played_here / "trials" / "1" / "model.keras").touch()
    result = tune(config, data, played_here, random(1), Resources(5), force=True)
    assert [row.trial for row in result.trials] == ["0"]
    assert [path.name for path in (played_here / "outcomes").iterdir()] == ["0.json"]
    # What a trial's run does not write stays too.
    assert {trial: len(lines) for trial, lines in plays_of(played_here).items()} == {"0": 2, "1": 1}
    assert not (played_here / "trials" / "1" / "model.keras").exists()
    assert (played_here / "notes.txt").read_text() == "mine"
    own = {path.relative_to(played_here).as_posix() for path in played_here.rglob("*") if path.is_file()}
    assert own - set(SEARCH.own(played_here)) == {"notes.txt", "trials/0/played.txt", "trials/1/played.txt"}


def test_a_search_in_use_is_refused(played_here, data, config):
    with locked_folder(played_here), pytest.raises(UserError, match=f"out: is in use by process {os.getpid()} on"):
        tune(config, data, played_here, random(1))
    assert not played_here.exists()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("search/oracle.json", r"search/oracle\.json: is damaged; start anew with --force"),
        ("search.json", r"search\.json: cannot be read, or is damaged; start anew with --force"),
        (
            "outcomes/0.json",
            r"outcomes/0\.json: cannot be read, or is damaged; delete it, and the trial is measured again",
        ),
    ],
)
def test_what_a_power_loss_emptied_is_named(played_here, data, config, file, text):
    tune(config, data, played_here, random(1))
    (played_here / file).write_text("")
    with pytest.raises(UserError, match=text):
        tune(config, data, played_here, random(1))


def test_bayesian_draws_gather_where_it_is_good_with_workers_side_by_side(played_here, data, config, monkeypatch):
    monkeypatch.setenv("PLAYED_SECONDS", "0.3")
    settings = config.model_dump(exclude_unset=True) | {
        "search": {"loss.beta": {"low": 1e-9, "high": 1e-3, "scale": "log"}}
    }
    started = time.perf_counter()
    result = tune(parse_config(settings), data, played_here, TuningOptions(trials=12), Resources(workers=3))
    assert len(result.trials) == 12
    assert all(row.status == "completed" for row in result.trials)
    distances = [abs(np.log10(row.values["loss.beta"]) + 6) for row in result.trials]
    assert min(distances[4:]) < 0.3
    assert np.median(distances[6:]) < np.median(distances[:3])
    assert time.perf_counter() - started < 120


def test_hyperband_continues_its_best_trials(played_here, data, config):
    result = tune(config, data, played_here, TuningOptions(tuner="hyperband"))
    plays = {trial: lines[0].split()[1:] for trial, lines in plays_of(played_here).items()}
    short = [trial for trial, (epochs, earlier) in plays.items() if earlier == "None" and int(epochs) < 4]
    continued = {trial: earlier for trial, (_, earlier) in plays.items() if earlier != "None"}
    assert len(short) >= 3
    assert 1 <= len(continued) < len(short)
    by_trial = {row.trial: row for row in result.trials}
    for trial, earlier in continued.items():
        assert plays[trial][0] == "4"
        assert by_trial[trial].values == by_trial[earlier].values
        assert by_trial[trial].continues == earlier
    # The best of the short ones goes on.
    best = max(short, key=lambda trial: by_trial[trial].outcome.dice)
    assert best in continued.values()
    assert load_config(played_here / "best.yaml").training.epochs == 4


CHIEF_OR_WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
if __name__ == "__main__":
    import played_trials
    from tfreg.config import TuningOptions, load_config
    from tfreg.tuning import trials as tuning_loop
    from tfreg.tuning.tune import tune
    tuning_loop.run_trial = played_trials.play
    folder, options = Path(sys.argv[1]), TuningOptions(tuner="random", trials=4)
    result = tune(load_config(folder / "quick.yaml"), Path(sys.argv[2]), folder / "out", options)
    print(len(result.trials))
"""


@pytest.mark.slow
def test_keras_tuners_chief_and_workers(played, data, config, tmp_path):
    """Over gRPC on this machine, one of the workers killed and begun again under its name."""
    (tmp_path / "main.py").write_text(CHIEF_OR_WORKER)
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": "29471"}

    def begun(name, seconds):
        environment = {**os.environ, **address, "KERASTUNER_TUNER_ID": name, "PLAYED_SECONDS": seconds}
        command = [sys.executable, str(tmp_path / "main.py"), str(tmp_path), str(data)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    chief, stopped, others = begun("chief", "0"), begun("worker1", "1000"), []
    try:
        deadline = time.monotonic() + 240
        while not plays_of(played):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        stopped.kill()
        stopped.communicate()
        others += [begun("worker1", "0"), begun("worker2", "0")]
        assert [other.communicate(timeout=240)[0].strip() for other in others] == ["0", "0"]
        assert chief.communicate(timeout=240)[0].strip() == "4"
    finally:
        for process in (chief, stopped, *others):
            process.kill()
    assert [row["status"] for row in table_of(played)] == ["completed"] * 4
    assert sorted(len(lines) for lines in plays_of(played).values()) == [1, 1, 1, 2]


pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kills what TensorFlow trains")
