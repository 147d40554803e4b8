"""The pairs that a manifest gives."""

import pytest

from tfreg.config import EvaluationOptions
from tfreg.errors import UserError
from tfreg.evaluation.experiments import plan_experiments


def test_pairs_are_made_of_subjects(people):
    def planned(*pairs, seed=0, **options):
        return plan_experiments(people / "subjects.csv", EvaluationOptions(pairs=pairs, **options), seed)

    assert {name: len(pairs) for name, pairs in planned("ED:ES", "all:ED", "all", "images").items()} == {
        "within subjects, ED to ES": 6,
        "all combinations, ED": 30,
        "all combinations": 120,
        "all images' combinations": 132,
    }
    assert len(planned("all:ED", split="validation")["all combinations, ED"]) == 20
    chosen = [planned("all:ED", count=7, seed=seed)["all combinations, ED"] for seed in (3, 3, 4)]
    assert len({pair.id for pair in chosen[0]}) == 7
    assert chosen[0] == chosen[1] != chosen[2]
    with pytest.raises(UserError, match="--pairs ED: give MOVING:FIXED"):
        planned("ED")
    with pytest.raises(UserError, match="no subject has split 'test'"):
        planned("all", split="test")


def test_a_manifest_of_pairs_is_one_experiment(people, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(f"id,fixed,moving\none,{people}/p0_ES.nii.gz,{people}/none.nii.gz\n")
    ((name, (pair,)),) = plan_experiments(path, EvaluationOptions(pairs=("ED:ES",)), 0).items()
    assert (name, pair.id, pair.subjects) == ("pairs", "one", ("one",))


def test_what_a_table_does_not_say_is_refused(people, tmp_path):
    def planned(path, *pairs, split=None):
        return plan_experiments(path, EvaluationOptions(pairs=pairs, split=split), 0)

    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"id,fixed,moving\none,{people}/p0_ES.nii.gz,{people}/p0_ED.nii.gz\n")
    with pytest.raises(UserError, match=r"--split validation: .*pairs.csv lists pairs, which have no split"):
        planned(pairs, "all", split="validation")
    pairs.write_text("id,Fixed,Moving\none,a.nii,b.nii\n")
    with pytest.raises(UserError, match=r"column fixed, moving is missing \(is `Fixed` meant\?\)"):
        planned(pairs, "all")
    with pytest.raises(UserError, match=r"no subject has split 'val' \(is `validation` meant\?\)"):
        planned(people / "subjects.csv", "all", split="val")
    with pytest.raises(UserError, match=r"subjects.csv: no volume has phase 'Es' \(is `ES` meant\?\)"):
        planned(people / "subjects.csv", "ED:Es")
    with pytest.raises(UserError, match="--pairs all:: give MOVING:FIXED"):
        planned(people / "subjects.csv", "all:")
