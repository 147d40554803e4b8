"""The people of a classification: groups in one spelling, nobody left out in silence, images known by content."""

import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from tfreg.classification import cohort as health_cohort
from tfreg.classification.cohort import read_cohort
from tfreg.config import Classification, parse_section
from tfreg.errors import InputWarning, UserError
from tfreg.io.digests import voxels_digest
from tfreg.io.tables.manifest import pairs_from_subjects
from tfreg.registration.cohort import Registered


@pytest.fixture
def cohort(tmp_path, rng, monkeypatch):
    """A function that reads a cohort of people in the groups given, without registering them."""

    def register(subjects, pairs, *_):
        groups = {subject.subject: subject.group for subject in subjects}
        made = pairs_from_subjects(subjects, pairs.moving, pairs.fixed)
        return [Registered(p.fixed_subject, groups[p.fixed_subject], p, tmp_path / p.id) for p in made]

    monkeypatch.setattr(health_cohort, "register_subjects", register)

    def cohort(*groups, split=None, **config):
        rows = ["id,subject,image,phase,group"]
        for number, group in enumerate(groups):
            for phase in ("in", "ex"):
                name = f"p{number}_{phase}"
                nib.save(nib.Nifti1Image(rng.random((3, 4, 5), np.float32), np.eye(4)), tmp_path / f"{name}.nii")
                rows.append(f"{name},p{number},{name}.nii,{phase},{group}")
        (tmp_path / "subjects.csv").write_text("\n".join(rows) + "\n")
        config = {"pairs": {"moving": "in", "fixed": "ex"}, "healthy": ["healthy"], "folds": 2} | config
        config = parse_section(Classification, config, "config")
        return read_cohort(config, tmp_path / "subjects.csv", tmp_path, split)

    return cohort


@pytest.mark.parametrize(
    ("groups", "config", "words"),
    [
        (("Healthy", "ill"), {}, "no subject has group 'healthy' (is `Healthy` meant?); there are Healthy, ill"),
        (
            ("healthy", "ill", "fibrosis_"),
            {"ill": ["fibrosis"]},
            "no subject has group 'fibrosis' (is `fibrosis_` meant?)",
        ),
        (("healthy", "fibrosis", "fibro-sis"), {"ill": ["fibrosis"]}, "group 'fibro-sis' is 'fibrosis' in the config"),
    ],
)
def test_groups_have_one_spelling(cohort, groups, config, words):
    with pytest.raises(UserError, match=re.escape(words)):
        cohort(*groups, **config)


def test_a_group_that_is_nearly_in_the_config_is_told(cohort):
    with pytest.warns(
        InputWarning, match=r"group 'helthy' is not in the config \(is `healthy` meant\?\), and counts as ill"
    ):
        people = cohort("healthy", "helthy", "fibrosis")
    assert people.targets.tolist() == [0, 1, 1]
    with pytest.warns(InputWarning, match="and is left out"):
        people = cohort("healthy", "fibrosis", "fibroses", ill=["fibrosis"])
    assert people.targets.tolist() == [0, 1]


def test_people_without_a_group_are_told(cohort):
    with pytest.warns(InputWarning, match=r"without a group, and left out: p1\."):
        assert cohort("healthy", "", "ill").targets.tolist() == [0, 1]


def test_a_split_that_is_nearly_known(cohort):
    with pytest.raises(UserError, match=r"no subject has split 'val' \(is `validation` meant\?\); choose another"):
        cohort("healthy", "ill", split="val")


def test_people_are_known_by_their_images(cohort, tmp_path):
    """Another deformation's key, as without labels or with other options, does not make them others."""
    people = cohort("healthy", "ill", "ill")
    trained_on = {voxels_digest(tmp_path / "p1_in.nii")}
    assert people.seen(set(), trained_on) == ["p1"]
    assert people.seen({people.keys[2]}, trained_on) == ["p1", "p2"]
    others = people.without(["p1"])
    assert ([one.subject for one in others.registered], others.targets.tolist()) == (["p0", "p2"], [0, 1])
    renamed = [replace(one, folder=tmp_path / f"{n}") for n, one in enumerate(people.registered)]
    assert replace(people, registered=renamed).seen(set(people.keys), trained_on) == ["p1"]
