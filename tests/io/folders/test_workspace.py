"""A folder in which work goes on: settings that are compared, files that are whole."""

import json

import pytest

from tfreg.errors import UserError
from tfreg.io.folders.result_folder import Kind
from tfreg.io.folders.workspace import Workspace, differing
from tfreg.io.json_files import Record

WORK = Kind("a piece of work", "settings.json", (r"rows\.jsonl|tables\.md",))


class Settings(Record):
    seed: int = 0
    methods: tuple[str, ...] = ()
    weight: float = 1e-6


def test_settings_are_written_once_and_compared(tmp_path):
    workspace = Workspace(tmp_path / "out", WORK)
    assert not workspace.goes_on
    assert workspace.settled(Settings(seed=3)) == Settings(seed=3)
    written = tmp_path / "out" / "settings.json"
    changed = written.stat().st_mtime_ns
    again = Workspace(tmp_path / "out", WORK)
    assert again.goes_on
    assert again.settled(Settings(seed=3)) == Settings(seed=3)
    assert written.stat().st_mtime_ns == changed
    with pytest.raises(UserError, match="out: was begun with another seed, weight; name another folder"):
        again.settled(Settings(weight=2e-6))
    assert differing(Settings(seed=1, methods=("a",)), Settings(seed=1, methods=("b",))) == ["methods"]
    assert list((tmp_path / "out").iterdir()) == [written]


def test_settings_of_an_older_format_are_compared(tmp_path):
    (tmp_path / "settings.json").write_text(json.dumps({"seed": 3, "methods": [], "weight": 1e-6}))
    assert Workspace(tmp_path, WORK).settled(Settings(seed=3)) == Settings(seed=3)


def test_settings_may_grow(tmp_path):
    def joined(folder, earlier, settings):
        return earlier.changed(methods=tuple(dict.fromkeys(earlier.methods + settings.methods)))

    Workspace(tmp_path, WORK).settled(Settings(methods=("a", "b")))
    assert Workspace(tmp_path, WORK).settled(Settings(methods=("b", "c")), joined).methods == ("a", "b", "c")
    assert json.loads((tmp_path / "settings.json").read_text())["methods"] == ["a", "b", "c"]


def test_force_begins_anew_and_keeps_what_is_not_its_own(tmp_path):
    workspace = Workspace(tmp_path, WORK)
    workspace.settled(Settings(seed=3))
    workspace.append("rows.jsonl", "one")
    workspace.append("rows.jsonl", "two")
    assert (tmp_path / "rows.jsonl").read_text() == "one\ntwo\n"
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="lies in"):
        Workspace(tmp_path, WORK, True, [tmp_path / "rows.jsonl", None])
    assert not Workspace(tmp_path, WORK, True).goes_on
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UserError, match="holds something else than a piece of work"):
        Workspace(tmp_path, WORK)


def test_nothing_is_written_once_the_lock_is_lost(tmp_path):
    def lost():
        raise UserError("was taken over")

    workspace = Workspace(tmp_path, WORK, check=lost)
    for write in (
        lambda: workspace.settled(Settings()),
        lambda: workspace.write("tables.md", "text"),
        lambda: workspace.append("rows.jsonl", "row"),
    ):
        with pytest.raises(UserError, match="was taken over"):
            write()
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_named_with_its_cure(tmp_path):
    for text in ("", "{", "[]", '{"seed": "many"}', '{"seed": 0, "other": 1}'):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(UserError, match=r"settings\.json: .*damaged.*; make it again"):
            Workspace(tmp_path, WORK).settled(Settings())
