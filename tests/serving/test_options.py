"""What `tfreg serve` refuses to start with: one line, exit code 2, and nothing heavy loaded for it."""

import re
import socket
import subprocess
import sys

import pytest

from tfreg import cli
from tfreg.config import ServerOptions
from tfreg.errors import UserError
from tfreg.serving.server.options import check_server


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """`run(*options)`: exit code, output and error of `tfreg serve` where ./models/1 holds half a model."""
    (tmp_path / "models/1/variables").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "named/latest").mkdir(parents=True)
    (tmp_path / "named/latest/saved_model.pb").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not a certificate")
    monkeypatch.chdir(tmp_path)

    def run(*options):
        arguments = ["serve", "--port", 0, *options]
        if "--model-base-path" not in options:
            arguments += ["--model-base-path", "models"]
        monkeypatch.setattr(sys, "argv", ["tfreg", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


REFUSED = {
    "missing": (["--model-base-path", "nowhere"], r"nowhere: cannot be listed \(No such file.*\); name the folder"),
    "file": (["--model-base-path", "notes.txt"], r"notes\.txt: cannot be listed \(Not a directory\); name the folder"),
    "empty": (["--model-base-path", "empty"], r"empty: holds no version of a model, such as empty/1/saved_model\.pb"),
    "no number": (["--model-base-path", "named"], r"named: holds no version of a model"),
    "half": ([], r"models: holds no version of a model"),
    "name": (["--model-name", ""], r"--model-name: give the name"),
    "port": (["--port", 65536], r"--port 65536: give a number from 0 to 65535"),
    "concurrency": (["--concurrency", 0], r"--concurrency 0: give a number from 1"),
    "queue": (["--queue", -1], r"--queue -1: give a number from 0"),
    "message": (["--max-message-mb", 4096], r"--max-message-mb 4096: give a number from 1 to 2047"),
    "poll": (["--poll-seconds", 0], r"--poll-seconds 0\.0: give a number from 0\.05"),
    "grace": (["--grace-seconds", "nan"], r"--grace-seconds nan: give a number from 0"),
    "silence": (["--silence-seconds", 0], r"--silence-seconds 0\.0: give a number from 1"),
    "threads": (["--threads", 0], r"--threads 0: give a positive number"),
    "device": (["--device", "tpu"], r"--device tpu: choose cpu or gpu"),
    "no key": (["--tls-certificate", "notes.txt"], r"--tls-certificate and --tls-key belong together: give both"),
    "no certificate": (["--tls-key", "notes.txt"], r"--tls-certificate and --tls-key belong together: give both"),
    "ca alone": (["--tls-client-ca", "notes.txt"], r"--tls-client-ca: needs --tls-certificate and --tls-key too"),
    "no file": (["--tls-certificate", "a.pem", "--tls-key", "b.pem"], r"a\.pem: cannot be read \(No such file"),
    "no pem": (["--tls-certificate", "notes.txt", "--tls-key", "notes.txt"], r"notes\.txt and notes\.txt: are not a"),
    "any host": (["--host", "0.0.0.0"], r"--host 0\.0\.0\.0: without TLS only this machine.*--insecure-any-host"),
    "any host 6": (["--host", "::"], r"--host ::: without TLS only this machine"),
    "no host": (["--host", ""], r"--host : is no address of this machine"),
    "odd host": (["--host", "a..b"], r"--host a\.\.b: is no address of this machine"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(run, name):
    options, text = REFUSED[name]
    code, out, err = run(*options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.match(f"tfreg: error: {text}", err), err


def test_a_port_in_use_is_refused(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = run("--port", port)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"tfreg: error: 127.0.0.1:{port}: cannot listen there (Address already in use); choose")


def test_other_hosts_are_possible_when_told(tmp_path):
    given = {"model_base_path": tmp_path, "port": 0}
    check_server(ServerOptions(host="0.0.0.0", insecure_any_host=True, **given))
    check_server(ServerOptions(host="localhost", **given))
    assert ServerOptions(host="::1", **given).address(8500) == "[::1]:8500"
    with pytest.raises(UserError, match="without TLS"):
        check_server(ServerOptions(host="0.0.0.0", **given))


def test_refusals_load_nothing_heavy(tmp_path):
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(sorted({'tensorflow', 'keras', 'grpc'} & set(sys.modules))))\n"
        f"sys.argv = ['tfreg', 'serve', '--port', '0', '--model-base-path', {str(tmp_path)!r}]\n"
        "from tfreg.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "[]\n", 1)


def test_the_server_needs_no_keras():
    """Beyond what TensorFlow imports by itself."""
    code = (
        "import sys, tensorflow\n"
        "before = set(sys.modules)\n"
        "import tfreg.serving.server.serve, tfreg.serving.server.grpc_server, tfreg.serving.server.loaded_model\n"
        "import tfreg.serving.server.model_versions\n"
        "new = set(sys.modules) - before\n"
        "print([name for name in new if name.startswith(('keras', 'tfreg.layers', 'tfreg.models', 'scipy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
