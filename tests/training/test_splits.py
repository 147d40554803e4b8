"""Which people a training learns from, and which it is measured on."""

import warnings
from itertools import pairwise

import pytest
from training_runs import changed, people, tiny

from tfreg.errors import InputWarning, UserError
from tfreg.io.tables.manifest import read_subjects
from tfreg.training.splits import pairs_by_split


def test_pairs_follow_the_config(data):
    subjects = {s.image: s for s in read_subjects(data)}

    def kinds(**config):
        found = pairs_by_split(tiny(**config), data)
        for pairs, split in zip(found, ("train", "validation"), strict=True):
            assert {subjects[image].split for pair in pairs for image in (pair.fixed, pair.moving)} == {split}
        sides = [(subjects[pair.moving], subjects[pair.fixed]) for pair in found[0]]
        return len(sides), {(m.phase, f.phase) for m, f in sides}, {m.subject == f.subject for m, f in sides}

    both = {("inhale", "inhale"), ("inhale", "exhale"), ("exhale", "inhale"), ("exhale", "exhale")}
    assert kinds(pairs={"moving": "inhale", "fixed": "exhale"}) == (3, {("inhale", "exhale")}, {True})
    assert kinds(pairs={"moving": "exhale", "fixed": "inhale"}) == (3, {("exhale", "inhale")}, {True})
    assert kinds(pairs="all") == (6 * 4, both, {False})
    assert kinds(pairs="all", phase="exhale") == (3 * 2, {("exhale", "exhale")}, {False})
    assert kinds(pairs="images") == (6 * 5, both, {False, True})


def test_validation_pairs_are_bounded_and_the_same_every_time(data):
    config = tiny(pairs="all", training={"validation_pairs": 5})
    chosen = pairs_by_split(config, data)[1]
    everything = pairs_by_split(tiny(pairs="all", training={"validation_pairs": 99}), data)[1]
    assert (len(chosen), len(everything)) == (5, 24)
    assert pairs_by_split(config, data)[1] == chosen
    places = [everything.index(pair) for pair in chosen]
    assert all(a < b for a, b in pairwise(places))
    assert places != list(range(5))


def test_without_splits_some_people_are_held_out(data, manifest):
    path = manifest(lambda subject: changed(subject, split=None))
    held_out = []
    for seed in range(4):
        training, validation = (people(pairs, path) for pairs in pairs_by_split(tiny(pairs="all", seed=seed), path))
        assert training | validation == people(pairs_by_split(tiny(pairs="all"), path)[0], path) | people(
            pairs_by_split(tiny(pairs="all"), path)[1], path
        )
        assert not training & validation
        assert (len(training), len(validation)) == (4, 2)
        held_out.append(tuple(sorted(validation)))
    assert len(set(held_out)) > 1


def test_test_subjects_are_never_used(manifest):
    path = manifest(lambda subject: changed(subject, split="test") if subject.subject == "s002" else subject)
    for pairs in pairs_by_split(tiny(pairs="all"), path):
        assert "s002" not in people(pairs, path)


def test_who_is_left_out_and_who_is_twice_there(data, manifest):
    first = read_subjects(data)[0]
    path = manifest(lambda subject: changed(subject, split=None) if subject.subject == first.subject else subject)
    with pytest.warns(InputWarning, match=f"in no split, and left out: {first.id}"):
        assert first.subject not in people(pairs_by_split(tiny(), path)[0], path)

    other = next(s for s in read_subjects(data) if s.split != first.split and s.phase == first.phase)
    path = manifest(lambda subject: changed(subject, image=first.image) if subject.id == other.id else subject)
    with pytest.raises(UserError, match="are the same image, of"):
        pairs_by_split(tiny(), path)
    # Without splits, one of both may be held out.
    path = manifest(lambda s: changed(s, split=None, image=first.image if s.id == other.id else s.image))
    refused = 0
    for seed in range(6):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                pairs_by_split(tiny(seed=seed), path)
            except UserError:
                refused += 1
            else:
                assert "the same image stands there under several names" in str(caught[0].message)
    assert 0 < refused < 6


def test_manifests_that_do_not_fit_are_refused(manifest, refusal, tmp_path):
    run = tmp_path / "run"

    def refusal_of(change, **config):
        line = refusal(tiny(**config), manifest(change), run)
        assert line.startswith(str(tmp_path / "subjects.csv"))
        return line

    for split in ("train", "validation"):
        assert "needs subjects in both" in refusal_of(lambda s, split=split: changed(s, split=split))
    few = {"s001", "s002", "s003"}
    assert "fewer than 4 subjects" in refusal_of(lambda s: changed(s, split=None) if s.subject in few else None)
    leak = refusal_of(lambda s: changed(s, split="train" if s.phase == "inhale" else "validation"))
    assert "subject s001 is in `train` and in `validation`" in leak
    unlabelled = {"training": {"monitor": "val_dice"}}
    assert "no validation pair has labels" in refusal_of(lambda s: changed(s, labels=None), **unlabelled)
    only_training = refusal_of(lambda s: s if s.split == "train" else changed(s, labels=None), **unlabelled)
    assert "no validation pair has labels" in only_training

    (tmp_path / "subjects.csv").write_text("id,image\na,a.nii\n")
    assert "subject" in refusal(tiny(), tmp_path / "subjects.csv", run)
    assert "absent.csv" in refusal(tiny(), tmp_path / "absent.csv", run)
    assert not run.exists()
