"""What counts as the same volume."""

import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from tfreg.io.folders.content import content_digest


@pytest.fixture
def image(tmp_path, rng):
    array = rng.integers(-900, 900, (4, 5, 6)).astype(np.int16)
    nib.save(nib.Nifti1Image(array, np.diag([2, 2, 3, 1])), tmp_path / "a.nii")
    return tmp_path / "a.nii", array


def test_the_same_voxels_under_other_names(image, tmp_path):
    path, array = image
    expected = content_digest(path)
    assert len(expected) == 64
    shutil.copy(path, tmp_path / "other name.nii")
    with open(path, "rb") as plain, gzip.GzipFile(tmp_path / "b.nii.gz", "wb", compresslevel=1, mtime=5) as packed:
        shutil.copyfileobj(plain, packed)
    edited = nib.Nifti1Image(array, np.diag([1, 1, 1, 1]))
    edited.header["descrip"] = b"made by another program"
    nib.save(edited, tmp_path / "c.nii.gz")
    (tmp_path / "d.nii").symlink_to(path)
    for name in ("other name.nii", "b.nii.gz", "c.nii.gz", "d.nii"):
        assert content_digest(tmp_path / name) == expected, name


def test_another_voxel_is_another_volume(image, tmp_path):
    path, array = image
    expected = content_digest(path)
    array[1, 2, 3] += 1
    nib.save(nib.Nifti1Image(array, np.diag([2, 2, 3, 1])), path)
    assert content_digest(path) != expected


@pytest.mark.parametrize("extension", ["mhd", "nhdr", "hdr"])
def test_headers_alone_say_nothing(tmp_path, extension):
    """Two images with equal headers, the voxels in files beside them."""
    for name, value in (("a", 1), ("b", 2), ("c", 1)):
        array = np.arange(60, dtype=np.int16).reshape(3, 4, 5) * value
        if extension == "hdr":
            nib.save(nib.Nifti1Pair(array, np.eye(4)), tmp_path / f"{name}.hdr")
        else:
            sitk.WriteImage(sitk.GetImageFromArray(array), tmp_path / f"{name}.{extension}")
    first, second, third = (content_digest(tmp_path / f"{name}.{extension}") for name in "abc")
    assert first == third != second


def test_folders_and_what_cannot_be_read(image, tmp_path):
    path, _ = image
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    for number in range(3):
        (tmp_path / "one" / f"{number}.dcm").write_bytes(bytes([number]) * 400)
        (tmp_path / "two" / f"{9 - number}.dcm").write_bytes(bytes([number]) * 400)
    assert content_digest(tmp_path / "one") == content_digest(tmp_path / "two") != content_digest(path)
    whole = gzip.compress(path.read_bytes())
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty").mkdir()
    assert [content_digest(tmp_path / name) for name in ("cut.nii.gz", "none.nii", "empty")] == [None] * 3
