"""Pictures look alike for everybody, and a result is whole without them."""

import os
import subprocess
import sys

import matplotlib
import pytest
from matplotlib.figure import Figure

from tfreg.report.drawing import optional_picture, own_drawing_settings


def test_a_picture_does_not_depend_on_how_a_person_draws(tmp_path):
    matplotlib.rcParams["lines.linewidth"] = 9.0
    before = dict(matplotlib.rcParams)
    with own_drawing_settings():
        assert matplotlib.rcParams["lines.linewidth"] == matplotlib.rcParamsDefault["lines.linewidth"] != 9.0
    assert dict(matplotlib.rcParams) == before
    matplotlib.rcParams["lines.linewidth"] = matplotlib.rcParamsDefault["lines.linewidth"]


def test_a_picture_that_fails_is_left_out_with_a_warning(tmp_path):
    texts, path = [], tmp_path / "report.png"
    with optional_picture(path, texts.append):
        path.write_bytes(b"half")
        raise RuntimeError("latex was not\nfound")
    assert texts == ["report.png could not be drawn (latex was not found); the other results are complete."]
    assert not path.exists()


def test_a_picture_that_succeeds_is_left(tmp_path):
    texts, path = [], tmp_path / "report.png"
    with optional_picture(path, texts.append):
        Figure().savefig(path)
    assert (texts, path.is_file()) == ([], True)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_what_stops_a_command_passes(tmp_path, interrupt):
    with pytest.raises(interrupt), optional_picture(tmp_path / "report.png", print):
        raise interrupt


def test_a_window_system_that_is_named_is_not_asked_for(tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nsavefig.format: pdf\n")
    program = (
        "import os, pathlib, sys\n"
        "from tfreg.report.drawing import optional_picture\n"
        "path = pathlib.Path(sys.argv[1], 'a.png')\n"
        "with optional_picture(path, print):\n"
        "    from matplotlib.figure import Figure\n"
        "    figure = Figure()\n"
        "    figure.suptitle('α')\n"
        "    figure.savefig(path)\n"
        "print(path.is_file(), os.environ['MPLBACKEND'])\n"
    )
    environment = os.environ | {"MPLBACKEND": "a_window", "MPLCONFIGDIR": str(tmp_path)}
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.returncode) == ("True a_window\n", 0), done.stderr
