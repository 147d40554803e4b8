"""Which frames make up one volume, and where it lies."""

import numpy as np
import pytest
from dicom_files import ENHANCED_MR, MR, ORIGIN, PET, PIXELS, STEP, groups, multi_frame, write, write_slices

from tfreg.errors import UserError
from tfreg.io.formats import read_volume

# Voxel (column, row, slice) to RAS mm: rows lie 0.75 mm apart, columns 1.5 mm.
AFFINE = np.array([[-1.5, 0, 0, 20], [0, -0.75, 0, -30], [0, 0, 2.5, 40], [0, 0, 0, 1]])


def error_of(path):
    """The one line that reading ends with."""
    with pytest.raises(UserError) as caught:
        read_volume(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(keyword, value, of=(2,)):
    """A change of one attribute in some slices."""

    def change(dataset, k):
        if k in of:
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize(
    ("keyword", "usual", "value"),
    [
        ("EchoTime", 4.6, 9.2),
        ("EchoNumbers", 1, 2),
        ("InversionTime", 100, 900),
        ("DiffusionBValue", 0.0, 1000.0),
        ("TemporalPositionIdentifier", 1, 2),
        ("ImageType", ["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
        ("KVP", 80, 140),
        ("ConvolutionKernel", "Br40", "Br64"),
        ("FrameOfReferenceUID", "1.2.9", "1.2.10"),
        ("PatientID", "Miller^J", "Smith^K"),
        ("Modality", "MR", "CT"),
        ("PhotometricInterpretation", "MONOCHROME2", "MONOCHROME1"),
        ("Units", "BQML", "CNTS"),
        ("RescaleType", "HU", "US"),
    ],
)
def test_slices_of_several_acquisitions(tmp_path, keyword, usual, value):
    """Each slice has a place of its own, and nothing but the attribute tells."""

    def change(dataset, k):
        setattr(dataset, keyword, value if k % 2 else usual)

    text = error_of(write_slices(tmp_path / "a", change=change, kind=MR))
    assert f"mixes several acquisitions, its images differ in {keyword}: " in text
    assert "(3 images, such as 1.2.3_94.dcm), " in text
    assert "Miller" not in text


def test_what_is_absent_or_rounded_is_no_difference(tmp_path):
    def change(dataset, k):
        if k:
            dataset.EchoTime, dataset.FlipAngle = 4.6 + 0.001 * k, 90

    assert read_volume(write_slices(tmp_path / "a", change=change)).notes == ()


def test_images_at_one_place(tmp_path):
    write_slices(tmp_path / "a", change=changed("AcquisitionTime", "120000", range(6)))

    def later(dataset, k):
        dataset.SOPInstanceUID = f"1.2.7.{k}"
        dataset.AcquisitionTime = "130000"

    for k in range(6):
        (tmp_path / "a" / f"1.2.3_{99 - k}.dcm").rename(tmp_path / "a" / f"first_{k}.dcm")
    text = error_of(write_slices(tmp_path / "a", change=later))
    assert "holds several images at 6 positions, such as 1.2.3_99.dcm and first_0.dcm" in text
    assert "(AcquisitionTime 130000 and 120000)" in text


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 0, 0, -1], r"several orientations, as localizers have: 1\0\0\0\1\0 in"),
        ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0], "several orientations"),
        ("ImageOrientationPatient", [1, 0.1, 0, 0, 1, 0], "not two unit vectors at right angles"),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0], "not two unit vectors at right angles"),
        ("ImageOrientationPatient", [1, 0, 0], "not 6 finite numbers"),
        ("PixelSpacing", [0.75, 0.75], r"a PixelSpacing of 0.75\1.5 mm in"),
        ("PixelSpacing", [1.5, 0.75], r"a PixelSpacing of 1.5\0.75 mm in 1.2.3_97.dcm"),
        ("PixelSpacing", [0, 1.5], "PixelSpacing is [0.0, 1.5]; correct"),
        ("PixelSpacing", 0.75, "PixelSpacing is 0.75, not 2 finite numbers"),
        ("PixelSpacing", None, "has no PixelSpacing"),
        ("ImagePositionPatient", None, "has no ImagePositionPatient"),
        ("ImageOrientationPatient", None, "has no ImageOrientationPatient"),
        ("ImagePositionPatient", [-20, 30, 41], "not evenly spaced"),
        ("ImagePositionPatient", [-22, 30, 45], "not evenly spaced"),
        ("ImagePositionPatient", [-20, 30, 42.5], "holds several images at 1 positions"),
    ],
)
def test_one_slice_lies_elsewhere(tmp_path, keyword, value, text):
    assert text in error_of(write_slices(tmp_path / "a", change=changed(keyword, value)))


def test_another_size(tmp_path):
    write_slices(tmp_path / "a")
    write_slices(tmp_path / "b", PIXELS[:, :, :3])
    (tmp_path / "b" / "1.2.3_97.dcm").rename(tmp_path / "a" / "1.2.3_97.dcm")
    assert "they have 4x5 pixels in 1.2.3_94.dcm and 3x5 pixels in 1.2.3_97.dcm" in error_of(tmp_path / "a")


@pytest.mark.parametrize("count", [5, 40])
@pytest.mark.parametrize("missing", [1, 2, -2])
def test_a_missing_slice(tmp_path, count, missing):
    pixels = np.zeros((count, 2, 2), np.uint16)
    folder = write_slices(tmp_path / "a", pixels)
    number = missing % count
    (folder / f"1.2.3_{99 - number}.dcm").unlink()
    text = error_of(folder)
    assert "not evenly spaced" in text
    between = f"between 1.2.3_{100 - number}.dcm and 1.2.3_{98 - number}.dcm"
    assert f"5.00 mm lie {between}, 2.50 mm usually): slices are missing" in text


def test_every_second_slice_is_missing(tmp_path):
    folder = write_slices(tmp_path / "a")
    for k in (1, 3, 5):
        (folder / f"1.2.3_{99 - k}.dcm").unlink()
    result = read_volume(folder)
    np.testing.assert_allclose(result.spacing, [1.5, 0.75, 5])
    assert "The slices are 2.5 mm thick and lie 5 mm apart: some may be missing." in result.notes
    assert "2 of the instance numbers 1 to 5 are absent: slices may be missing." in result.notes


def test_the_last_slices_are_missing(tmp_path):
    folder = write_slices(tmp_path / "a", PIXELS[:4], changed("ImagesInAcquisition", 6, range(6)))
    assert read_volume(folder).notes == ("There are 4 slices, and ImagesInAcquisition says 6: some may be missing.",)


def test_positions_count_and_not_what_else_is_said(tmp_path):
    result = read_volume(write_slices(tmp_path / "a", change=changed("SpacingBetweenSlices", 5, range(6))))
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-9)
    assert "The slices lie 2.5 mm apart by their positions, which were used, and 5 mm by" in result.notes[0]


def test_decreasing_positions(tmp_path):
    def change(dataset, k):
        dataset.ImagePositionPatient = (ORIGIN - k * STEP).tolist()

    result = read_volume(write_slices(tmp_path / "a", change=change))
    np.testing.assert_array_equal(result.array, PIXELS[::-1].T)
    np.testing.assert_allclose(result.affine[:3, 3], [20, -30, 27.5], atol=1e-9)
    np.testing.assert_allclose(result.affine[:3, 2], [0, 0, 2.5], atol=1e-9)


def test_rounded_positions(tmp_path):
    def change(dataset, k):
        dataset.ImagePositionPatient = [-20, 30, round(40 + 0.625 * k, 1)]

    result = read_volume(write_slices(tmp_path / "a", change=change))
    assert abs(result.spacing[2] - 0.625) < 0.01
    assert "mm off even steps of" in result.notes[0]


def test_two_thicknesses(tmp_path):
    def change(dataset, k):
        dataset.ImagePositionPatient = [-20, 30, 40 + 3 * min(k, 3) + 3.3 * max(0, k - 3)]

    assert "not evenly spaced" in error_of(write_slices(tmp_path / "a", change=change))


def test_a_tilted_gantry(tmp_path):
    def change(dataset, k):
        dataset.ImagePositionPatient = [-20, 30 + 0.5 * k, 40 + 2.5 * k]

    result = read_volume(write_slices(tmp_path / "a", change=change))
    np.testing.assert_allclose(result.affine[:3, 2], [0, -0.5, 2.5], atol=1e-9)
    assert "stacked 11.3 degrees off their normal" in result.notes[0]


def test_several_acquisition_numbers_are_noted(tmp_path):
    result = read_volume(write_slices(tmp_path / "a", change=changed("AcquisitionNumber", 2), kind=PET))
    assert result.notes == ()
    result = read_volume(write_slices(tmp_path / "b", change=lambda ds, k: setattr(ds, "AcquisitionNumber", 1 + k % 2)))
    assert result.notes == ("The slices are of 2 acquisitions, AcquisitionNumber 1, 2.",)


@pytest.mark.parametrize("order", [None, [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_frames_are_sorted_by_their_positions(tmp_path, order):
    result = read_volume(write(multi_frame(order=order), tmp_path / "a.dcm"))
    np.testing.assert_array_equal(result.array, PIXELS.T)
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-9)


def test_groups_of_each_frame_count_before_shared_ones(tmp_path):
    dataset = multi_frame()
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.PixelMeasuresSequence = groups(PixelMeasuresSequence={"PixelSpacing": [3, 2]}).PixelMeasuresSequence
    np.testing.assert_allclose(read_volume(write(dataset, tmp_path / "a.dcm")).spacing, [2, 3, 2.5])


@pytest.mark.parametrize(
    ("sequence", "keyword", "values", "text"),
    [
        ("MREchoSequence", "EffectiveEchoTime", (4.6, 9.2), "differ in EffectiveEchoTime"),
        ("FrameContentSequence", "TemporalPositionIndex", (1, 2), "differ in TemporalPositionIndex"),
        ("FrameContentSequence", "StackID", ("1", "2"), "differ in StackID"),
        ("MRDiffusionSequence", "DiffusionBValue", (0.0, 800.0), "differ in DiffusionBValue"),
        (
            "MRImageFrameTypeSequence",
            "FrameType",
            (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
            "differ in FrameType",
        ),
        ("PlaneOrientationSequence", "ImageOrientationPatient", ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]), "several"),
        ("PixelMeasuresSequence", "PixelSpacing", ([0.75, 1.5], [1, 1]), "they have a PixelSpacing of"),
    ],
)
def test_frames_that_make_up_no_volume(tmp_path, sequence, keyword, values, text):
    dataset = multi_frame(kind=ENHANCED_MR)
    for n, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        setattr(group, sequence, getattr(groups(**{sequence: {keyword: values[n // 3]}}), sequence))
    assert text in error_of(write(dataset, tmp_path / "a.dcm"))


def test_frames_without_places(tmp_path):
    dataset = multi_frame()
    del dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    # What the whole file says is not where a frame lies.
    dataset.ImagePositionPatient = ORIGIN.tolist()
    assert "has no ImagePositionPatient" in error_of(write(dataset, tmp_path / "a.dcm"))
    del dataset.PerFrameFunctionalGroupsSequence[3]
    assert "holds 6 frames and describes 5" in error_of(write(dataset, tmp_path / "a.dcm"))
    del dataset.PerFrameFunctionalGroupsSequence
    assert "does not say where each lies" in error_of(write(dataset, tmp_path / "a.dcm"))


def test_a_multi_frame_file_is_a_volume_by_itself(tmp_path):
    write(multi_frame(), tmp_path / "a.dcm")
    other = multi_frame(PIXELS + 1)
    other.SOPInstanceUID = "1.2.3.2"
    write(other, tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.dcm").array, PIXELS.T + 1)
    assert "holds several images at 6 positions, such as a.dcm frame 1 and b.dcm frame 1" in error_of(tmp_path)


def test_an_image_in_several_files(tmp_path):
    for part, order in enumerate(([0, 2, 4], [5, 1, 3])):
        dataset = multi_frame(order=order)
        dataset.SOPInstanceUID = f"1.2.3.{part}"
        dataset.ConcatenationUID, dataset.InConcatenationNumber, dataset.InConcatenationTotalNumber = "1.9", part + 1, 2
        write(dataset, tmp_path / f"{part}.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "1.dcm").array, PIXELS.T)
    np.testing.assert_array_equal(read_volume(tmp_path).array, PIXELS.T)
    (tmp_path / "0.dcm").unlink()
    assert "is one of 2 parts of an image, of which 1 are there" in error_of(tmp_path)
    assert "is one of 2 parts of an image" in error_of(tmp_path / "1.dcm")


def test_a_series_of_single_frame_enhanced_files(tmp_path):
    for k in range(6):
        dataset = multi_frame(order=[k])
        dataset.SOPInstanceUID = f"1.2.3.{k}"
        write(dataset, tmp_path / "a" / f"{9 - k}.dcm")
    result = read_volume(tmp_path / "a")
    np.testing.assert_array_equal(result.array, PIXELS.T)
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-9)
