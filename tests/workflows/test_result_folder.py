"""A result appears whole or not at all, and only a result is replaced."""

import os
import stat

import pytest

from tfreg.errors import UserError
from tfreg.workflows import result_folder as module
from tfreg.workflows.result_folder import check_free, result_folder

MARKER = "report.json"


def a_result(folder, text="old"):
    folder.mkdir(parents=True)
    (folder / MARKER).write_text(text)
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(out, error, other=None):
    """Fails in the middle of writing a result."""
    with result_folder(out) as folder:
        (folder / "half").write_text("half")
        if other is not None:
            other.mkdir()
        raise error


def refused(out, force=False):
    with pytest.raises(UserError) as caught:
        check_free(out, force, MARKER)
    assert str(caught.value).startswith(f"{out}: ")
    assert ";" in str(caught.value)
    return str(caught.value)


def test_what_may_be_written(tmp_path):
    check_free(tmp_path / "new", False, MARKER)
    check_free(tmp_path / "deep" / "new", False, MARKER)
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty", False, MARKER)
    check_free(a_result(tmp_path / "old"), True, MARKER)
    assert names(tmp_path) == ["empty", "old"]


def test_what_may_not(tmp_path, monkeypatch):
    assert "--force" in refused(a_result(tmp_path / "old"))
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("precious")
    assert "already exists" in refused(thesis)
    assert "not a result of this command" in refused(thesis, force=True)
    file = thesis / "chapter.txt"
    assert "already exists" in refused(file)
    assert "not a result of this command" in refused(file, force=True)
    assert "is a file" in refused(file / "result")
    assert "is a file" in refused(file / "deep" / "result")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert "already exists" in refused(tmp_path / "dangling")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "may not be written to" in refused(tmp_path / "new")
    assert "may not be written to" in refused(tmp_path / "old", force=True)


def test_a_new_folder(tmp_path):
    out = tmp_path / "deep" / "result"
    umask = os.umask(0o022)
    try:
        with result_folder(out) as folder:
            (folder / MARKER).write_text("new")
            assert not out.exists()
            assert folder.parent == out.parent  # renaming works within one file system only
    finally:
        os.umask(umask)
    assert names(out) == [MARKER]
    assert names(tmp_path / "deep") == ["result"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o755


def test_a_replaced_folder(tmp_path):
    out = a_result(tmp_path / "result")
    (out / "more.txt").write_text("old")
    with result_folder(out) as folder:
        (folder / MARKER).write_text("new")
        assert (out / MARKER).read_text() == "old"
    assert names(out) == [MARKER]
    assert (out / MARKER).read_text() == "new"
    assert names(tmp_path) == ["result"]


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("existing", [False, True])
def test_nothing_is_left_of_a_failure(tmp_path, error, existing):
    out = tmp_path / "deep" / "result"
    if existing:
        a_result(out)
    expected = UserError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        write_half(out, error)
    if existing:
        assert (out / MARKER).read_text() == "old"
        assert names(tmp_path / "deep") == ["result"]
    else:
        assert names(tmp_path) == []
    if expected is UserError:
        assert str(caught.value) == f"{out}: cannot be written (No space left on device); choose another place"


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    out = a_result(tmp_path / "result")
    replace = os.replace

    def fail_for_the_new_one(source, target):
        if str(target) == str(out) and "-old-" not in str(source):
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(module.os, "replace", fail_for_the_new_one)
    with pytest.raises(UserError, match="Input/output error"), result_folder(out) as folder:
        (folder / MARKER).write_text("new")
    assert names(tmp_path) == ["result"]
    assert (out / MARKER).read_text() == "old"


def test_a_folder_that_was_made_meanwhile_by_another_is_kept(tmp_path):
    out = tmp_path / "deep" / "result"
    with pytest.raises(ValueError, match="a bug"):
        write_half(out, ValueError("a bug"), other=tmp_path / "deep" / "other")
    assert names(tmp_path / "deep") == ["other"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="cannot be written"), result_folder(tmp_path / "deep" / "result"):
        pass
    assert "may not be written to" in refused(tmp_path / "result")
