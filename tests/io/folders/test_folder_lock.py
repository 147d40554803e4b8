"""A folder in use is refused, with who uses it; a lock whose holder is gone holds nobody up."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfreg.errors import UserError
from tfreg.io.folders import folder_lock as module
from tfreg.io.folders.folder_lock import LOCK, FolderInUse, locked_folder

HOLD = """
import sys
from tfreg.io.folders.folder_lock import locked_folder
with locked_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of a folder until it is killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def hurried(monkeypatch):
    """Signs of life that are missed soon."""
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(module, "SIGN_SECONDS", 0.1)


def foreign(folder, seconds, host="elsewhere", pid=4711):
    """The lock that a process of another machine left."""
    folder.mkdir(exist_ok=True)
    lines = ["filelock/2", f"pid={pid}", f"host={host}", "mode=lease", "token=ab", f"duration={seconds!r}"]
    (folder / LOCK).write_text("\n".join([*lines, "since=2026-01-02 03:04:05 +0000", ""]))


def test_one_after_the_other(tmp_path):
    for _ in range(2):
        with locked_folder(tmp_path / "deep" / "run") as check:
            check()
            assert [path.name for path in (tmp_path / "deep" / "run").iterdir()] == [LOCK]
        assert list(tmp_path.iterdir()) == []  # nothing was written, so nothing stays
    with locked_folder(tmp_path / "deep" / "run"):
        (tmp_path / "deep" / "run" / "a").touch()
    assert [path.name for path in (tmp_path / "deep" / "run").iterdir()] == ["a"]


def test_two_at_once(tmp_path, holder):
    with pytest.raises(FolderInUse) as caught, locked_folder(tmp_path / "run"):
        pass
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'run'}: is in use by process {holder.pid} on {socket.gethostname()} since 20")
    assert f"delete {tmp_path / 'run' / LOCK}" in text
    assert "\n" not in text
    assert (tmp_path / "run" / LOCK).exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists()
    started = time.monotonic()
    with locked_folder(tmp_path / "run"):
        assert f"pid={os.getpid()}\n" in (tmp_path / "run" / LOCK).read_text()
    assert time.monotonic() - started < 5
    assert not (tmp_path / "run" / LOCK).exists()


def test_the_lock_of_another_machine_is_taken_over_without_a_sign_of_life(tmp_path, hurried, capsys):
    foreign(tmp_path / "run", 0.6)
    with locked_folder(tmp_path / "run"):
        assert f"pid={os.getpid()}\n" in (tmp_path / "run" / LOCK).read_text()
    text = capsys.readouterr().err
    assert "is locked by process 4711 on elsewhere since 2026-01-02 03:04:05 +0000" in text
    assert text.count("\n") == 1


def test_the_lock_of_another_machine_is_respected_with_a_sign_of_life(tmp_path, hurried):
    foreign(tmp_path / "run", 0.6)
    stop = multiprocessing.get_context("spawn").Event()
    process = multiprocessing.get_context("spawn").Process(target=touch, args=(str(tmp_path / "run" / LOCK), stop))
    process.start()
    while (tmp_path / "run" / LOCK).stat().st_atime_ns != 0:
        time.sleep(0.01)
    try:
        with pytest.raises(FolderInUse, match="in use by process 4711 on elsewhere"), locked_folder(tmp_path / "run"):
            pass
    finally:
        stop.set()
        process.join()
    assert "pid=4711" in (tmp_path / "run" / LOCK).read_text()


def touch(file, stop):
    while not stop.wait(0.05):
        os.utime(file, ns=(0, time.time_ns()))


@pytest.mark.parametrize("content", ["", "garbage"])
def test_a_lock_that_a_power_loss_damaged_is_taken_over(tmp_path, monkeypatch, content):
    monkeypatch.setattr(module, "LEASE_SECONDS", 3.0)
    monkeypatch.setattr(module, "SIGN_SECONDS", 0.5)
    (tmp_path / LOCK).write_text(content)
    with locked_folder(tmp_path):
        assert f"pid={os.getpid()}\n" in (tmp_path / LOCK).read_text()


def test_a_process_whose_lock_was_taken_over_writes_nothing_more(tmp_path):
    with locked_folder(tmp_path) as check:
        (tmp_path / LOCK).unlink()
        check()  # the person may delete it
        foreign(tmp_path, 60.0)
        with pytest.raises(FolderInUse, match="was taken over by process 4711 on elsewhere"):
            check()
    assert (tmp_path / LOCK).exists()  # the other's


def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(UserError) as caught, locked_folder(tmp_path):
        raise OSError(28, "No space left on device")
    assert str(caught.value) == (
        f"{tmp_path}: cannot be written (No space left on device); what was finished is kept: make room, and give the "
        "same command again"
    )


def test_a_file_of_the_folder_that_goes_is_one_line(tmp_path):
    text = r"run/state: cannot be written or read \(No such file"
    with pytest.raises(UserError, match=text), locked_folder(tmp_path / "run"):
        (tmp_path / "run" / "state").stat()
    with pytest.raises(FileNotFoundError), locked_folder(tmp_path / "run"):
        (tmp_path / "elsewhere").stat()


def test_places_without_a_lock(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place, text in (
        (tmp_path / "file", "is a file; name a folder"),
        (tmp_path / "link", "is a link to nothing; name a folder"),
        (tmp_path / "file" / "run", "cannot be written"),
        (tmp_path / ("n" * 300), "cannot be written"),
        (Path("~") / "run", "~ was not replaced by the shell"),
    ):
        with pytest.raises(UserError, match=text), locked_folder(place):
            pass
