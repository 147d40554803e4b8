"""DICOM series, written by SimpleITK slice by slice, and the choice between several."""

import locale
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import MR, PIXELS, slice_of, write, write_slices
from scipy.spatial.transform import Rotation

from tfreg.errors import UserError
from tfreg.io.dicom.series import content_files, is_dicom
from tfreg.io.digests import pair_digest
from tfreg.io.formats import read_volume
from tfreg.io.tables.manifest import PairFiles, read_subjects

ARRAY = (np.arange(120).reshape(4, 5, 6) * 7 - 300).astype(np.int16)


def write_series(folder, array=ARRAY, series="1.2.3", step=(0, 0, 2.5), rotation=None, skip=()):
    """Slices of `(i, j, k)` along k; the first pixel of slice k lies at origin + k step in LPS mm."""
    folder.mkdir(parents=True, exist_ok=True)
    rotation = np.eye(3) if rotation is None else rotation
    origin = np.array([-20, 30, 40])
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    before = locale.setlocale(locale.LC_ALL)
    for k in range(array.shape[2]):
        if k in skip:
            continue
        image = sitk.GetImageFromArray(np.ascontiguousarray(array[:, :, k].T))
        image.SetSpacing([1.5, 0.75])
        tags = {
            "0008|0060": "CT",
            "0008|0018": f"{series}.{k + 1}",
            "0020|000d": "1.2",
            "0020|000e": series,
            "0020|0013": str(k + 1),
            "0020|0037": "\\".join(f"{x:.9f}" for x in rotation[:, :2].T.ravel()),
            "0028|1052": "0",
            "0028|1053": "1",
        }
        tags["0020|0032"] = "\\".join(f"{x:.9f}" for x in origin + k * np.array(step))
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        # The file names run against the slices.
        writer.SetFileName(str(folder / f"{series}_{99 - k}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # which GDCM has changed
    return folder


def error_of(path):
    """The one line that reading a series ends with."""
    with pytest.raises(UserError) as caught:
        read_volume(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_series_lies_where_itk_puts_it(tmp_path):
    rotation = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
    folder = write_series(tmp_path / "a", step=2.5 * rotation[:, 2], rotation=rotation)
    result = read_volume(folder)
    np.testing.assert_array_equal(result.array, ARRAY)
    assert result.array.dtype == np.float32
    np.testing.assert_allclose(result.spacing, [1.5, 0.75, 2.5], atol=1e-5)
    other = sitk.ReadImage([str(file) for file in sorted(folder.iterdir(), reverse=True)])
    for index in [(0, 0, 0), (3, 4, 5), (1, 3, 2)]:
        point = np.array(other.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(result.lattice.to_world(index), point * [-1, -1, 1], atol=1e-4)


def test_a_tilted_gantry_shears_the_affine(tmp_path):
    result = read_volume(write_series(tmp_path / "a", step=(0, 0.5, 2.5)))
    np.testing.assert_allclose(result.affine[:3, 2], [0, -0.5, 2.5], atol=1e-6)
    np.testing.assert_allclose(result.lattice.to_world([0, 0, 5]), [20, -32.5, 52.5], atol=1e-5)


def test_labels(tmp_path):
    labels = read_volume(write_series(tmp_path / "a", np.abs(ARRAY) // 100), labels=True)
    assert labels.array.dtype == np.uint8


def test_no_series(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert "holds no DICOM series; give the folder of the slices" in error_of(tmp_path)
    (tmp_path / "a.dcm").write_bytes(b"not DICOM" * 99)
    assert "is empty, damaged or not DICOM" in error_of(tmp_path / "a.dcm")


def test_folders_below_are_named(tmp_path):
    write_series(tmp_path / "a" / "b")
    assert f"holds no DICOM series; give a folder that does: {tmp_path / 'a' / 'b'}" in error_of(tmp_path)


def test_more_than_one_series_are_named_to_choose_from(tmp_path):
    def described(dataset, k):
        dataset.SeriesDescription = "T1\naxial"

    write_series(tmp_path / "a")
    write_slices(tmp_path / "a", PIXELS[:4], described, series="1.2.4", kind=MR)
    text = error_of(tmp_path / "a")
    assert 'holds 2 DICOM series: 1.2.3 (CT, 6 images); 1.2.4 ("T1 axial", MR, 4 images)' in text
    assert f"give the one you mean as {tmp_path / 'a'}#1.2.3" in text
    chosen = read_volume(f"{tmp_path / 'a'}#1.2.4")
    np.testing.assert_array_equal(chosen.array, PIXELS[:4].T)
    np.testing.assert_array_equal(read_volume(tmp_path / "a" / "1.2.4_97.dcm").array, chosen.array)
    np.testing.assert_array_equal(read_volume(f"{tmp_path / 'a'}#1.2.3").array, ARRAY)
    assert "holds no DICOM series 1.2; " in error_of(f"{tmp_path / 'a'}#1.2")
    assert "no such file" in error_of(f"{tmp_path / 'b'}#1.2.3")


def test_a_folder_with_the_mark_in_its_name(tmp_path):
    folder = write_series(tmp_path / "a#1.2.4")
    np.testing.assert_array_equal(read_volume(folder).array, ARRAY)


def test_the_content_of_a_series_is_that_of_its_files(tmp_path):
    folder = write_series(tmp_path / "a")
    (folder / "notes.txt").write_text("hello")
    files = sorted(folder.glob("*.dcm"))
    assert content_files(folder) == content_files(f"{folder}#1.2.3") == content_files(files[2]) == files
    assert content_files(folder / "notes.txt") == [folder / "notes.txt"]


def test_the_digest_of_a_series_follows_its_files(tmp_path):
    folder = write_slices(tmp_path / "a")
    pairs = [PairFiles("p", place, tmp_path) for place in (folder, Path(f"{folder}#1.2.3"), folder / "1.2.3_99.dcm")]
    before = [pair_digest(pair) for pair in pairs]
    write_slices(folder, PIXELS + 1)
    assert all(pair_digest(pair) != digest for pair, digest in zip(pairs, before, strict=True))


def test_a_manifest_may_choose_a_series(tmp_path):
    write_slices(tmp_path / "scans")
    table = tmp_path / "subjects.csv"
    table.write_text("id,subject,image\na,a,scans#1.2.3\n")
    (subject,) = read_subjects(table)
    np.testing.assert_array_equal(read_volume(subject.image).array, PIXELS.T)
    table.write_text("id,subject,image\na,a,none#1.2.3\n")
    with pytest.raises(UserError, match="does not exist"):
        read_subjects(table)


@pytest.mark.parametrize("name", ["IM0003", "S0003.IMA", "MR.1.2.840.3"])
def test_names_do_not_matter(tmp_path, name):
    folder = write_slices(tmp_path / "a")
    (folder / "1.2.3_97.dcm").rename(folder / name)
    np.testing.assert_array_equal(read_volume(folder / name).array, PIXELS.T)


def test_voxels_that_begin_as_dicom_does(tmp_path):
    array = ARRAY.copy()
    array[:2, 0, 0] = 8, 0
    nib.save(nib.Nifti1Pair(array, np.eye(4)), tmp_path / "a.img")
    assert is_dicom(tmp_path / "a.img")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.img").array, array)


def test_files_without_a_preamble(tmp_path):
    folder = write_slices(tmp_path / "a")
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.save_as(file, implicit_vr=True, little_endian=True, enforce_file_format=False)
        file.write_bytes(file.read_bytes().partition(b"DICM")[2])
    np.testing.assert_array_equal(read_volume(folder).array, PIXELS.T)


def test_an_index_is_no_slice(tmp_path):
    folder = write_slices(tmp_path / "a")
    index = pydicom.Dataset()
    index.file_meta = pydicom.dataset.FileMetaDataset()
    index.file_meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    index.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    write(index, folder / "DICOMDIR")
    result = read_volume(folder)
    np.testing.assert_array_equal(result.array, PIXELS.T)
    assert result.notes == ()
    assert "is an index of DICOM files; give the folder" in error_of(folder / "DICOMDIR")


def test_every_truncation_is_refused(tmp_path):
    folder = write_slices(tmp_path / "a")
    content = (folder / "1.2.3_94.dcm").read_bytes()
    for size in range(0, len(content), 7):
        (folder / "1.2.3_94.dcm").write_bytes(content[:size])
        assert "1.2.3_94.dcm" in error_of(folder)


@pytest.mark.parametrize("content", [b"", bytes(60), bytes(128) + b"DICN" + bytes(99)])
def test_what_is_left_of_a_slice_is_named(tmp_path, content):
    folder = write_slices(tmp_path / "a")
    (folder / "1.2.3_94.dcm").rename(folder / "IM94")
    (folder / "IM94").write_bytes(content)
    assert f"{folder / 'IM94'}: is empty, damaged or not DICOM" in error_of(folder)


def test_a_link_to_nothing_is_named(tmp_path):
    folder = write_slices(tmp_path / "a")
    (folder / "1.2.3_94.dcm").unlink()
    (folder / "1.2.3_94.dcm").symlink_to(tmp_path / "elsewhere")
    assert "1.2.3_94.dcm: may not be read (No such file or directory)" in error_of(folder)


def test_what_else_lies_in_a_folder_does_not_matter(tmp_path):
    folder = write_slices(tmp_path / "a")
    (folder / "._1.2.3_94.dcm").write_bytes(b"\x00\x05\x16\x07")
    (folder / "notes.txt").write_text("hello")
    (folder / "reports").mkdir()
    assert read_volume(folder).notes == ()


def test_objects_without_an_image_are_left_out(tmp_path):
    folder = write_slices(tmp_path / "a")
    structures = slice_of(PIXELS[0], 0, series="1.2.5")
    structures.Modality, structures.SOPClassUID = "RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3"
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(structures, keyword)
    write(structures, folder / "structures.dcm")
    result = read_volume(folder)
    np.testing.assert_array_equal(result.array, PIXELS.T)
    assert result.notes == ("1 DICOM files of the folder hold no image and were left out.",)


def test_copies_of_a_file_are_left_out(tmp_path):
    folder = write_slices(tmp_path / "a")
    shutil.copy(folder / "1.2.3_97.dcm", folder / "copy")
    result = read_volume(folder)
    np.testing.assert_array_equal(result.array, PIXELS.T)
    assert result.notes == ("1 DICOM files are copies of others and were left out.",)
    damage(folder / "copy")
    assert "has the SOP Instance UID of" in error_of(folder)


def test_one_slice_is_2d(tmp_path):
    assert "is 2D" in error_of(write_series(tmp_path / "a", skip=range(1, 6)))


def damage(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("size", [140, 0.4, 0.7, 0.9, -20, -1])
@pytest.mark.parametrize("name", ["1.2.3_94.dcm", "1.2.3_97.dcm"])
def test_a_truncated_file_is_named(tmp_path, size, name):
    """Without it an end of the volume would be missing."""
    file = write_slices(tmp_path / "a") / name
    content = file.read_bytes()
    file.write_bytes(content[: int(size * len(content)) if 0 < size < 1 else size])
    text = error_of(tmp_path / "a")
    assert str(file) in text
    assert "truncated" in text or "damaged" in text
