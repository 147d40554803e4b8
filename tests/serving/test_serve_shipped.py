"""`tfreg serve` without a model: the weights that ship, exported for as long as they are served."""

import pytest

from tfreg.config import ServerOptions
from tfreg.errors import WorkError
from tfreg.serving.server import serve as module


def test_they_are_exported_to_a_folder_that_goes_away(monkeypatch, tmp_path, capfd):
    commands = []

    def run_child(command):
        commands.append(command)

    monkeypatch.setattr(module, "run_child", run_child)
    with module.base_path(ServerOptions()) as folder:
        ((program, *words),) = commands
        assert program.endswith("tfreg")
        assert words == ["export", "--out", str(folder)]
        assert folder.parent.is_dir()
    assert not folder.parent.exists()
    assert "exporting the weights that ship" in capfd.readouterr().err
    with module.base_path(ServerOptions(model_base_path=tmp_path)) as folder:
        assert folder == tmp_path
    assert tmp_path.exists()
    assert len(commands) == 1


def test_what_cannot_be_exported_is_not_served(monkeypatch):
    def run_child(command):
        raise ChildProcessError("tfreg: error: No space left on device")

    monkeypatch.setattr(module, "run_child", run_child)
    with pytest.raises(WorkError, match=r"cannot be served: .*No space left"), module.base_path(ServerOptions()):
        pass
