"""Images that stand in a table twice, and labels that belong to another image."""

import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest

from tfreg.errors import InputWarning, UserError
from tfreg.io.tables.manifest import PairFiles, Subject
from tfreg.io.tables.same_files import check_pairs, check_subjects


@pytest.fixture
def files(tmp_path, rng):
    """Images a, b and c of which `copy` and `packed` are a under other names, and labels of each."""
    for name in "abc":
        nib.save(nib.Nifti1Image(rng.random((3, 4, 5), np.float32), np.eye(4)), tmp_path / f"{name}.nii")
        labels = rng.integers(0, 3, (3, 4, 5), np.uint8)
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / f"{name}_labels.nii")
    (tmp_path / "copy.nii").write_bytes((tmp_path / "a.nii").read_bytes())
    (tmp_path / "packed.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    (tmp_path / "link.nii").symlink_to(tmp_path / "a.nii")
    return tmp_path


@pytest.mark.parametrize("name", ["a.nii", "copy.nii", "packed.nii.gz", "link.nii", "../{}/a.nii"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_an_image_in_two_splits(files, name, split):
    other = files / name.format(files.name)
    subjects = [
        Subject("1", "s", files / "a.nii", split="train"),
        Subject("2", "t", other, split=split),
        Subject("3", "u", files / "b.nii", split=split),
    ]
    with pytest.raises(UserError) as caught:
        check_subjects("table.csv", subjects)
    text = str(caught.value)
    assert text.startswith("table.csv: 1 (`train`) and 2") or text.startswith("table.csv: 2 (`test`) and 1")
    assert "are the same image" in text
    check_subjects("table.csv", [subjects[0], subjects[2]])


def test_an_image_under_two_names_is_told(files):
    subjects = [Subject(n, n, files / f) for n, f in (("1", "a.nii"), ("2", "copy.nii"), ("3", "b.nii"))]
    with pytest.warns(InputWarning, match=r"table.csv: the same image stands there under several names: 1 = 2\."):
        check_subjects("table.csv", subjects)


def test_labels_of_another_image(files):
    def subject(number, image, labels):
        return Subject(number, number, files / image, files / labels)

    with pytest.raises(UserError, match=r"the labels of 1 are the image 2; name its segmentation"):
        check_subjects("t.csv", [subject("1", "a.nii", "b.nii"), subject("2", "b.nii", "b_labels.nii")])
    with pytest.raises(UserError, match=r"the labels of 1 are the image 1"):
        check_subjects("t.csv", [subject("1", "a.nii", "link.nii")])
    with pytest.warns(InputWarning, match=r"different images have the same labels: 1 = 2\."):
        check_subjects("t.csv", [subject("1", "a.nii", "a_labels.nii"), subject("2", "b.nii", "a_labels.nii")])


def test_points_of_another_image(files):
    (files / "points.csv").write_text("x,y,z\n1,2,3\n")
    subjects = [Subject(name, name, files / f"{name}.nii", points=files / "points.csv") for name in "ab"]
    with pytest.warns(InputWarning, match=r"different images have the same points: a = b\."):
        check_subjects("t.csv", subjects)


def test_pairs(files):
    a, b, c = (files / f"{name}.nii" for name in "abc")
    (files / "points.csv").write_text("x,y,z\n1,2,3\n")
    points = {"fixed_points": files / "points.csv", "moving_points": files / "points.csv"}
    for pairs, words in (
        ([PairFiles("p", a, files / "copy.nii")], "pairs register an image to itself: p"),
        ([PairFiles("p", a, b), PairFiles("q", files / "copy.nii", b)], "the same images under two ids: p = q"),
        ([PairFiles("p", a, b, files / "a_labels.nii", files / "a_labels.nii")], "the same labels: a.nii = b.nii"),
        ([PairFiles("p", a, b, **points)], "the same points on both sides: p"),
    ):
        with pytest.warns(InputWarning) as caught:
            check_pairs("pairs.csv", pairs)
        assert any(words in str(warning.message) for warning in caught)
    with pytest.raises(UserError, match=r"the labels of a.nii are the image b.nii"):
        check_pairs("pairs.csv", [PairFiles("p", a, b, files / "b.nii", files / "b_labels.nii")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sides = {"p": (a, b), "q": (b, a), "r": (a, c), "s": (files / "no.nii", a)}
        check_pairs("pairs.csv", [PairFiles(name, *paths) for name, paths in sides.items()])
