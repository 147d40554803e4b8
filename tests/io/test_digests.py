"""Digests: what counts as the same voxels, and what as the same files."""

import gzip
import hashlib
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from tfreg.errors import UserError
from tfreg.io.digests import bytes_digest, file_digest, pair_digest, pairs_digest, voxels_digest
from tfreg.io.tables.manifest import PairFiles


@pytest.fixture
def image(tmp_path, rng):
    array = rng.integers(-900, 900, (4, 5, 6)).astype(np.int16)
    nib.save(nib.Nifti1Image(array, np.diag([2, 2, 3, 1])), tmp_path / "a.nii")
    return tmp_path / "a.nii", array


def test_the_same_voxels_under_other_names(image, tmp_path):
    path, array = image
    expected = voxels_digest(path)
    assert len(expected) == 64
    shutil.copy(path, tmp_path / "other name.nii")
    with open(path, "rb") as plain, gzip.GzipFile(tmp_path / "b.nii.gz", "wb", compresslevel=1, mtime=5) as packed:
        shutil.copyfileobj(plain, packed)
    edited = nib.Nifti1Image(array, np.diag([1, 1, 1, 1]))
    edited.header["descrip"] = b"made by another program"
    nib.save(edited, tmp_path / "c.nii.gz")
    (tmp_path / "d.nii").symlink_to(path)
    for name in ("other name.nii", "b.nii.gz", "c.nii.gz", "d.nii"):
        assert voxels_digest(tmp_path / name) == expected, name


def test_another_voxel_is_another_volume(image, tmp_path):
    path, array = image
    expected = voxels_digest(path)
    array[1, 2, 3] += 1
    nib.save(nib.Nifti1Image(array, np.diag([2, 2, 3, 1])), path)
    assert voxels_digest(path) != expected


@pytest.mark.parametrize("extension", ["mhd", "nhdr", "hdr"])
def test_headers_alone_say_nothing(tmp_path, extension):
    """Two images with equal headers, the voxels in files beside them."""
    for name, value in (("a", 1), ("b", 2), ("c", 1)):
        array = np.arange(60, dtype=np.int16).reshape(3, 4, 5) * value
        if extension == "hdr":
            nib.save(nib.Nifti1Pair(array, np.eye(4)), tmp_path / f"{name}.hdr")
        else:
            sitk.WriteImage(sitk.GetImageFromArray(array), tmp_path / f"{name}.{extension}")
    first, second, third = (voxels_digest(tmp_path / f"{name}.{extension}") for name in "abc")
    assert first == third != second


def test_folders_and_what_cannot_be_read(image, tmp_path):
    path, _ = image
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    for number in range(3):
        (tmp_path / "one" / f"{number}.dcm").write_bytes(bytes([number]) * 400)
        (tmp_path / "two" / f"{9 - number}.dcm").write_bytes(bytes([number]) * 400)
    assert voxels_digest(tmp_path / "one") == voxels_digest(tmp_path / "two") != voxels_digest(path)
    whole = gzip.compress(path.read_bytes())
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty").mkdir()
    assert [voxels_digest(tmp_path / name) for name in ("cut.nii.gz", "none.nii", "empty")] == [None] * 3


def test_bytes_and_files(tmp_path):
    content = b"some bytes, and more"
    expected = hashlib.sha256(content).hexdigest()
    assert bytes_digest(content) == bytes_digest(content[:7], np.frombuffer(content[7:], np.uint8).data) == expected
    path = tmp_path / "file"
    path.write_bytes(content)
    assert file_digest(path) == file_digest(str(path)) == expected
    path.write_bytes(content[:-1])
    assert file_digest(path) != expected
    with pytest.raises(UserError, match=r"none: cannot be read .*; check the path"):
        file_digest(tmp_path / "none")


def test_pairs_are_their_digests_in_their_order(image, tmp_path):
    path, _ = image
    shutil.copy(path, tmp_path / "b.nii")
    with open(tmp_path / "b.nii", "ab") as file:
        file.write(b"more")
    first, second = PairFiles("p", path, tmp_path / "b.nii"), PairFiles("q", tmp_path / "b.nii", path)
    assert pair_digest(first) == pair_digest(PairFiles("another id", path, tmp_path / "b.nii"))
    assert len({pair_digest(first), pair_digest(second), pairs_digest([first]), pairs_digest([first, second])}) == 4
    assert pairs_digest([first, second]) != pairs_digest([second, first])


def test_volumes_of_several_files_are_known_by_all_of_them(tmp_path):
    def digest(path):
        return pair_digest(PairFiles("a", path, path))

    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.random((4, 5, 6)).astype(np.float32))
    for name in ("a.mhd", "a.nhdr", "a.hdr", "a.img"):
        sitk.WriteImage(image, str(tmp_path / name))
        before = digest(tmp_path / name)
        (data,) = (path for path in tmp_path.iterdir() if path.suffix in (".raw", ".gz", ".img"))
        assert digest(tmp_path / name) == before
        data.write_bytes(data.read_bytes()[:-1] + bytes([data.read_bytes()[-1] ^ 1]))
        assert digest(tmp_path / name) != before
        for path in tmp_path.iterdir():
            path.unlink()
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + name.encode())
    before = digest(tmp_path / "1.dcm")
    (tmp_path / "2.dcm").write_bytes(bytes(128) + b"DICM another slice")
    assert digest(tmp_path / "1.dcm") != before
