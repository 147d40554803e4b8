"""A run's people: recorded, and found again under other names."""

import json
import shutil
import warnings

import pytest

from tfreg.errors import InputWarning, UserError
from tfreg.io.tables.manifest import PairFiles
from tfreg.io.tables.training_people import TrainingPeople, seen_by, seen_in


def pair(folder, person, *others):
    """The pair of a person's two images, those of others by name."""
    moving, fixed = others or (f"{person}_in", f"{person}_ex")
    return PairFiles(f"{person}_pair", folder / fixed, folder / moving, fixed_subject=person, moving_subject=person)


@pytest.fixture
def run(tmp_path, rng):
    """A run that was trained on a and b, its best epoch chosen on c; and images of a to e."""
    for name in "abcde":
        for phase in ("in", "ex", "more"):
            (tmp_path / f"{name}_{phase}").write_bytes(rng.bytes(600))
    (tmp_path / "run").mkdir()
    people = TrainingPeople.of_pairs([pair(tmp_path, "a"), pair(tmp_path, "b")], [pair(tmp_path, "c")])
    people.save(tmp_path / "run")
    assert TrainingPeople.of_run(tmp_path / "run") == people
    assert TrainingPeople.of_run(tmp_path / "run" / "model.keras") == people
    return tmp_path / "run"


def test_the_record_names_people_and_no_paths(run):
    splits = json.loads((run / "subjects.json").read_text())
    assert splits.pop("format") == 1
    assert {split: set(people) for split, people in splits.items()} == {"train": {"a", "b"}, "validation": {"c"}}
    assert all(len(digests) == 2 for people in splits.values() for digests in people.values())
    assert str(run.parent) not in (run / "subjects.json").read_text()


def test_a_record_of_before_has_no_format(run):
    people = TrainingPeople.of_run(run)
    content = json.loads((run / "subjects.json").read_text())
    del content["format"]
    (run / "subjects.json").write_text(json.dumps(content))
    assert TrainingPeople.of_run(run) == people


def test_people_are_known_by_their_images(run):
    folder = run.parent
    shutil.copy(folder / "a_in", folder / "x_in")
    shutil.copy(folder / "c_ex", folder / "y_ex")
    pairs = [
        pair(folder, "x", "x_in", "e_ex"),  # one image is enough
        pair(folder, "x", "e_in", "e_more"),  # another pair of that person
        pair(folder, "y", "d_in", "y_ex"),
        pair(folder, "d", "d_more", "d_ex"),
    ]
    with pytest.warns(InputWarning) as caught:
        people = seen_by({"run": run}, pairs)["run"]
    assert people == {"x": "train", "y": "validation"}
    texts = [str(warning.message) for warning in caught]
    assert any("run was trained on 1 of the 3 people here: x;" in text for text in texts)
    assert any("run had its best epoch chosen on 1 of the 3 people here: y;" in text for text in texts)
    assert [seen_in(people, one) for one in pairs] == [{"x": "train"}, {"x": "train"}, {"y": "validation"}, {}]


def test_namesakes_are_only_suspicious(run):
    with pytest.warns(InputWarning, match="people of the same names, but on other images: a; if they"):
        assert seen_by({"run": run}, [pair(run.parent, "a", "d_in", "d_ex")]) == {"run": {}}


def test_what_is_not_known(run, tmp_path):
    (tmp_path / "old").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert seen_by({"old": tmp_path / "old"}, [pair(run.parent, "a")]) == {"old": None}
        assert seen_by({"run": run}, [pair(run.parent, "d")]) == {"run": {}}
    assert seen_in(None, pair(run.parent, "a")) is None
    for text in ("{", "[]", '{"train": {}}', '{"train": {"a": 3}, "validation": {}}'):
        (run / "subjects.json").write_text(text)
        with pytest.raises(UserError, match=r"subjects.json: .*; delete it, and it is not known who was trained on"):
            TrainingPeople.of_run(run)
