"""Files whose name, kind or place is not what was meant: the message names the true cause."""

import gzip
import os
import re
import shutil
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from tfreg.errors import UserError
from tfreg.io.formats import read_volume, write_volume
from tfreg.volumes.volume import Volume

ARRAY = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
AFFINE = np.diag([1.5, 1, 2.5, 1])

HEADER = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "DimSize = 4 5 6\nElementType = MET_FLOAT\n"
)
NRRD = "NRRD0004\ntype: float\ndimension: 3\nsizes: 4 5 6\nencoding: raw\nendian: little\n"
VOXELS = ARRAY.T.tobytes()


@pytest.fixture
def sound(tmp_path):
    """The bytes of a sound .nii file."""
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / "sound.nii")
    return (tmp_path / "sound.nii").read_bytes()


def written(path, content):
    path.write_bytes(content)
    return path


def error_of(path, labels=False):
    """The one line that reading a file ends with."""
    with pytest.raises(UserError) as caught:
        read_volume(path, labels)
    text = str(caught.value)
    assert ";" in text, "the line names no cure"
    assert "\n" not in text
    return text


def patched(content, offset, code, *values):
    content = bytearray(content)
    struct.pack_into("<" + code, content, offset, *values)
    return bytes(content)


# Names


def test_compression_that_the_name_does_not_say(tmp_path, sound):
    assert "is NIfTI that is not compressed; rename it to a.nii" in error_of(written(tmp_path / "a.nii.gz", sound))
    path = written(tmp_path / "b.nii", gzip.compress(sound))
    assert "is compressed (a NIfTI file in gzip), and its name does not say so; rename it to b.nii.gz" in error_of(path)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.nii", b"NRRD0004\n", "a NRRD file"),
        ("a.nii", b"\x89HDF\r\n\x1a\n" + bytes(600), "an HDF5 file"),
        ("a.nii", bytes(128) + b"DICM" + bytes(500), "a DICOM file"),
        ("a.nii.gz", gzip.compress(bytes(257) + b"ustar" + bytes(400), mtime=0), "a tar archive"),
        ("a.nii.gz", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("a.nii.gz", b"PK\x03\x04" + bytes(30), "a zip archive"),
        ("a.mha", b"NRRD0004\n", "a NRRD file"),
        ("a.nrrd", b"ObjectType = Image\n", "a MetaImage file"),
    ],
)
def test_another_format_under_a_volumes_name(tmp_path, name, content, kind):
    assert f"{name}: is {kind}, not " in error_of(written(tmp_path / name, content))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd"])
def test_a_folder_with_the_name_of_a_file(tmp_path, name):
    (tmp_path / name).mkdir()
    assert "is a folder with the name of a file; give the file" in error_of(tmp_path / name)


def test_paths_that_cannot_be_looked_at(tmp_path):
    assert "File name too long" in error_of(tmp_path / ("x" * 300 + ".nii"))
    assert "null byte" in error_of(tmp_path / "a\0b.nii")
    os.mkfifo(tmp_path / "pipe.nii")
    assert "is neither a file nor a folder" in error_of(tmp_path / "pipe.nii")
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    assert "symbolic links" in error_of(tmp_path / "loop.nii")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
@pytest.mark.parametrize("name", ["a.nii", "a.mha", "a.nrrd"])
def test_a_file_that_may_not_be_read(tmp_path, name):
    write_volume(tmp_path / name, Volume(ARRAY, AFFINE))
    (tmp_path / name).chmod(0)
    assert "may not be read; change the file's permissions" in error_of(tmp_path / name)


@pytest.mark.parametrize("stem", ["br[ack]et {0} %s #", "[red]", "p%03d", "sp  ace", "*?", "new\nline", "größe"])
@pytest.mark.parametrize("extension", [".nii.gz", ".mha", ".nrrd"])
def test_names_that_mean_something_to_other_programs(tmp_path, stem, extension):
    path = tmp_path / f"{stem}{extension}"
    write_volume(path, Volume(ARRAY, AFFINE))
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)
    path.write_bytes(b"something else")
    text = error_of(path)
    assert text.startswith(f"{path}: ".replace("\n", "\\n"))


def test_a_name_that_is_not_utf8(tmp_path):
    path = tmp_path / "n\udcff.nii.gz"  # the byte 255
    write_volume(path, Volume(ARRAY, AFFINE))
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)
    for extension in (".mha", ".nrrd"):
        path = tmp_path / f"n\udcff{extension}"
        with pytest.raises(UserError, match="the name is not UTF-8") as caught:
            write_volume(path, Volume(ARRAY, AFFINE))
        assert str(caught.value).startswith(f"{path}: ")
        assert "the name is not UTF-8, and ITK cannot open it" in error_of(written(path, b"x"))


# NIfTI


def test_voxels_follow_the_header_where_vox_offset_is_0(tmp_path, sound):
    for name, content in (("a.nii", sound), ("a.nii.gz", gzip.compress(patched(sound, 108, "f", 0)))):
        result = read_volume(written(tmp_path / name, patched(content, 108, "f", 0) if name == "a.nii" else content))
        np.testing.assert_array_equal(result.array, ARRAY)
        assert "vox_offset is 0" in result.notes[0]


@pytest.mark.parametrize("offset", [4.0, 348.0, 351.0, 352.5, -352.0, np.nan, np.inf])
def test_an_offset_inside_the_header_is_refused(tmp_path, sound, offset):
    assert f"vox_offset is {offset:g}" in error_of(written(tmp_path / "a.nii", patched(sound, 108, "f", offset)))


def test_an_offset_beyond_the_file(tmp_path, sound):
    content = patched(sound, 108, "f", 100000.0)
    assert "is truncated or its header is corrupt" in error_of(written(tmp_path / "a.nii", content))
    assert "truncated" in error_of(written(tmp_path / "a.nii.gz", gzip.compress(content)))


def test_extensions_are_skipped(tmp_path):
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a text of some length" * 5))
    image.to_filename(tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array, ARRAY)


def test_scaling_that_is_no_number(tmp_path, sound):
    assert "scl_inter is nan" in error_of(written(tmp_path / "a.nii", patched(sound, 112, "2f", 1.0, np.nan)))
    # Without a slope the intercept says nothing.
    for slope in (0.0, np.nan, np.inf):
        path = written(tmp_path / "b.nii", patched(sound, 112, "2f", slope, np.nan))
        result = read_volume(path)
        np.testing.assert_array_equal(result.array, ARRAY)
        np.testing.assert_array_equal(result.array, nib.load(path).get_fdata())
        assert any("scl_slope" in note for note in result.notes) == (slope != 0)


def test_what_follows_the_voxels_is_told(tmp_path, sound):
    for name, content in (("a.nii", sound + b"abc"), ("a.nii.gz", gzip.compress(sound + b"abc"))):
        result = read_volume(written(tmp_path / name, content))
        np.testing.assert_array_equal(result.array, ARRAY)
        assert result.notes == ("3 bytes follow the voxels that the header claims; they were not read.",)
    result = read_volume(written(tmp_path / "b.nii.gz", gzip.compress(sound) + b"garbage"))
    assert "not gzip's" in result.notes[0]
    # What a tape leaves behind, and a file in two pieces, are sound gzip.
    for content in (gzip.compress(sound) + bytes(50), gzip.compress(sound[:400]) + gzip.compress(sound[400:])):
        assert read_volume(written(tmp_path / "c.nii.gz", content)).notes == ()


def test_pixdim_that_does_not_fit_the_sform_is_told(tmp_path):
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 0)
    image.header["pixdim"][1:4] = 1
    image.to_filename(tmp_path / "a.nii")
    result = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(result.spacing, [1.5, 1, 2.5])
    assert sitk.ReadImage(str(tmp_path / "a.nii")).GetSpacing() == (1, 1, 1)
    assert "pixdim says voxels of 1 x 1 x 1 and the sform 1.5 x 1 x 2.5" in result.notes[0]


@pytest.mark.parametrize(
    ("offset", "code", "value", "cause"),
    [
        (80, "f", 0.0, "pixdim[1] is 0"),
        (80, "f", -1.5, "pixdim[1] is -1.5"),
        (88, "f", np.nan, "pixdim[3] is nan"),
        (76, "f", 0.5, "pixdim[0] (qfac) is 0.5"),
        (256, "f", 1.5, "quaternion (b, c, d) has length 1.5"),
        (264, "f", np.nan, "quaternion or offset is not finite"),
        (252, "h", 9, "qform_code is 9"),
        (254, "h", -1, "sform_code is -1"),
        (40, "h", 0, "dim[0] is 0"),
        (40, "h", 9, "dim[0] is 9"),
        (70, "h", 77, "datatype 77"),
        (0, "i", 349, "neither 348 nor 540"),
        (344, "4s", b"ni1", "the voxels are in an .img file"),
        (344, "4s", b"", "is Analyze"),
        (344, "4s", b"n+3", "its magic is b'n+3'"),
    ],
)
def test_the_field_that_is_wrong_is_named(tmp_path, offset, code, value, cause):
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.set_sform(AFFINE, 0)
    image.set_qform(AFFINE, 1)
    image.to_filename(tmp_path / "a.nii")
    content = patched((tmp_path / "a.nii").read_bytes(), offset, code, value)
    assert cause in error_of(written(tmp_path / "a.nii", content))


def test_a_qform_that_is_none_beside_a_sound_sform_is_told(tmp_path, sound):
    content = patched(patched(sound, 256, "f", 1.5), 252, "2h", 1, 1)
    result = read_volume(written(tmp_path / "a.nii", content))
    np.testing.assert_array_equal(result.affine, AFFINE)
    assert "quaternion (b, c, d) has length 1.5, and may have one at most: the sform was used" in result.notes[0]


@pytest.mark.parametrize("shift", [0.05, 0.3])
@pytest.mark.parametrize("size", [2.0, 0.01])
def test_sform_and_qform_are_compared_in_voxels(tmp_path, size, shift):
    affine, other = np.diag([size, size, size, 1]), np.diag([size, size, size, 1])
    other[0, 3] = size * shift
    image = nib.Nifti1Image(ARRAY, affine)
    image.set_sform(affine, 1)
    image.set_qform(other, 1)
    image.to_filename(tmp_path / "a.nii")
    notes = read_volume(tmp_path / "a.nii").notes
    assert [f"disagree by up to {shift:.3g} voxels" in note for note in notes] == ([True] if shift > 0.1 else [])


def test_a_pair_of_which_one_is_missing_or_is_a_single_file(tmp_path):
    nib.Nifti1Pair(ARRAY, AFFINE).to_filename(tmp_path / "a.hdr")
    for name in ("a.hdr", "a.img"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, ARRAY)
    nib.Nifti1Image(ARRAY, AFFINE).to_filename(tmp_path / "b.nii")
    for name in ("b.hdr", "b.img"):
        shutil.copy(tmp_path / "b.nii", tmp_path / name)
    assert "is of a single .nii file" in error_of(tmp_path / "b.hdr")
    (tmp_path / "a.hdr").unlink()
    assert "its partner a.hdr is missing" in error_of(tmp_path / "a.img")


def test_nan_in_labels_is_counted(tmp_path):
    array = np.zeros((4, 5, 6), np.float32)
    array[0, 0, :3] = np.nan
    nib.Nifti1Image(array, AFFINE).to_filename(tmp_path / "a.nii")
    assert "3 voxels of the labels are not finite numbers" in error_of(tmp_path / "a.nii", labels=True)


# MetaImage and NRRD


@pytest.mark.parametrize(("name", "data"), [("a.mhd", "a.raw"), ("a.nhdr", "a.raw")])
def test_a_missing_data_file_is_named(tmp_path, name, data):
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(tmp_path / name))
    (tmp_path / data).unlink()
    assert f"its data file {data} is missing; keep the two together" in error_of(tmp_path / name)


def test_a_short_data_file(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(tmp_path / "a.mhd"))
    written(tmp_path / "a.raw", VOXELS[:-3])
    assert "it claims 480 bytes of voxels and the file can hold at most 477" in error_of(tmp_path / "a.mhd")


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_bit_that_changed_in_compressed_voxels_is_found(tmp_path, rng, name):
    path = tmp_path / name
    array = rng.integers(0, 50, (9, 8, 7)).astype(np.int16)
    write_volume(path, Volume(array, AFFINE))
    content = path.read_bytes()
    silent = 0
    for place in range(len(content) - 150, len(content) - 4, 5):
        written(path, patched(content, place, "B", content[place] ^ 16))
        assert re.search("compressed voxels are damaged|holds .*, compressed", error_of(path))
        try:
            silent += not np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, array)
        except RuntimeError:
            continue
    assert silent, "SimpleITK finds it by itself"
    assert "holds" in error_of(written(path, content[:-100]))
    assert np.array_equal(read_volume(written(path, content)).array, array)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
def test_detached_voxels(tmp_path, name, compressed):
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY.T), str(tmp_path / name), compressed)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, ARRAY)
    (data,) = [path for path in tmp_path.iterdir() if path.name != name]
    if not compressed:
        written(data, data.read_bytes() + b"abc")
        assert read_volume(tmp_path / name).notes[-1].startswith("3 bytes follow the voxels")
    written(data, data.read_bytes()[:100])
    assert "truncated or its header is corrupt" in error_of(tmp_path / name)


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ("ElementSpacing = 0 2 2\n", "the header's spacing is 0"),
        ("ElementSpacing = nan 2 2\n", "ElementSpacing is 'nan 2 2', not 3 finite numbers"),
        ("ElementSpacing = 1,5 2 2\n", "ElementSpacing is '1,5 2 2'"),
        ("ElementSpacing = 2 2\n", "ElementSpacing is '2 2'"),
        ("ElementSpacing = 2 2 2\nOffset = 1 2 x\n", "Offset is '1 2 x'"),
        ("ElementSpacing = 2 2 2\nTransformMatrix = 1 0 0 1 0 0 0 0 1\n", "TransformMatrix is singular"),
    ],
)
def test_the_field_of_a_metaimage_that_is_wrong_is_named(tmp_path, fields, cause):
    content = (HEADER + fields + "ElementDataFile = LOCAL\n").encode() + VOXELS
    assert cause in error_of(written(tmp_path / "a.mha", content))


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ("spacings: 2 nan 2\n", "spacings is '2 nan 2'"),
        ("space: RAS\nspace directions: (nan,0,0) (0,2,0) (0,0,2)\n", "space directions is 'nan 0 0'"),
        ("space: RAS\nspace directions: none (0,2,0) (0,0,2)\n", "space directions are none (0,2,0) (0,0,2)"),
        ("space: RAS\nspace directions: (2,0,0) (2,0,0) (0,0,2)\n", "singular"),
        ('space: RAS\nspace directions: (2,0,0) (0,2,0) (0,0,2)\nspace units: "m" "m" "m"\n', 'units are "m"'),
        ("space: RAS\nspace directions: (2,0,0) (0,2,0) (0,0,2)\nspace origin: (1,nan,0)\n", "space origin is"),
    ],
)
def test_the_field_of_a_nrrd_that_is_wrong_is_named(tmp_path, fields, cause):
    assert cause in error_of(written(tmp_path / "a.nrrd", (NRRD + fields + "\n").encode() + VOXELS))


def test_what_was_assumed_of_a_header_that_says_too_little(tmp_path):
    path = written(tmp_path / "a.mha", (HEADER + "ElementDataFile = LOCAL\n").encode() + VOXELS)
    assert read_volume(path).notes == ("The header names no spacing: voxels of 1 mm were taken.",)
    directions = "space directions: (2,0,0) (0,2,0) (0,0,2)\n"
    for fields, frame, orientation in (
        ("spacings: 2 2 2\n", "unknown (the header's space is missing", "LPS"),
        ("space dimension: 3\n" + directions, "unknown (the header's space is missing", "LPS"),
        ("space: scanner-xyz\n" + directions, "unknown (the header's space is scanner-xyz", "LPS"),
        ("space: right-anterior-superior\n" + directions, "", "RAS"),
        ("space: LPS\n" + directions, "", "LPS"),
    ):
        result = read_volume(written(tmp_path / "a.nrrd", (NRRD + fields + "\n").encode() + VOXELS))
        np.testing.assert_array_equal(result.array, ARRAY)
        np.testing.assert_array_equal(result.spacing, [2, 2, 2])
        assert result.orientation == orientation
        assert len(result.notes) == bool(frame)
        assert all(frame in note for note in result.notes)


# What is written


@pytest.mark.parametrize("degrees", [0.0, 0.4, 179.999, 180.0])
def test_a_header_near_a_half_turn_is_read_where_it_is(tmp_path, degrees):
    angle = np.radians(degrees)
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:2, :2] = 0.5 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    volume = Volume(np.arange(600 * 2 * 2, dtype=np.float32).reshape(600, 2, 2), affine)
    write_volume(tmp_path / "a.nii", volume)
    corner = np.array(sitk.ReadImage(str(tmp_path / "a.nii")).TransformIndexToPhysicalPoint((599, 1, 1)))
    np.testing.assert_allclose(corner * [-1, -1, 1], volume.lattice.to_world([599, 1, 1]), atol=0.02 * 0.5)
    assert read_volume(tmp_path / "a.nii").notes == ()
