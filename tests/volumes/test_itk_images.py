"""DICOM series, written by SimpleITK slice by slice."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from tfreg.errors import UserError
from tfreg.volumes.formats import read_volume

ARRAY = (np.arange(120).reshape(4, 5, 6) * 7 - 300).astype(np.int16)


def write_series(folder, array=ARRAY, series="1.2.3", step=(0, 0, 2.5), rotation=None, skip=(), position=True):
    """Slices of `(i, j, k)` along k; the first pixel of slice k lies at origin + k step in LPS mm."""
    folder.mkdir(exist_ok=True)
    rotation = np.eye(3) if rotation is None else rotation
    origin = np.array([-20, 30, 40])
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
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
        if position:
            tags["0020|0032"] = "\\".join(f"{x:.9f}" for x in origin + k * np.array(step))
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        # The file names run against the slices.
        writer.SetFileName(str(folder / f"{series}_{99 - k}.dcm"))
        writer.Execute(image)
    return folder


def error_of(path):
    """The one line that reading a series ends with."""
    with pytest.raises(UserError) as caught:
        read_volume(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_series_lies_where_itk_puts_it(tmp_path):
    rotation = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
    folder = write_series(tmp_path / "a", step=2.5 * rotation[:, 2], rotation=rotation)
    result = read_volume(folder)
    np.testing.assert_array_equal(result.array, ARRAY)
    assert result.array.dtype == np.float32
    np.testing.assert_allclose(result.spacing, [1.5, 0.75, 2.5], atol=1e-5)
    other = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
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
    assert "holds no DICOM series" in error_of(tmp_path)
    (tmp_path / "a.dcm").write_bytes(b"not DICOM" * 99)
    assert "holds no DICOM series" in error_of(tmp_path / "a.dcm")


def test_more_than_one_series_are_named_and_one_file_chooses(tmp_path):
    write_series(tmp_path / "a")
    write_series(tmp_path / "a", array=ARRAY + 1, series="1.2.4")
    text = error_of(tmp_path / "a")
    assert "holds 2 DICOM series" in text
    assert "1.2.3 (6 files" in text
    assert "1.2.4 (6 files" in text
    np.testing.assert_array_equal(read_volume(tmp_path / "a" / "1.2.4_97.dcm").array, ARRAY + 1)


def test_a_missing_slice(tmp_path):
    assert "not evenly spaced (off by up to 1.25 mm from steps of 3.12 mm)" in error_of(
        write_series(tmp_path / "a", skip=[3])
    )


def test_several_time_points_in_one_series(tmp_path):
    assert "not evenly spaced" in error_of(write_series(tmp_path / "a", step=(0, 0, 0)))


def test_one_slice_is_2d(tmp_path):
    assert "is 2D" in error_of(write_series(tmp_path / "a", skip=range(1, 6)))


def damage(path):
    path.write_bytes(path.read_bytes()[:-20])


def test_a_damaged_slice_is_a_missing_slice(tmp_path):
    folder = write_series(tmp_path / "a")
    damage(folder / "1.2.3_97.dcm")
    assert "not evenly spaced" in error_of(folder)


def test_a_damaged_last_slice_is_noted(tmp_path):
    folder = write_series(tmp_path / "a")
    damage(folder / "1.2.3_94.dcm")
    result = read_volume(folder)
    assert result.shape == (4, 5, 5)
    assert "1 DICOM files of the folder are damaged" in result.notes[0]


def test_slices_without_positions(tmp_path):
    folder = write_series(tmp_path / "a")
    for path in folder.iterdir():
        content = path.read_bytes()
        assert content.count(b"\x20\x00\x32\x00") == 1
        path.write_bytes(content.replace(b"\x20\x00\x32\x00", b"\x20\x00\x33\x00"))
    assert "no positions" in error_of(folder)
