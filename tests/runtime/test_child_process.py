"""A command's child is measured, and ends with it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tfreg.runtime.child_process import run_child


def ends(pid, seconds=30):
    """Whether a process is gone, or only waits to be collected, within some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_seconds_and_memory_are_the_childs():
    ours = bytearray(500 * 2**20)  # a child begins as a copy of this process, whose memory is not its own
    seconds, peak_mb = run_child([sys.executable, "-c", "x = bytearray(200 * 2**20); import time; time.sleep(0.3)"])
    assert seconds > 0.3
    assert 200 < peak_mb < 400 < len(ours) / 2**20


def test_what_fails_says_why():
    with pytest.raises(ChildProcessError, match=r"^odd$"):
        run_child([sys.executable, "-c", "import sys; sys.exit('even\\nodd')"])
    with pytest.raises(ChildProcessError, match="exit code 3"):
        run_child([sys.executable, "-c", "import os; os._exit(3)"])


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for it")
def test_a_child_ends_with_its_parent(tmp_path):
    file = tmp_path / "pid"
    child = f"import os, time; open({str(file)!r} + '.new', 'w').write(str(os.getpid()))\n"
    child += f"os.rename({str(file)!r} + '.new', {str(file)!r}); time.sleep(300)"
    code = "import sys; from tfreg.runtime.child_process import run_child\n"
    parent = subprocess.Popen([sys.executable, "-c", f"{code}run_child([sys.executable, '-c', {child!r}])"])
    while not file.exists():
        assert parent.poll() is None
        time.sleep(0.02)
    pid = int(file.read_text())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert ends(pid)
