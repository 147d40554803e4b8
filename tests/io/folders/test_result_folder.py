"""A result appears whole or not at all, and nothing but an earlier result's files is replaced."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tfreg.errors import UserError
from tfreg.io.folders import result_folder as module
from tfreg.io.folders.folder_lock import FolderInUse
from tfreg.io.folders.result_folder import Kind, check_free, claim_folder, claimed_result, result_folder

MARKER = "report.json"
KIND = Kind("a test's result", MARKER, (r"more\.txt", r"parts/\d+\.txt"))


def a_result(folder, text="old"):
    folder.mkdir(parents=True)
    (folder / MARKER).write_text(text)
    (folder / "more.txt").write_text(text)
    return folder


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write(out, force=False, inputs=(), meanwhile=lambda: None, error=None):
    """Writes a result, as a command does."""
    with claimed_result(out, KIND, force, inputs) as written, written() as folder:
        (folder / "more.txt").write_text("new")
        (folder / "parts").mkdir()
        (folder / "parts" / "1.txt").write_text("new")
        (folder / MARKER).write_text("new")
        meanwhile()
        if error is not None:
            raise error


NEW = ["more.txt", "parts", "parts/1.txt", MARKER]


def refused(out, force=False, inputs=()):
    before = names(out) if os.path.isdir(out) else None
    with pytest.raises(UserError) as caught:
        check_free(out, force, KIND, inputs)
    assert (names(out) if os.path.isdir(out) else None) == before
    assert ";" in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_may_be_written(tmp_path):
    check_free(tmp_path / "new", False, KIND)
    check_free(tmp_path / "deep" / "new", False, KIND)
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty", False, KIND)
    check_free(a_result(tmp_path / "old"), True, KIND)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "old"]


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
    assert "already exists" in refused(f"{tmp_path}/dangling")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert "already exists" in refused(tmp_path / "circle")
    assert "too long" in refused(tmp_path / ("n" * 300)) or "File name" in refused(tmp_path / ("n" * 300))
    assert "longer than" in refused(tmp_path / "new" / ("ü" * 130))
    assert "~ was not replaced" in refused("~/result")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "may not be written to" in refused(tmp_path / "new")
    assert "may not be written to" in refused(tmp_path / "old", force=True)


def test_inputs_in_the_folder(tmp_path):
    out = a_result(tmp_path / "old")
    (out / "moving.nii").touch()
    (tmp_path / "link.nii").symlink_to(out / "moving.nii")
    (tmp_path / "folder").symlink_to(out)
    for path in (out / "moving.nii", tmp_path / "link.nii", tmp_path / "folder" / "moving.nii", out):
        text = refused(out, force=True, inputs=[None, tmp_path / "fixed.nii", path])
        assert text.startswith(f"{path}: lies in {out}")
    assert "lies in" in refused(tmp_path / "folder", force=True, inputs=[out / "moving.nii"])
    check_free(out, True, KIND, [tmp_path / "old.nii"])
    with pytest.raises(UserError, match="lies in"):
        claim_folder(out, KIND, True, [out / "moving.nii"])


def test_a_new_folder(tmp_path):
    out = tmp_path / "deep" / "result"
    umask = os.umask(0o022)
    try:
        with claimed_result(out, KIND) as written, written() as folder:
            (folder / MARKER).write_text("new")
            assert not out.exists()
            assert folder.parent == out.parent  # renaming works within one file system only
    finally:
        os.umask(umask)
    assert names(tmp_path / "deep") == ["result", f"result/{MARKER}"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o755


def test_permissions_are_handed_down(tmp_path):
    """A folder that a group shares hands its group on (setgid)."""
    tmp_path.chmod(0o2775)
    write(tmp_path / "result")
    assert (tmp_path / "result").stat().st_mode & stat.S_ISGID


def test_only_its_own_files_are_replaced(tmp_path):
    out = a_result(tmp_path / "result")
    (out / "parts").mkdir()
    for name in ("landmarks.csv", "parts/2.txt", "parts/mine.txt", "more.txt.bak"):
        (out / name).write_text(name)
    (out / "link").symlink_to(tmp_path)
    inode = out.stat().st_ino
    with claimed_result(out, KIND, force=True) as written, written() as folder:
        (folder / MARKER).write_text("new")
        assert (out / MARKER).read_text() == "old"
    assert names(out) == ["landmarks.csv", "link", "more.txt.bak", "parts", "parts/mine.txt", MARKER]
    assert (out / MARKER).read_text() == "new"
    assert (out / "parts" / "mine.txt").read_text() == "parts/mine.txt"
    assert out.stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_beginning_anew_deletes_only_its_own_files(tmp_path):
    out = a_result(tmp_path / "work")
    (out / "parts").mkdir()
    (out / "parts" / "1.txt").touch()
    (out / "notes.txt").write_text("mine")
    assert claim_folder(out, KIND, False)
    assert not claim_folder(out, KIND, True)
    assert names(out) == ["notes.txt"]


def shared_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real").chmod(0o2770)
    return tmp_path / "real"


def link(tmp_path):
    (tmp_path / "link").symlink_to(shared_folder(tmp_path))
    return tmp_path / "link"


def long(tmp_path):
    return shared_folder(tmp_path).rename(tmp_path / ("l" * 255))


@pytest.mark.parametrize("make", [shared_folder, link, long])
@pytest.mark.parametrize("form", ["{0}", "{0}/", "{0}/../{1}"])
def test_an_existing_empty_folder_is_filled(tmp_path, make, form):
    """It keeps its place, owner and permissions: it may be a mount, or shared."""
    out = make(tmp_path)
    given = form.format(out, out.resolve().name)
    before = out.stat()
    write(given)
    assert names(out) == NEW
    after = out.stat()
    assert (after.st_ino, after.st_mode, after.st_uid, after.st_gid) == (
        before.st_ino,
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert len(list(tmp_path.iterdir())) == 1 + (make is link)
    write(given, force=True)
    assert names(out) == NEW


def test_here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(".")
    assert names(tmp_path / "here") == NEW
    assert "already exists" in refused(Path("."))
    write(".", force=True)
    assert names(tmp_path) == ["here", *(f"here/{name}" for name in NEW)]


def test_a_long_name(tmp_path):
    for letter in ("n" * 255, "ü" * 127):
        write(tmp_path / letter)
        assert names(tmp_path / letter) == NEW


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_empty_folder_where_nothing_can_be_written_beside_it(tmp_path):
    (tmp_path / "mine").mkdir()
    tmp_path.chmod(0o555)
    write(tmp_path / "mine")
    assert names(tmp_path / "mine") == NEW


@pytest.fixture
def mount(tmp_path):
    """A small file system of its own, where this may be mounted."""
    place = tmp_path / "mount"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_mount(mount):
    write(mount)
    assert names(mount) == NEW
    write(mount, force=True)
    assert names(mount) == NEW


def test_a_full_disk(mount):
    write(mount / "result")
    earlier = names(mount)

    def fill():
        with open(mount / "filler", "wb", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass

    with pytest.raises(UserError) as caught:
        write(mount / "result", force=True, meanwhile=fill)
    assert str(caught.value) == f"{mount / 'result'}: cannot be written (No space left on device); choose another place"
    (mount / "filler").unlink()
    assert names(mount) == earlier
    # Of libraries whose errors do not say it.
    with pytest.raises(UserError, match="No space left on device"):
        write(mount / "new", meanwhile=lambda: (mount / "filler").write_bytes(bytes(50_000)), error=RuntimeError("bad"))


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("existing", [False, True])
def test_nothing_is_left_of_a_failure(tmp_path, error, existing):
    out = tmp_path / "deep" / "result"
    if existing:
        a_result(out)
    expected = UserError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        write(out, force=existing, error=error)
    if existing:
        assert (out / MARKER).read_text() == "old"
        assert names(tmp_path / "deep") == ["result", "result/more.txt", f"result/{MARKER}"]
    else:
        assert names(tmp_path) == []
    if expected is UserError:
        assert str(caught.value) == f"{out}: cannot be written (No space left on device); choose another place"


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_the_old_files_come_back_if_the_new_ones_cannot_take_their_place(tmp_path, monkeypatch, place):
    out = a_result(tmp_path / "result")
    rename, count = os.rename, iter(range(100))

    def fail_once(source, target):
        if next(count) == place:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(module.os, "rename", fail_once)
    with pytest.raises(UserError, match="Input/output error"):
        write(out, force=True)
    assert names(tmp_path) == ["result", "result/more.txt", f"result/{MARKER}"]
    assert (out / MARKER).read_text() == (out / "more.txt").read_text() == "old"


def test_what_appears_meanwhile_is_kept(tmp_path):
    out = tmp_path / "result"

    def work():
        out.mkdir(exist_ok=True)
        (out / "segmentation.nii").write_text("hours of work")

    for _ in ("new", "there and empty"):
        with pytest.raises(UserError, match="was written by something else while the command ran, and is kept"):
            write(out, meanwhile=work)
        assert names(tmp_path) == ["result", "result/segmentation.nii"]
        (out / "segmentation.nii").unlink()
    out.rmdir()
    with pytest.raises(UserError, match="was written by something else while the command ran"):
        write(out, force=True, meanwhile=work)
    assert names(tmp_path) == ["result", "result/segmentation.nii"]
    (out / "segmentation.nii").unlink()
    with pytest.raises(UserError, match="was written by something else while the command ran"), result_folder(out):
        work()
    before = out.stat().st_mtime_ns
    with pytest.raises(UserError, match="was written by something else while the command ran"), result_folder(out):
        pass
    assert names(tmp_path) == ["result", "result/segmentation.nii"]
    assert out.stat().st_mtime_ns == before


def test_two_commands_at_once(tmp_path):
    out = tmp_path / "deep" / "result"
    with claimed_result(out, KIND) as written:
        with pytest.raises(FolderInUse, match=f"{out}: is in use by process {os.getpid()} "):
            write(out)
        with written() as folder:
            (folder / MARKER).write_text("first")
    assert (out / MARKER).read_text() == "first"
    assert names(tmp_path / "deep") == ["result", f"result/{MARKER}"]


def test_what_a_killed_command_left_goes(tmp_path):
    for rest in (".result-partial-0123abcd", ".other-partial-0123abcd"):
        (tmp_path / rest).mkdir()
        (tmp_path / rest / "half").touch()
    write(tmp_path / "result")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other-partial-0123abcd", "result"]


def test_a_result_whose_replacing_was_killed_can_be_replaced(tmp_path):
    out = tmp_path / "result"
    (out / ".tfreg-partial-0123abcd" / ".old").mkdir(parents=True)
    for name in (f".tfreg-partial-0123abcd/.old/{MARKER}", "more.txt", "mine.txt"):
        (out / name).write_text("old")
    assert "already exists" in refused(out)
    write(out, force=True)
    assert names(out) == ["mine.txt", *NEW]
    assert (out / "mine.txt").read_text() == "old"


def test_a_folder_that_was_made_meanwhile_by_another_is_kept(tmp_path):
    out = tmp_path / "deep" / "result"
    with pytest.raises(ValueError, match="a bug"):
        write(out, meanwhile=(tmp_path / "deep" / "other").mkdir, error=ValueError("a bug"))
    assert names(tmp_path / "deep") == ["other"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="cannot be written"), result_folder(tmp_path / "deep" / "result"):
        pass
    assert "may not be written to" in refused(tmp_path / "result")
