"""Every bad input's one line: damaged volumes, and files of something else."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nifti_files import error_of, image, patch, save

from tfreg.errors import UserError
from tfreg.io.formats import read_volume, write_volume
from tfreg.volumes.volume import Volume


def test_missing_file(tmp_path):
    assert "no such file" in error_of(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.png", "a", "a.gz", "nii"])
def test_unknown_extension(tmp_path, name):
    (tmp_path / name).write_bytes(b"something")
    assert "unknown extension; give .nii, .nii.gz" in error_of(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    assert "is empty" in error_of(tmp_path / name)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (1, 5, 6), (4,)])
def test_2d(tmp_path, shape):
    assert "is 2D" in error_of(save(tmp_path / "a.nii", image(shape)))


def test_4d(tmp_path):
    assert "is 4D (4x5x6x3, 3 time points)" in error_of(save(tmp_path / "a.nii.gz", image((4, 5, 6, 3))))
    assert "several components" in error_of(save(tmp_path / "b.nii", image((4, 5, 6, 1, 3))))


def test_2d_4d_and_vectors_in_itk_files(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(image((4, 5))), str(tmp_path / "a.mha"))
    assert "is 2D" in error_of(tmp_path / "a.mha")
    volume = sitk.GetImageFromArray(image())
    sitk.WriteImage(sitk.JoinSeries([volume, volume, volume]), str(tmp_path / "b.nrrd"))
    assert "3 time points" in error_of(tmp_path / "b.nrrd")
    sitk.WriteImage(sitk.Compose(volume, volume), str(tmp_path / "c.mha"))
    assert "several components" in error_of(tmp_path / "c.mha")


@pytest.mark.parametrize(("value", "text"), [(np.nan, "no voxel has a finite value"), (7, "the same value \\(7\\)")])
def test_nothing_to_compare(tmp_path, value, text):
    assert re.search(text, error_of(save(tmp_path / "a.nii", np.full((4, 5, 6), value, np.float32))))


def test_all_equal_but_for_nan(tmp_path):
    array = np.full((4, 5, 6), 7, np.float32)
    array[2] = np.nan
    assert "the same value (7)" in error_of(save(tmp_path / "a.nii", array))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_singular_affine(tmp_path, value):
    path = save(tmp_path / "a.nii", image(), qform=0)
    patch(path, 280, np.full(4, value, "<f4").tobytes())  # srow_x
    assert "affine is singular or not finite" in error_of(path)


@pytest.mark.parametrize("labels", [False, True])
def test_wrong_dtype(tmp_path, labels):
    assert "complex values" in error_of(save(tmp_path / "a.nii", image(dtype=np.complex64)), labels)
    rgb = np.zeros((4, 5, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    assert "RGB values" in error_of(save(tmp_path / "b.nii", rgb), labels)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("size", [0.3, 0.6, 0.999])
def test_truncated_gzip(tmp_path, size, labels):
    noise = np.random.default_rng(0).integers(0, 255, (9, 8, 7), np.uint8)
    path = save(tmp_path / "a.nii.gz", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(size * len(content))])
    assert "the gzip stream is truncated or damaged" in error_of(path, labels)


def test_a_flipped_bit_fails_the_checksum(tmp_path):
    path = tmp_path / "a.nii.gz"
    content = bytearray(gzip.compress(save(tmp_path / "b.nii", image()).read_bytes(), compresslevel=0))
    content[-20] ^= 1
    path.write_bytes(content)
    assert "the gzip stream is truncated or damaged" in error_of(path)


def test_short_files(tmp_path):
    path = save(tmp_path / "a.nii", image())
    path.write_bytes(path.read_bytes()[:-3])
    assert "it claims 480 bytes of voxels and the file can hold at most 477" in error_of(path)
    for name in ("a.mha", "a.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(image()), str(tmp_path / name))
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-3])
        assert "it claims 480 bytes of voxels and the file can hold at most 477" in error_of(tmp_path / name)
        (tmp_path / name).write_bytes(content[:200])
        error_of(tmp_path / name)


def test_something_else_under_a_volumes_name(tmp_path):
    for name in ("a.nii", "a.mha", "a.nrrd", "a.mhd"):
        (tmp_path / name).write_bytes(b"<html>404 Not Found</html>" * 40)
        assert "is a web page, not" in error_of(tmp_path / name)
        (tmp_path / name).write_bytes(b"something" * 40)
        assert "corrupt" in error_of(tmp_path / name)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"<html>404 Not Found</html>" * 40))
    assert "is a web page, not NIfTI" in error_of(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(b"<html>404 Not Found</html>")
    assert "is a web page, not a gzip file" in error_of(tmp_path / "b.nii.gz")


def test_huge_header(tmp_path):
    path = save(tmp_path / "a.nii", image())
    dim = np.array([3, 2000, 2000, 2000, 1, 1, 1, 1], "<i2").tobytes()
    assert "claims 2000x2000x2000 voxels" in error_of(patch(path, 40, dim))
    dim = np.array([3, 1000, 1000, 1000, 1, 1, 1, 1], "<i2").tobytes()
    assert "claims 4000000000 bytes" in error_of(patch(path, 40, dim))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert "claims 4000000000 bytes" in error_of(tmp_path / "b.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(image()), str(tmp_path / "c.mha"))
    content = (tmp_path / "c.mha").read_bytes()
    (tmp_path / "c.mha").write_bytes(content.replace(b"DimSize = 6 5 4", b"DimSize = 600 5000 400"))
    assert "claims 4800000000 bytes" in error_of(tmp_path / "c.mha")
    (tmp_path / "c.mha").write_bytes(content.replace(b"DimSize = 6 5 4", b"DimSize = 60000 50000 40000"))
    assert "claims 480000000000000 bytes" in error_of(tmp_path / "c.mha")


def test_negative_sizes(tmp_path):
    path = save(tmp_path / "a.nii", image())
    assert "corrupt" in error_of(patch(path, 42, np.array([-4], "<i2").tobytes()))


def test_a_pair_without_its_partner(tmp_path):
    save(tmp_path / "a.hdr", image())
    (tmp_path / "a.img").unlink()
    assert "its partner a.img is missing" in error_of(tmp_path / "a.hdr")


def test_analyze_does_not_say_where_left_is(tmp_path):
    nib.AnalyzeImage(image(dtype=np.int16), np.eye(4)).to_filename(tmp_path / "a.hdr")
    assert "convert it to NIfTI" in error_of(tmp_path / "a.hdr")


def test_empty_mask(tmp_path):
    assert "empty mask" in error_of(save(tmp_path / "a.nii", np.zeros((4, 5, 6), np.uint8)), labels=True)


@pytest.mark.parametrize("value", [0.5, np.nan, 1e30])
def test_labels_that_are_not_labels(tmp_path, value):
    array = np.zeros((4, 5, 6), np.float32)
    array[1, 2, 3] = value
    assert "labels" in error_of(save(tmp_path / "a.nii", array), labels=True)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
def test_no_bytes_make_a_traceback(tmp_path, name):
    rng = np.random.default_rng(7)
    path = tmp_path / name
    write_volume(path, Volume(image(dtype=np.int16), np.diag([1.5, 1, 2.5, 1])))
    content = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    for trial in range(150):
        damaged = bytearray(content if trial % 10 else rng.bytes(400))
        # The header decides: damage goes there.
        for place in rng.integers(0, min(len(damaged), 400), rng.integers(1, 12)):
            damaged[place] = rng.integers(256)
        path.write_bytes(gzip.compress(damaged, 1) if name.endswith(".gz") else damaged)
        text = ""
        try:
            read_volume(path, labels=bool(trial % 2))
        except UserError as error:
            text = str(error)
        assert "\n" not in text
        assert not text or text.startswith(f"{path}: ")
