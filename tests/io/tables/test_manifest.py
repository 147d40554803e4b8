"""Manifests and the pairs made from them."""

from pathlib import Path

import pytest

from tfreg.errors import InputWarning, UserError
from tfreg.io.tables.manifest import (
    PairFiles,
    Subject,
    lists_pairs,
    pairs_from_subjects,
    read_pairs,
    read_subjects,
    write_subjects,
)


def manifest(folder, content, files=("a.nii", "b.nii", "c.csv")):
    for name in files:
        (folder / name).touch()
    path = folder / "manifest.csv"
    path.write_text(content, encoding="utf-8")
    return path


def hearts(*ids):
    """Subjects named PERSON_PHASE."""
    return [Subject(name, name.split("_")[0], Path(f"{name}.nii"), phase=name.split("_")[1]) for name in ids]


def test_subjects(tmp_path):
    path = manifest(
        tmp_path, "phase,id,subject,image,labels,points,lobes\nED,0004,s4,a.nii,b.nii,c.csv,x\n,5,s5, b.nii,,,\n"
    )
    first, second = read_subjects(path)
    assert first == Subject("0004", "s4", tmp_path / "a.nii", tmp_path / "b.nii", tmp_path / "c.csv", phase="ED")
    assert second == Subject("5", "s5", tmp_path / "b.nii")


def test_pairs(tmp_path):
    path = manifest(tmp_path, "id,fixed,moving,fixed_points\np,a.nii,b.nii,c.csv\n")
    assert read_pairs(path) == [PairFiles("p", tmp_path / "a.nii", tmp_path / "b.nii", fixed_points=tmp_path / "c.csv")]


def test_paths_are_relative_to_the_file_or_absolute(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.nii").touch()
    path = manifest(tmp_path, f"id,subject,image\n1,s,images/a.nii\n2,t,{tmp_path}/a.nii\n")
    monkeypatch.chdir("/")
    assert [s.image for s in read_subjects(path)] == [tmp_path / "images" / "a.nii", tmp_path / "a.nii"]


def test_what_is_written_comes_back(tmp_path):
    subjects = read_subjects(manifest(tmp_path, "id,subject,image,points,group\n1,s,a.nii,c.csv,NOR\n2,t,b.nii,,\n"))
    (tmp_path / "deeper").mkdir()
    write_subjects(tmp_path / "deeper" / "b.csv", subjects)
    assert (tmp_path / "deeper" / "b.csv").read_text() == (
        "id,subject,image,points,group\n1,s,../a.nii,../c.csv,NOR\n2,t,../b.nii,,\n"
    )
    again = read_subjects(tmp_path / "deeper" / "b.csv")
    assert [s.image.resolve() for s in again] == [s.image.resolve() for s in subjects]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("id,image\n1,a.nii\n", "column subject is missing"),
        ("", "column id, subject, image is missing"),
        ("id,subject,image\n", "no rows"),
        ("id,subject,image\n1,s,a.nii\n1,t,b.nii\n", r"line 3 \(id '1'\): the id is on line 2 already"),
        ("id,subject,image\n1,s,none.nii\n", r"line 2 \(id '1'\): image .*none.nii does not exist"),
        ("id,subject,image,labels\n1,s,a.nii,no.nii\n", r"labels .*no.nii does not exist"),
        ("id,subject,image\n1,,a.nii\n", r"line 2 \(id '1'\): subject is empty"),
        ("id,subject,image\n1,s\n", "line 2 has 2 cells, and the header names 3"),
        ("id,subject,image\n../1,s,a.nii\n", "an id names files"),
    ],
)
def test_bad_manifests_get_one_line(tmp_path, content, text):
    path = manifest(tmp_path, content)
    with pytest.raises(UserError, match=text) as caught:
        read_subjects(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_manifest(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_pairs(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot be written"):
        write_subjects(tmp_path / "none" / "a.csv", [])


def test_pairs_within_each_subject():
    subjects = hearts("a_ED", "a_ES", "b_ES", "b_ED", "b_mid")
    pairs = pairs_from_subjects(subjects, moving_phase="ED", fixed_phase="ES")
    assert [(p.id, p.fixed.name, p.moving.name) for p in pairs] == [
        ("a_ED_to_a_ES", "a_ES.nii", "a_ED.nii"),
        ("b_ED_to_b_ES", "b_ES.nii", "b_ED.nii"),
    ]


def test_labels_and_points_stay_with_their_volume():
    subjects = [
        Subject("1", "s", Path("1"), Path("1l"), Path("1p"), "ED", points_second=Path("1q")),
        Subject("2", "s", Path("2"), Path("2l"), None, "ES"),
    ]
    (pair,) = pairs_from_subjects(subjects, moving_phase="ED", fixed_phase="ES")
    expected = PairFiles("1_to_2", Path("2"), Path("1"), Path("2l"), Path("1l"), None, Path("1p"), Path("1q"), "s", "s")
    assert pair == expected


def test_the_people_in_a_pair():
    people = hearts("a_ED", "a_ES", "b_ED", "b_ES")
    within, between = (pairs_from_subjects(people, *phases)[0] for phases in (("ED", "ES"), ()))
    assert (within.subjects, between.subjects) == (("a",), ("a", "b"))
    assert PairFiles("p", Path("a"), Path("b")).subjects == ("p",)


def test_labels_may_stand_in_another_column(tmp_path):
    path = manifest(tmp_path, "id,subject,image,labels,lobes\n1,s,a.nii,,b.nii\n")
    assert [s.labels for s in (*read_subjects(path), *read_subjects(path, "lobes"))] == [None, tmp_path / "b.nii"]
    path = manifest(tmp_path, "id,fixed,moving,fixed_lobes,moving_lobes\n1,a.nii,b.nii,a.nii,b.nii\n")
    (pair,) = read_pairs(path, "lobes")
    assert (pair.fixed_labels, pair.moving_labels) == (tmp_path / "a.nii", tmp_path / "b.nii")
    with pytest.raises(UserError, match="column fixed_tumours, moving_tumours is missing"):
        read_pairs(path, "tumours")


def test_a_file_that_is_not_there_may_be_left_to_its_reader(tmp_path):
    path = manifest(tmp_path, "id,subject,image\n1,s,none.nii\n")
    assert read_subjects(path, must_exist=False)[0].image == tmp_path / "none.nii"


def test_a_subject_without_both_phases_is_left_out_with_a_warning():
    with pytest.warns(InputWarning, match="left out: b, c"):
        pairs = pairs_from_subjects(hearts("a_ED", "a_ES", "b_ED", "c_mid"), moving_phase="ED", fixed_phase="ES")
    assert len(pairs) == 1


def test_all_ordered_pairs_of_different_subjects():
    subjects = hearts("a_ED", "a_ES", "b_ED", "c_ED")
    assert [p.id for p in pairs_from_subjects(subjects, phase="ED")] == [
        "b_ED_to_a_ED",
        "c_ED_to_a_ED",
        "a_ED_to_b_ED",
        "c_ED_to_b_ED",
        "a_ED_to_c_ED",
        "b_ED_to_c_ED",
    ]
    # 4 * 3 ordered pairs of volumes, less the 2 within subject a
    assert len(pairs_from_subjects(subjects)) == 10


def test_pairs_that_cannot_be_made():
    subjects = hearts("a_ED", "b_ES", "b_mid")
    with pytest.raises(UserError, match="no volume has phase 'XX'; the phases there are ED, ES, mid"):
        pairs_from_subjects(subjects, phase="XX")
    with pytest.raises(UserError, match="phases there are none"):
        pairs_from_subjects([Subject("1", "s", Path("a"))], phase="ED")
    with pytest.raises(UserError, match="a has phase 'ED' twice"):
        pairs_from_subjects(hearts("a_ED", "a_ED", "a_ES"), moving_phase="ED", fixed_phase="ES")
    with pytest.warns(InputWarning, match="left out: a, b"), pytest.raises(UserError, match="no pair can be made"):
        pairs_from_subjects(subjects, moving_phase="ED", fixed_phase="ES")
    with pytest.raises(UserError, match="no pair can be made"):
        pairs_from_subjects(subjects, phase="ED")


@pytest.mark.parametrize(
    "arguments", [{"moving_phase": "ED"}, {"moving_phase": "ED", "fixed_phase": "ES", "phase": "ED"}]
)
def test_phases_that_contradict(arguments):
    with pytest.raises(ValueError, match="`moving_phase`"):
        pairs_from_subjects(hearts("a_ED", "a_ES"), **arguments)


@pytest.mark.parametrize(("name", "count"), [("cardiac", 100), ("hippocampus", 228), ("lung_mri", 3)])
def test_real_manifests(shared_data, name, count):
    subjects = read_subjects(shared_data / name / "subjects.csv")
    assert len(subjects) == count
    assert all(s.labels is not None for s in subjects)
    if name == "cardiac":
        assert len(pairs_from_subjects(subjects, moving_phase="ED", fixed_phase="ES")) == 50
    assert len(read_pairs(shared_data / "lung_ct" / "pairs.csv")) == 1


def subjects_of(folder, content):
    return read_subjects(manifest(folder, content))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["1,s,a.nii,,,val"], "split 'val' is unknown (is `validation` meant?); give train, validation, test"),
        (["1,s,a.nii,,,Train"], "split 'Train' is unknown (is `train` meant?)"),
        (["1,s,a.nii,,,holdout"], "split 'holdout' is unknown; give train"),
        (["1,s,a.nii,,,train", "2,s,b.nii,,,test"], "subject s is in `train` and in `test` (lines 2 and 3)"),
        (["1,s,a.nii,ED,,", "2,s,b.nii,ed,,"], "line 3: phase 'ed' is spelled 'ED' on line 2"),
        (["1,s,a.nii,,NOR,", "2,t,b.nii,,nor,"], "line 3: group 'nor' is spelled 'NOR' on line 2"),
        (["1,S1,a.nii,,,train", "2,s1,b.nii,,,validation"], "subject 's1' is spelled 'S1' on line 2"),
        (["1,Jose\u0301,a.nii,,,", "2,Jos\u00e9,b.nii,,,"], "is spelled"),
        (["1,a  b,a.nii,,,", "2,a b,b.nii,,,"], "is spelled 'a  b' on line 2"),
        (["A,s,a.nii,,,", "a,t,b.nii,,,"], "the id is on line 2 already"),
        (["Jose\u0301,s,a.nii,,,", "Jos\u00e9,t,b.nii,,,"], "the id is on line 2 already"),
        (["x" * 130 + ",s,a.nii,,,"], "make it shorter than 100 bytes"),
        (["1,s\u200b,a.nii,,,"], "subject holds an invisible character (U+200B)"),
        (['1,s,"a.nii\n",,,'], None),
        (['1,s,"a\nb.nii",,,'], "image holds an invisible character (U+000A)"),
        (["1,s,a.nii,,NA,"], "group is 'NA'; leave the cell empty"),
        (["1,s,a.nii,nan,,"], "phase is 'nan'; leave the cell empty"),
    ],
)
def test_words_and_names_are_certain(tmp_path, rows, words):
    content = "\n".join(["id,subject,image,phase,group,split", *rows, ""])
    if words is None:
        assert subjects_of(tmp_path, content)[0].image == tmp_path / "a.nii"
        return
    with pytest.raises(UserError) as caught:
        subjects_of(tmp_path, content)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'manifest.csv'}: line ") or "subject s is in" in words


def test_norwegians_and_numbers_are_names(tmp_path):
    first, second = subjects_of(tmp_path, "id,subject,image,phase,group\n001,NO,a.nii,on,N\n002,No 2,b.nii,off,Y\n")
    assert (first.id, first.subject, first.phase, first.group) == ("001", "NO", "on", "N")
    assert (second.phase, second.group) == ("off", "Y")


def test_names_that_differ_by_zeros_are_told(tmp_path):
    with pytest.warns(InputWarning, match="subject '001', '1' differ by zeros only"):
        assert len(subjects_of(tmp_path, "id,subject,image\na,001,a.nii\nb,1,b.nii\nc,10,c.csv\n")) == 3


def test_a_split_under_another_name(tmp_path):
    with pytest.raises(UserError, match="column 'set' holds test, train, and is not known; call it `split`"):
        subjects_of(tmp_path, "id,subject,image,set\n1,s,a.nii,train\n2,t,b.nii,test\n")
    assert len(subjects_of(tmp_path, "id,subject,image,set\n1,s,a.nii,pilot\n2,t,b.nii,main\n")) == 2


def test_all_missing_files_are_named_with_their_cause(tmp_path):
    content = (
        "id,subject,image,labels\n1,s,~/a.nii,b.nii\n2,t,$HOME/a.nii,no.nii\n"
        "3,u,https://x.org/a.nii,\n4,v,x\\\\a.nii,\n5,w,a.nii,\n"
    )
    with pytest.raises(UserError) as caught:
        subjects_of(tmp_path, content)
    text = str(caught.value)
    assert text.count("does not exist") == 5
    assert text.count("~ and variables are not replaced") == 2
    assert text.count("only files on this machine are read") == 1
    assert text.count("write / in place of") == 1
    assert text.count("relative to the CSV file") == 1
    assert "\n" not in text


def test_pairs_tables_are_certain(tmp_path):
    for header, near in (("fixed_label", "fixed_labels"), ("Fixed-Points", "fixed_points")):
        with pytest.raises(UserError, match=f"is `{near}` meant"):
            read_pairs(manifest(tmp_path, f"id,fixed,moving,{header}\np,a.nii,b.nii,c.csv\n"))
    with pytest.warns(InputWarning, match="columns are not used: fixed_mask"):
        read_pairs(manifest(tmp_path, "id,fixed,moving,fixed_mask\np,a.nii,b.nii,c.csv\n"))
    assert lists_pairs(manifest(tmp_path, "ID;\n")) is False
    assert lists_pairs(manifest(tmp_path, "id,Fixed,Moving\n"))
    assert not lists_pairs(manifest(tmp_path, "id,subject,image\n"))


def test_pairs_have_names_of_their_own():
    people = [Subject(name, name, Path(name)) for name in ("a_to_b", "c", "a", "b_to_c")]
    with pytest.raises(UserError, match="two pairs are called 'a_to_b_to_c'; leave `_to_` out of ids"):
        pairs_from_subjects(people)


def test_phases_that_are_nearly_there():
    with pytest.raises(UserError, match=r"no volume has phase 'es' \(is `ES` meant\?\); the phases there are ED, ES"):
        pairs_from_subjects(hearts("a_ED", "a_ES"), moving_phase="ED", fixed_phase="es")
    with pytest.raises(UserError, match=r"table\.csv: the moving and the fixed phase are both 'ED'"):
        pairs_from_subjects(hearts("a_ED", "a_ES"), moving_phase="ED", fixed_phase="ED", source="table.csv")
