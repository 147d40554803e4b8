"""What a kill, a crash, a lock and files that change do to an evaluation."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tfreg.config import EvaluationOptions
from tfreg.errors import UserError
from tfreg.evaluation.evaluate import evaluate
from tfreg.evaluation.experiments import plan_experiments
from tfreg.evaluation.measure import Task, measure
from tfreg.evaluation.methods import plan_methods
from tfreg.io.digests import pair_digest
from tfreg.io.folders.folder_lock import locked_folder
from tfreg.runtime.resources import Resources

ONE = EvaluationOptions(pairs=("ED:ES",), count=1)


def test_killed_half_way_it_goes_on_where_it_was(people, tmp_path, demons_command):
    out = tmp_path / "out"
    process = subprocess.Popen(demons_command(out), start_new_session=True)
    rows = out / "rows.jsonl"
    deadline = time.monotonic() + 120
    while not (rows.exists() and len(rows.read_text(encoding="utf-8").splitlines()) >= 6):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with open(rows, "a") as file:
        file.write('{"experiment": "all combinations, ED", "pair": "p0_')  # a line cut short by the kill
    before = rows.read_text(encoding="utf-8").splitlines()[:-1]
    assert 6 <= len(before) < 90
    assert not (out / "tables.md").exists()
    done = subprocess.run(demons_command(out), capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    after = rows.read_text(encoding="utf-8").splitlines()
    assert after[: len(before)] == before
    keys = [tuple(json.loads(line)[key] for key in ("experiment", "pair", "method")) for line in after]
    assert len(keys) == len(set(keys)) == 3 * 6 * 5
    assert not any("error" in json.loads(line) for line in after)


def test_a_process_that_dies_costs_one_pair(people, tmp_path, monkeypatch):
    """One file makes the worker end at once, as a crash in a library would."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def crash(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('p2_ES.nii.gz'):\n"
        "        os._exit(7)\n"
        "if 'spawn' in ' '.join(sys.orig_argv):\n"
        "    sys.addaudithook(crash)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("tfreg.evaluation.evaluate.header_size", lambda path: ())
    summary = evaluate(
        people / "subjects.csv",
        tmp_path / "out",
        EvaluationOptions(baselines=("demons",), pairs=("ED:ES",)),
        Resources(threads=1, workers=2),
    )
    methods = summary.experiments["within subjects, ED to ES"].methods
    for name in ("initial", "demons"):
        assert methods[name].failures == {"p2_ED_to_p2_ES": "the process ended with exit code 7"}
        assert methods[name].measured == 5


def test_an_evaluation_in_use_is_refused(people, tmp_path):
    options = EvaluationOptions(baselines=("demons",), pairs=("ED:ES",))
    with locked_folder(tmp_path / "out"), pytest.raises(UserError, match="out: is in use by process"):
        evaluate(people / "subjects.csv", tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_files_that_change_while_they_are_measured_are_not_kept_as_the_old_ones(people, tmp_path, monkeypatch):
    shutil.copytree(people, tmp_path / "copy")
    (pair, *_) = plan_experiments(tmp_path / "copy" / "subjects.csv", ONE, 0).popitem()[1]
    initial, _ = plan_methods(EvaluationOptions(refine=True))
    task = Task("e", pair, initial, pair_digest(pair))
    assert measure(task, Resources()).error is None
    pair.fixed_labels.write_bytes(pair.fixed_labels.read_bytes() + b"x")
    assert "files changed while they were measured" in measure(task, Resources()).error


def test_changed_content_is_measured_again(people, tmp_path):
    """A copy elsewhere, and a file touched, are the same; a changed byte is not."""
    shutil.copytree(people, tmp_path / "copy")
    (earlier,) = plan_experiments(people / "subjects.csv", ONE, 0).popitem()[1]
    (pair,) = plan_experiments(tmp_path / "copy" / "subjects.csv", ONE, 0).popitem()[1]
    before = pair_digest(earlier)
    assert pair_digest(pair) == before
    stat = pair.fixed_labels.stat()
    os.utime(pair.fixed_labels, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert pair_digest(pair) == before
    content = bytearray(pair.fixed_labels.read_bytes())
    content[-9] ^= 1
    pair.fixed_labels.write_bytes(content)
    os.utime(pair.fixed_labels, ns=(stat.st_atime_ns, stat.st_mtime_ns + 2))
    assert pair_digest(pair) != before
    pair.fixed_labels.unlink()
    assert pair_digest(pair) != before


def processes_below(pid):
    """The ids of all processes that a process has started, and of those that they have."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    below, more = set(), {pid}
    while more:
        below |= more
        more = {child for child, parent in parents.items() if parent in below} - below
    return below - {pid}


def is_there(pid):
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_its_processes_end_with_the_command(demons_command, tmp_path, monkeypatch, number):
    """And so does what they have started: here each waits, as for a slow tool, in a process of its own."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def wait(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('_labels.nii.gz'):\n"
        "        from tfreg.runtime.child_process import run_child\n"
        f"        open({str(tmp_path)!r} + f'/waits_{{os.getpid()}}', 'w').close()\n"
        "        run_child(['sleep', '600'])\n"
        "if 'spawn' in ' '.join(sys.orig_argv):\n"
        "    sys.addaudithook(wait)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    process = subprocess.Popen(demons_command(tmp_path / "out"), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120

    def sleeps():
        below = [pid for pid in processes_below(process.pid) if is_there(pid)]
        return [pid for pid in below if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    while len(sleeps()) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    everything = processes_below(process.pid)
    assert len(everything) >= 4  # two workers, and what each waits for
    process.send_signal(number)
    assert process.wait(timeout=30) != 0
    deadline = time.monotonic() + 30
    while any(map(is_there, everything)):
        assert time.monotonic() < deadline, everything
        time.sleep(0.1)
