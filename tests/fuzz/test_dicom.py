"""DICOM with one attribute changed: each pixel has the place and value that pydicom says, or all is refused."""

import random

import numpy as np
import pydicom
import pytest
from dicom_files import DOSE, ENHANCED_MR, MR, PET, PIXELS, multi_frame, slice_of, write
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.uid import ExplicitVRLittleEndian

from tfreg.errors import UserError
from tfreg.io.formats import read_volume

CASES, IN_THE_ORDINARY_SUITE = 170, 20
NUMBERS = [
    pytest.param(number, marks=[] if number % (CASES // IN_THE_ORDINARY_SUITE) == 0 else pytest.mark.slow)
    for number in range(CASES)
]

# What tells acquisitions apart: a value of its own in one image is always refused.
TELLING = {
    "EchoTime": ("DS", [1, 9.2]),
    "EchoNumbers": ("IS", [2]),
    "DiffusionBValue": ("FD", [500.0]),
    "TemporalPositionIdentifier": ("IS", [2]),
    "ImageType": ("CS", [["DERIVED", "SECONDARY"], ["ORIGINAL", "PRIMARY", "LOCALIZER"]]),
    "FrameOfReferenceUID": ("UI", ["1.2.10"]),
    "StudyInstanceUID": ("UI", ["1.3"]),
    "Modality": ("CS", ["CT", "SEG"]),
    "PatientID": ("LO", ["q"]),
}
# What decides neither places nor values: always read.
HARMLESS = {
    "InstanceNumber": ("IS", [-4, 77]),
    "SliceLocation": ("DS", [1e3]),
    "PatientName": ("PN", ["Q^R", ""]),
    "WindowCenter": ("DS", [4000]),
    "AcquisitionTime": ("TM", ["115959.9"]),
    "SeriesDescription": ("LO", ["", "a\nb", "x" * 64]),
    "SmallestImagePixelValue": ("US", [9]),
    "SpacingBetweenSlices": ("DS", [-5, 0, 5]),
    "SliceThickness": ("DS", [0, 99]),
}
# What decides places or values.
DECIDING = {
    "ImagePositionPatient": ("DS", [[-20, 30, 45.2], [-20, 30, 47.5], [-20.01, 30, 45], [0, 0, 0], [1, 2]]),
    "ImageOrientationPatient": (
        "DS",
        [[1, 0, 0, 0, 1, 0.0001], [-1, 0, 0, 0, 1, 0], [0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0.8, 0.6], [2, 0, 0, 0, 1, 0]],
    ),
    "PixelSpacing": ("DS", [[0.75001, 1.5], [1.5, 0.75], [0.75, -1.5], [3, 3], [0, 0], [0.75]]),
    "RescaleSlope": ("DS", [0.3, -1, 0, 1e-7, 1e12, 1e300, 2.5]),
    "RescaleIntercept": ("DS", [-1024, 0.5, 1e9]),
    "PixelPaddingValue": ("US", [0, 7, 65535]),
    "PixelRepresentation": ("US", [0, 1, 3]),
    "BitsStored": ("US", [8, 9, 12, 17, 0]),
    "BitsAllocated": ("US", [8, 1, 32]),
    "HighBit": ("US", [7, 14, 16]),
    "Rows": ("US", [1, 4, 6, 0, 40000]),
    "Columns": ("US", [2, 3, 5]),
    "SamplesPerPixel": ("US", [3, 4, 0]),
    "PhotometricInterpretation": ("CS", ["MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL"]),
    "NumberOfFrames": ("IS", [2, 5, 7, 0, -1]),
    "DoseGridScaling": ("DS", [2.5, 0, 1e-9]),
    "GridFrameOffsetVector": ("DS", [[0, 2.5, 5, 7.5, 10, 13], [0, -3, -6, -9, -12, -15], [1, 2, 3, 4, 5, 6], [0, 1]]),
    "SOPInstanceUID": ("UI", ["1.2.3.1", "1.2.3.3"]),
    "SeriesInstanceUID": ("UI", ["1.2.3.44"]),
}
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.70", "1.2.3"]


def signed_pixels(choice):
    """Pixels of either sign."""
    return PIXELS.astype(np.int16) - 300 if choice.random() < 0.5 else PIXELS


def base(choice):
    """The data sets of a sound volume, in any order."""
    kind = choice.choice(["slices", "slices", "frames", "dose"])
    if kind == "frames":
        return [multi_frame(signed_pixels(choice), choice.sample(range(6), 6), ENHANCED_MR)]
    if kind == "dose":
        dataset = slice_of(PIXELS[0], 0, kind=DOSE)
        dataset.PixelData, dataset.NumberOfFrames = PIXELS.astype("<u2").tobytes(), 6
        dataset.GridFrameOffsetVector, dataset.DoseGridScaling = [2.5 * k for k in range(6)], 0.001
        return [dataset]
    datasets = [slice_of(pixels, k, kind=choice.choice([MR, PET])) for k, pixels in enumerate(signed_pixels(choice))]
    for k, dataset in enumerate(datasets):
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = datasets[0].SOPClassUID
        dataset.Modality = datasets[0].Modality
        dataset.RescaleSlope, dataset.RescaleIntercept = choice.choice([1, 0.5 + k]), -k
        dataset.EchoTime, dataset.EchoNumbers, dataset.DiffusionBValue = 4.6, 1, 0.0
        dataset.TemporalPositionIdentifier = 1
    return choice.sample(datasets, 6)


def holders(datasets, keyword):
    """The data sets, or functional groups, that hold an attribute; the first level where none does."""
    found = list(datasets)
    for dataset in datasets:
        for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
            for group in dataset.get(name) or ():
                found += [element.value[0] for element in group if element.VR == "SQ"]
    return [holder for holder in found if keyword in holder] or list(datasets)


def set_raw(holder, keyword, vr, value):
    """Sets an attribute, however senseless."""
    tag = tag_for_keyword(keyword)
    if keyword in holder and vr in ("US", "SS"):
        vr = holder[tag].VR
    holder[tag] = DataElement(tag, vr, value, already_converted=vr not in ("DS", "IS", "PN"))


def change(choice, datasets):
    """Changes one attribute, and says what that is called, in how many places, and what must come of it."""
    group = choice.choice([TELLING, HARMLESS, DECIDING, DECIDING, DECIDING])
    keyword = choice.choice([k for k in group if group is not DECIDING or k in datasets[0] or choice.random() < 0.3])
    vr, values = group[keyword]
    places = holders(datasets, keyword)
    how = choice.choice(["one", "one", "all"]) if group is not TELLING else "one"
    chosen = places if how == "all" else [choice.choice(places)]
    kind = choice.choice(["value"] * 6 + ["absent", "empty", "text"]) if group is DECIDING else "value"
    value = choice.choice(values)
    for holder in chosen:
        if kind == "absent":
            holder.pop(tag_for_keyword(keyword), None)
        elif kind == "empty":
            set_raw(holder, keyword, vr, None)
        elif kind == "text":
            set_raw(holder, keyword, "LO", choice.choice(["abc", "nan", "1e999", "1,5"]))
        else:
            set_raw(holder, keyword, vr, value)
    alone = len(places) == 1
    must = {id(TELLING): None if alone or keyword not in datasets[0] else "refused", id(HARMLESS): "read"}.get(
        id(group)
    )
    return f"{keyword} {kind} {value if kind == 'value' else ''} in {how} of {len(places)}", must


def damage(choice, file):
    """Changes the bytes of a file instead, and says how."""
    content = bytearray(file.read_bytes())
    place = choice.randrange(132, len(content))
    if choice.random() < 0.5:
        file.write_bytes(content[:place])
        return f"{file.name} cut at {place}"
    content[place] ^= 1 << choice.randrange(8)
    file.write_bytes(content)
    return f"{file.name} flipped at {place} of {len(content)}"


def frames_by_pydicom(folder):
    """`(frames, rows, columns)` values, and `(frames, rows, columns, 3)` the RAS mm of every pixel, in any order."""
    values, points = [], []
    for file in sorted(folder.iterdir()):
        dataset = pydicom.dcmread(file)
        # As all are written; the change may have hit this.
        dataset.file_meta.setdefault("TransferSyntaxUID", ExplicitVRLittleEndian)
        stored = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
        if dataset.get("PixelPaddingValue") not in (None, ""):
            outside = stored == dataset.PixelPaddingValue
        else:
            outside = np.zeros(stored.shape, bool)
        for n, pixels in enumerate(stored):
            found = Attributes(dataset, n)
            axes = np.reshape(found["ImageOrientationPatient"], (2, 3)).astype(float)
            between_rows, between_columns = map(float, found["PixelSpacing"])
            origin = np.array(found["ImagePositionPatient"], float)
            slope, intercept = found["RescaleSlope"], found["RescaleIntercept"]
            if "DoseGridScaling" in dataset:
                offsets = np.array(dataset.GridFrameOffsetVector, float)
                origin = origin + (offsets[n] - offsets[0]) * np.cross(*axes)
                slope, intercept = dataset.DoseGridScaling, 0
            slope = 1.0 if slope is None else float(slope)
            intercept = 0.0 if intercept is None else float(intercept)
            values.append(np.where(outside[n], np.nan, pixels * slope + intercept))
            row, column = np.indices(pixels.shape)
            lps = origin + column[..., None] * between_columns * axes[0] + row[..., None] * between_rows * axes[1]
            points.append(lps * [-1, -1, 1])
    return np.array(values), np.array(points)


class Attributes:
    """The attributes of a frame."""

    def __init__(self, dataset, n):
        self.places = [dataset]
        for name, k in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", n)):
            if name in dataset:
                self.places += [e.value[0] for e in dataset[name].value[k] if e.VR == "SQ"]

    def __getitem__(self, keyword):
        found = [place[keyword].value for place in self.places if keyword in place]
        return found[-1] if found and found[-1] != "" else None


def read_or_refused(path):
    """A `Volume`, or what the refusal says."""
    try:
        return read_volume(path)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_change(tmp_path, number):
    choice = random.Random(number)
    datasets = base(choice)
    bytewise = choice.random() < 0.2
    what, must = (None, None) if bytewise else change(choice, datasets)
    if not bytewise and choice.random() < 0.1:
        what, must = f"transfer syntax of one file, {what} undone", None
        datasets = base(choice)
    folder = tmp_path / "a"
    for k, dataset in enumerate(datasets):
        write(dataset, folder / f"{k}.dcm")
    if bytewise:
        what = damage(choice, folder / f"{choice.randrange(len(datasets))}.dcm")
    elif what.startswith("transfer"):
        file = folder / "0.dcm"
        written, claimed = b"1.2.840.10008.1.2.1\0", choice.choice(SYNTAXES).encode()
        file.write_bytes(file.read_bytes().replace(written, claimed[:20].ljust(20, b"\0"), 1))
    path = folder if choice.random() < 0.7 or len(datasets) > 1 else folder / "0.dcm"
    result = read_or_refused(path)
    if isinstance(result, str):
        assert must != "read", f"{what}: {result}"
        assert result.startswith(str(path)), what
        assert "\n" not in result, what
        return
    assert must != "refused", what
    values, points = frames_by_pydicom(folder)
    order = np.argsort(points[:, 0, 0] @ result.affine[:3, 2])
    np.testing.assert_array_equal(result.array, values[order].T.astype(np.float32), err_msg=what)
    away = np.abs(result.lattice.points() - points[order].transpose(2, 1, 0, 3)).max()
    assert away < 0.1 * result.spacing.min() + 1e-6, f"{what}: {away} mm"
