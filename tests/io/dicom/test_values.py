"""The values of DICOM files: slopes, bits, padding, compression, and what is no image of numbers."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_files import (
    DOSE,
    MR,
    ORIGIN,
    PET,
    PIXELS,
    SEGMENTATION,
    groups,
    multi_frame,
    slice_of,
    write,
    write_slices,
)
from pydicom.encaps import encapsulate

from tfreg.errors import UserError
from tfreg.io.formats import read_volume


def error_of(path, labels=False):
    """The one line that reading ends with."""
    with pytest.raises(UserError) as caught:
        read_volume(path, labels=labels)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_all(**attributes):
    """A change of attributes in all slices."""

    def change(dataset, k):
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize(
    ("slopes", "intercepts"),
    [
        ([1, 0.137, 0.274, 0.411, 0.548, 0.685], [0] * 6),
        ([1, 40, 40, 40, 40, 40], [0] * 6),
        ([1] * 6, [0, -1024, -1024, -1024, -1024, -1024]),
        ([2.5e-5] * 6, [0.1] * 6),
    ],
)
@pytest.mark.parametrize("frames", [False, True])
def test_every_slice_has_its_own_slope_and_intercept(tmp_path, slopes, intercepts, frames):
    def change(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = slopes[k], intercepts[k]

    if frames:
        order = [3, 0, 5, 1, 4, 2]
        dataset = multi_frame(order=order)
        for k, group in zip(order, dataset.PerFrameFunctionalGroupsSequence, strict=True):
            own = groups(
                PixelValueTransformationSequence={"RescaleSlope": slopes[k], "RescaleIntercept": intercepts[k]}
            )
            group.PixelValueTransformationSequence = own.PixelValueTransformationSequence
        result = read_volume(write(dataset, tmp_path / "a.dcm"))
    else:
        result = read_volume(write_slices(tmp_path / "a", change=change, kind=PET))
    expected = (PIXELS * np.reshape(slopes, (6, 1, 1)) + np.reshape(intercepts, (6, 1, 1))).T
    assert result.array.dtype == np.float32
    np.testing.assert_array_equal(result.array, expected.astype(np.float32))


def test_private_scaling_is_left_alone(tmp_path):
    """Philips repeats attributes of its own frames in a private group, with another slope."""
    dataset = multi_frame()
    for group in dataset.PerFrameFunctionalGroupsSequence:
        block = group.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        item = pydicom.Dataset()
        item.RescaleSlope, item.ImagePositionPatient = 7, [1, 2, 3]
        block.add_new(0x0F, "SQ", [item])
    np.testing.assert_array_equal(read_volume(write(dataset, tmp_path / "a.dcm")).array, PIXELS.T)


def test_a_value_map_counts_where_nothing_else_does(tmp_path):
    dataset = multi_frame()
    shared = dataset.SharedFunctionalGroupsSequence[0]
    mapping = groups(RealWorldValueMappingSequence={"RealWorldValueSlope": 0.5, "RealWorldValueIntercept": 2.0})
    shared.RealWorldValueMappingSequence = mapping.RealWorldValueMappingSequence
    np.testing.assert_array_equal(read_volume(write(dataset, tmp_path / "a.dcm")).array, PIXELS.T)
    del shared.PixelValueTransformationSequence
    np.testing.assert_array_equal(read_volume(write(dataset, tmp_path / "a.dcm")).array, PIXELS.T * 0.5 + 2)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"RescaleSlope": 0}, "the slope of the values is 0 and the intercept 0"),
        ({"RescaleSlope": [1, 2]}, "the slope of the values is [1.0, 2.0], not 1 finite number"),
        ({"RescaleSlope": "1e39"}, "the slope of the values is 1e+39"),
        ({"RescaleIntercept": "-1e39"}, "and the intercept -1e+39"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "holds colours (3 samples a pixel, RGB)"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "holds colours (1 samples a pixel, PALETTE COLOR)"),
        ({"PhotometricInterpretation": None}, "has no PhotometricInterpretation"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a CT localizer, a projection"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "is a mosaic"),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, "gives its values by a table"),
        ({"Modality": "SEG"}, "is a DICOM segmentation"),
        ({"BitsStored": 12, "HighBit": 10}, "its bits do not fit together"),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "it claims 20 bytes of pixels and holds 40"),
        ({"Columns": 3}, "it claims 30 bytes of pixels and holds 40"),
        ({"Rows": 6}, "it claims 48 bytes of pixels and holds 40"),
        ({"BitsAllocated": 12}, "stores 12 bits a pixel"),
        ({"PixelRepresentation": 2}, "its pixels cannot be read"),
    ],
)
def test_what_is_refused(tmp_path, attributes, text):
    assert text in error_of(write_slices(tmp_path / "a", change=in_all(**attributes)))


def test_a_slope_that_some_slices_lack(tmp_path):
    def change(dataset, k):
        dataset.RescaleIntercept = -1024
        if k == 3:
            del dataset.RescaleIntercept

    text = error_of(write_slices(tmp_path / "a", change=change))
    assert "1 of 6 images, such as 1.2.3_96.dcm, have no RescaleIntercept" in text


def test_signed_pixels_of_twelve_bits(tmp_path):
    """Bits above the stored ones hold something else."""
    signed = PIXELS.astype(np.int16) - 500
    low = ((signed & 0xFFF) | 0x5000).astype(np.uint16)
    folder = write_slices(tmp_path / "a", low, in_all(PixelRepresentation=1, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(read_volume(folder).array, signed.T)


def test_representations_may_differ_from_slice_to_slice(tmp_path):
    def change(dataset, k):
        if k == 2:
            dataset.PixelRepresentation = 1

    pixels = PIXELS.copy()
    pixels[2] = (pixels[2].astype(np.int16) - 700).view(np.uint16)
    expected = pixels.astype(np.float64)
    expected[2] = pixels[2].view(np.int16)
    np.testing.assert_array_equal(read_volume(write_slices(tmp_path / "a", pixels, change)).array, expected.T)


@pytest.mark.parametrize(
    ("representation", "written", "value", "limit", "stored"),
    [
        (1, ("SS", -2000), -2000, None, None),
        (1, ("US", 63536), -2000, None, None),
        (0, ("US", 65535), 65535, None, None),
        (1, ("SS", -2000), -2000, -1500, None),
        # A padding value that does not fit into the bits stored.
        (1, ("SS", -3024), -3024, None, 12),
    ],
)
def test_padding_is_not_measured(tmp_path, representation, written, value, limit, stored):
    pixels = PIXELS.astype(np.int32) - 500 * representation
    outside = np.zeros(pixels.shape, bool)
    outside[:, 0], outside[2, 3, 1:] = True, True
    pixels[outside] = value
    if limit is not None:
        pixels[1, 0, :2] = limit, limit - 100

    def change(dataset, k):
        dataset.PixelRepresentation = representation
        dataset.RescaleIntercept = -24
        dataset.add_new("PixelPaddingValue", *written)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", written[0], limit)
        if stored is not None:
            dataset.BitsStored, dataset.HighBit = stored, stored - 1

    folder = write_slices(tmp_path / "a", pixels.astype(np.uint16), change)
    result = read_volume(folder)
    np.testing.assert_array_equal(result.array, np.where(outside, np.nan, pixels - 24).T)
    assert f"{outside.sum()} voxels of DICOM padding (" in result.notes[0]
    assert result.notes[0].endswith("were taken as not measured.")


def test_padding_of_labels_is_background(tmp_path):
    pixels = PIXELS % 4
    pixels[0, 0] = 200
    result = read_volume(write_slices(tmp_path / "a", pixels, in_all(PixelPaddingValue=200)), labels=True)
    np.testing.assert_array_equal(result.array, np.where(pixels == 200, 0, pixels).T)
    assert result.array.dtype == np.uint8


def test_monochrome1_is_noted(tmp_path):
    result = read_volume(write_slices(tmp_path / "a", change=in_all(PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(result.array, PIXELS.T)
    assert "The images are MONOCHROME1" in result.notes[0]


def dose(**attributes):
    """A dose grid on the places of `slice_of`'s slices."""
    dataset = slice_of(PIXELS[0], 0, kind=DOSE)
    dataset.PixelData, dataset.NumberOfFrames = PIXELS.astype("<u2").tobytes(), 6
    dataset.GridFrameOffsetVector = [2.5 * k for k in range(6)]
    dataset.DoseGridScaling, dataset.DoseUnits = 0.001, "GY"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("attributes", "turned"),
    [
        ({}, False),
        ({"GridFrameOffsetVector": [40 + 2.5 * k for k in range(6)]}, False),
        ({"GridFrameOffsetVector": [-2.5 * k for k in range(6)]}, True),
    ],
)
def test_a_dose_is_scaled_and_placed_by_its_offsets(tmp_path, attributes, turned):
    result = read_volume(write(dose(**attributes), tmp_path / "a.dcm"))
    expected = (PIXELS[::-1] if turned else PIXELS).T * 0.001
    np.testing.assert_array_equal(result.array, expected.astype(np.float32))
    first = ORIGIN[2] - 12.5 if turned else ORIGIN[2]
    np.testing.assert_allclose(result.affine[:3, 3], [20, -30, first], atol=1e-9)
    np.testing.assert_allclose(result.spacing, [1.5, 0.75, 2.5])


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"Modality": "CT"}, "contradicts itself in whether its values are a dose"),
        ({"SOPClassUID": PET}, "contradicts itself in whether its values are a dose"),
        ({"DoseGridScaling": None}, "a dose without DoseGridScaling"),
        ({"GridFrameOffsetVector": None}, "has no GridFrameOffsetVector"),
        ({"GridFrameOffsetVector": [0, 2.5]}, "not 6 finite numbers"),
        ({"GridFrameOffsetVector": [0, 2.5, 5, 7.5, 10, 15]}, "not evenly spaced"),
        ({"GridFrameOffsetVector": [7, 9.5, 12, 14.5, 17, 19.5]}, "begins with 7, neither 0 nor"),
    ],
)
def test_a_dose_that_means_nothing(tmp_path, attributes, text):
    assert text in error_of(write(dose(**attributes), tmp_path / "a.dcm"))


def test_a_segmentation_is_refused(tmp_path):
    dataset = multi_frame(kind=SEGMENTATION)
    assert "is a DICOM segmentation" in error_of(write(dataset, tmp_path / "a.dcm"), labels=True)


def test_float_pixels(tmp_path):
    values = PIXELS.astype(np.float32) / 7 - 3
    dataset = multi_frame()
    del dataset.PixelData
    dataset.FloatPixelData, dataset.BitsAllocated = values.astype("<f4").tobytes(), 32
    np.testing.assert_array_equal(read_volume(write(dataset, tmp_path / "a.dcm")).array, values.T)


def recompressed(dataset, kind, folder):
    """The data set with its pixels compressed by SimpleITK ("JPEG", "JPEG2000") or pydicom ("RLE")."""
    if kind == "RLE":
        dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        return
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    if dataset.PixelRepresentation:
        frames = frames.astype(np.int16)
    fragments = []
    for frame in frames:
        writer = sitk.ImageFileWriter()
        writer.UseCompressionOn()
        writer.SetCompressor(kind)
        writer.SetFileName(str(folder / "compressed.dcm"))
        writer.Execute(sitk.GetImageFromArray(frame))
        compressed = pydicom.dcmread(folder / "compressed.dcm")
        fragments.extend(pydicom.encaps.generate_frames(compressed.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate(fragments)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("kind", ["RLE", "JPEG", "JPEG2000"])
@pytest.mark.parametrize("signed", [False, True])
def test_compressed_slices(tmp_path, kind, signed):
    pixels = np.tile(PIXELS, (1, 3, 3)).astype(np.int16) - 500 * signed
    slopes = np.arange(1, 7)

    def change(dataset, k):
        dataset.RescaleSlope = slopes[k]
        recompressed(dataset, kind, tmp_path)

    folder = write_slices(tmp_path / "a", pixels if signed else pixels.astype(np.uint16), change)
    assert b"\xfe\xff\x00\xe0" in (folder / "1.2.3_97.dcm").read_bytes()
    np.testing.assert_array_equal(read_volume(folder).array, (pixels * slopes[:, None, None]).T)


@pytest.mark.parametrize("kind", ["RLE", "JPEG", "JPEG2000"])
def test_compressed_frames(tmp_path, kind):
    order = [3, 0, 5, 1, 4, 2]
    pixels = np.tile(PIXELS, (1, 3, 3))
    dataset = multi_frame(pixels, order)
    recompressed(dataset, kind, tmp_path)
    np.testing.assert_array_equal(read_volume(write(dataset, tmp_path / "a.dcm")).array, pixels.T)


@pytest.mark.parametrize("syntax", [pydicom.uid.HEVCMP51, pydicom.uid.HTJ2KLossless, "1.2.3.4"])
def test_a_compression_that_cannot_be_read(tmp_path, syntax):
    dataset = multi_frame()
    dataset.PixelData = encapsulate([b"\xff\x4f" + bytes(98)] * 6)
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "a.dcm", implicit_vr=False, little_endian=True, enforce_file_format=True)
    assert "cannot be" in error_of(tmp_path / "a.dcm")


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize(
    "syntax",
    [
        pydicom.uid.ImplicitVRLittleEndian,
        pydicom.uid.ExplicitVRLittleEndian,
        pydicom.uid.DeflatedExplicitVRLittleEndian,
        pydicom.uid.ExplicitVRBigEndian,
    ],
)
def test_transfer_syntaxes_without_compression(tmp_path, syntax, bits):
    pixels = (PIXELS % 200).astype(f"u{bits // 8}")
    big = syntax == pydicom.uid.ExplicitVRBigEndian

    def change(dataset, k):
        dataset.PixelData = pixels[k].astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
        dataset.file_meta.TransferSyntaxUID = syntax

    np.testing.assert_array_equal(read_volume(write_slices(tmp_path / "a", pixels, change)).array, pixels.T)


def test_compression_with_loss_is_noted(tmp_path):
    assert (
        "compressed with loss"
        in read_volume(write_slices(tmp_path / "a", change=in_all(LossyImageCompression="01"), kind=MR)).notes[0]
    )
