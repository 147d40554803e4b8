"""The process around a command: closed and full streams, other alphabets, signals, and strict warnings."""

import os
import signal
import subprocess
import sys

import pytest

from tfreg import cli

# Done in place of a command; `work` is what it does.
PROGRAM = """
import os, sys, time, warnings
from pathlib import Path
from tfreg import cli
from tfreg.errors import InputWarning
from tfreg.io.folders.result_folder import result_folder

def main():
{work}
cli.main = main
cli.run()
"""


def command(work, **options):
    """A process that runs lines of Python as the command `tfreg` runs `main`."""
    environment = os.environ | options.pop("environment", {})
    lines = "".join(f"    {line}\n" for line in work.splitlines())
    arguments = [sys.executable, *options.pop("flags", ()), "-c", PROGRAM.format(work=lines)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    return subprocess.Popen(arguments, env=environment, **(pipes | options))


WRITES = """print("x" * 100_000)
Path("done").touch()
print("and more")"""


def test_a_full_disk_under_standard_output_loses_the_words_and_not_the_work(tmp_path):
    with open("/dev/full", "w") as full:
        process = command(WRITES, cwd=tmp_path, stdout=full)
        _, told = process.communicate()
    assert (tmp_path / "done").exists()
    assert told == (
        "tfreg: error: standard output could not be written (No space left on device); what was computed is in place\n"
    )
    assert process.returncode == 1


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_loses_nothing(tmp_path, stream):
    reading, writing = os.pipe()
    os.close(reading)
    work = f"print('x' * 100_000, file=sys.{stream})\nPath('done').touch()\nprint('and more', file=sys.{stream})"
    process = command(work, cwd=tmp_path, **{stream: writing})
    os.close(writing)
    found = process.communicate()
    assert (tmp_path / "done").exists()
    assert process.returncode == 0
    assert [text for text in found if text] == []


def test_a_closed_standard_output_does_not_become_a_file_of_the_result(tmp_path):
    work = """with open("file", "w") as file:
    file.write("content")
    file.flush()
    os.write(1, b"said by a library")
    print("said by Python", flush=True)
    from tfreg.runtime.native_output import STDERR, STDOUT, silenced
    with silenced(STDOUT, STDERR):
        print("dropped")"""
    process = command(work, cwd=tmp_path, stdout=None, preexec_fn=lambda: os.closerange(0, 2))
    _, told = process.communicate()
    assert (process.returncode, told) == (0, "")
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.parametrize("given", ["flag", "variable"])
def test_strict_warnings_are_not_handed_on(given):
    work = """import subprocess
from multiprocessing.util import _args_from_interpreter_flags as flags
program = "import warnings; warnings.warn('w'); print('fine')"
print(subprocess.run([sys.executable, *flags(), "-c", program]).returncode)"""
    options = {"flags": ["-W", "error"]} if given == "flag" else {"environment": {"PYTHONWARNINGS": "error"}}
    found, _ = command(work, **options).communicate()
    assert found.split() == ["fine", "0"]


OUT_OF_MEMORY = "not enough memory ({}); close other programs, use smaller volumes, or --device cpu"
LACKS = {
    "disk": (OSError(28, "No space left", "a.nii.gz"), "a.nii.gz: No space left; free some space"),
    "files": (OSError(24, "Too many"), "the system: Too many; raise the limit of open files (ulimit -n)"),
    "folder": (
        FileNotFoundError(2, "No usable temporary directory found in []"),
        "there is no folder for temporary files; set TMPDIR to one that may be written to",
    ),
    "memory": (MemoryError("Unable to allocate 9 GiB"), OUT_OF_MEMORY.format("Unable to allocate 9 GiB")),
    "GPU memory": (type("ResourceExhaustedError", (Exception,), {})("OOM\nat"), OUT_OF_MEMORY.format("OOM")),
}


@pytest.mark.parametrize("what", LACKS)
def test_what_the_machine_lacks_is_one_line(monkeypatch, capsys, what):
    error, told = LACKS[what]

    def fail():
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"tfreg: error: {told}\n"


def test_letters_that_the_terminal_lacks_are_written_as_escapes():
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    process = command(
        "print('α β')\nwarnings.showwarning = cli._show_warning\nwarnings.warn('± é', InputWarning)",
        environment=environment,
    )
    found, told = process.communicate()
    assert process.returncode == 0
    assert (found, told) == ("\\u03b1 \\u03b2\n", "tfreg: warning: \\xb1 \\xe9\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_in_one_line_and_leaves_nothing_half_written(tmp_path, number):
    work = """with result_folder("out/result") as folder:
    (folder / "half").write_text("")
    print("begun", flush=True)
    time.sleep(60)"""
    # Under `nohup` and in the background of a shell some are ignored, and would be there too.
    process = command(work, cwd=tmp_path, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    _, told = process.communicate()
    assert told == f"tfreg: stopped by {number.name}\n"
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_the_caller_ignores_stays_ignored(tmp_path):
    work = "os.kill(os.getpid(), 1)\nprint('goes on')"
    process = command(work, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.communicate()[0] == "goes on\n"
    assert process.returncode == 0
