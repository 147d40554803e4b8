"""DICOM frames: what the attributes of a file say of each of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.errors import UserError
from tfreg.io.dicom.series import number_of_frames

# Frames of one volume agree in these wherever they have them. Numbers may differ by a hundredth.
ONE_ACQUISITION = (
    "PatientID",
    "StudyInstanceUID",
    "Modality",
    "SOPClassUID",
    "FrameOfReferenceUID",
    "ImageType",
    "FrameType",
    "ComplexImageComponent",
    "StackID",
    "EchoNumbers",
    "EchoTime",
    "EffectiveEchoTime",
    "InversionTime",
    "FlipAngle",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "NominalPercentageOfRespiratoryPhase",
    "KVP",
    "ConvolutionKernel",
    "PhotometricInterpretation",
    "RescaleType",
    "Units",
    "DoseUnits",
    "DoseType",
    "DoseSummationType",
)
# What may tell frames at one position apart.
OTHER_TIMES = (
    "AcquisitionNumber",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "FrameAcquisitionNumber",
    "FrameAcquisitionDateTime",
    "FrameReferenceDateTime",
    "TriggerTime",
    "CardiacTriggerDelayTime",
    "FrameReferenceTime",
    "DiffusionGradientOrientation",
    "ContentTime",
)
GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
VALUES = (
    "RescaleSlope",
    "RescaleIntercept",
    "RealWorldValueSlope",
    "RealWorldValueIntercept",
    "RealWorldValueLUTData",
)
NOTED = (
    "SpacingBetweenSlices",
    "SliceThickness",
    "InstanceNumber",
    "NumberOfSlices",
    "ImagesInAcquisition",
    "LossyImageCompression",
)
KEYWORDS = frozenset((*ONE_ACQUISITION, *OTHER_TIMES, *GEOMETRY, *VALUES, *NOTED))

DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

# With a slope or an intercept beyond, 64-bit integers would leave float32.
LARGEST_SCALE = 1e18

# Direction cosines are rounded: they may be this far from unit length and from right angles.
COSINE_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a DICOM file, and where it lies.

    Args:
        file: The file.
        number: Which of the file's frames it is, from 0.
        shape: Number of columns and rows.
        attributes: Dictionary of keyword to value.
        position: `(3,)`, LPS mm of the first pixel.
        axes: `(2, 3)`, unit vectors in LPS along which the column and the row index grow.
        spacing: `(2,)`, mm between columns and between rows.
        slope, intercept: What makes a value of a stored one.
    """

    file: Path
    number: int
    shape: tuple[int, int]
    attributes: dict
    position: np.ndarray
    axes: np.ndarray
    spacing: np.ndarray
    slope: float
    intercept: float

    @property
    def normal(self) -> np.ndarray:
        """`(3,)`, unit vector in LPS at right angles to the frame."""
        normal = np.cross(*self.axes)
        return normal / np.linalg.norm(normal)

    @property
    def name(self) -> str:
        """The file's name, with the number of the frame in a multi-frame file from 1."""
        return self.file.name if self.number is None else f"{self.file.name} frame {self.number + 1}"


def frames_of(header: Any) -> list[Frame]:
    """Reads what a file says of its frames.

    Args:
        header: A `pydicom.Dataset` with its `filename`.

    Returns:
        A list of `Frame`s, in the file's order.

    Raises:
        UserError: If the file holds something else than slices of one real number a pixel, or an attribute that
            decides where they lie or what they hold is absent or senseless.
    """
    file = Path(header.filename)
    _check_kind(file, header)
    if number_of_frames(header) > 1 or "PerFrameFunctionalGroupsSequence" in header:
        attributes = _dose_planes(file, header) if _is_dose(header) else _groups(file, header)
        return [_frame(file, header, number, entry) for number, entry in enumerate(attributes)]
    return [_frame(file, header, None, _attributes(header))]


def _check_kind(file, header):
    """Refuses what is no stack of slices, and values that slope and intercept do not give."""
    kind, image_type = str(header.get("Modality")), [str(word) for word in header.get("ImageType") or ()]
    photometric, samples = header.get("PhotometricInterpretation"), int(header.get("SamplesPerPixel") or 1)
    if header.get("SOPClassUID") in SEGMENTATIONS or kind == "SEG":
        raise UserError(
            f"{file}: is a DICOM segmentation, whose frames do not cover the image; convert it to NIfTI on the "
            "image's grid, for example with dcmqi's segimage2itkimage"
        )
    if not photometric:
        raise UserError(f"{file}: has no PhotometricInterpretation, it is truncated or damaged; export it again")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UserError(
            f"{file}: holds colours ({samples} samples a pixel, {photometric}); give an image of one number a pixel"
        )
    if _is_dose(header) != (kind == "RTDOSE") or ("DoseGridScaling" in header and not _is_dose(header)):
        raise UserError(
            f"{file}: contradicts itself in whether its values are a dose (Modality {kind}, SOPClassUID "
            f"{header.get('SOPClassUID')}); correct the header"
        )
    if "MOSAIC" in image_type:
        raise UserError(
            f"{file}: is a mosaic, a picture of many slices side by side; convert it to NIfTI with dcm2niix"
        )
    if "LOCALIZER" in image_type and kind == "CT":
        raise UserError(f"{file}: is a CT localizer, a projection and no slice; give the series of the slices")
    if header.get("ModalityLUTSequence"):
        raise UserError(
            f"{file}: gives its values by a table (ModalityLUTSequence); export it with slope and intercept"
        )


def _attributes(dataset):
    """The keywords and values of a data set that matter here."""
    return {keyword: dataset.get(keyword) for keyword in KEYWORDS if dataset.get(keyword) not in (None, "")}


def _groups(file, header):
    """The attributes of each frame of a multi-frame file: its own functional groups, then the shared ones."""
    general = {keyword: value for keyword, value in _attributes(header).items() if keyword not in GEOMETRY}
    for group in header.get("SharedFunctionalGroupsSequence") or ():
        general |= _group(group)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    count = number_of_frames(header)
    if not groups:
        raise UserError(
            f"{file}: holds {count} frames and does not say where each lies (no PerFrameFunctionalGroupsSequence); "
            "convert it to NIfTI yourself"
        )
    if len(groups) != count:
        raise UserError(f"{file}: holds {count} frames and describes {len(groups)}; export it again")
    return [general | _group(group) for group in groups]


def _group(functional_groups):
    """What the functional groups of one frame, or those of all, say."""
    attributes = {}
    for element in functional_groups:
        # Philips repeats the attributes of another kind of file in a private group.
        if element.VR == "SQ" and not element.tag.is_private and element.value:
            attributes |= _attributes(element.value[0])
    return attributes


def _is_dose(header):
    """True for a file whose values are a dose."""
    return header.get("SOPClassUID") == DOSE


def _dose_planes(file, header):
    """The attributes of each plane of a dose grid, which one position and a list of offsets places."""
    attributes = _attributes(header)
    offsets = _numbers(file, "GridFrameOffsetVector", header.get("GridFrameOffsetVector"), number_of_frames(header))
    position = _numbers(file, "ImagePositionPatient", attributes.get("ImagePositionPatient"), 3)
    axes = _axes(file, attributes.get("ImageOrientationPatient"))
    along = np.cross(*axes)
    # Either distances from the first plane, or each plane's own z.
    if offsets[0] != 0:
        if not (abs(offsets[0] - position[2]) < 0.01 and abs(along[2]) > 0.999):
            raise UserError(
                f"{file}: its GridFrameOffsetVector begins with {offsets[0]:g}, neither 0 nor the first plane's z "
                f"{position[2]:g}; export the dose again"
            )
        along = np.array([0.0, 0.0, 1.0])
    places = position + (offsets - offsets[0])[:, None] * along
    return [attributes | {"ImagePositionPatient": list(place)} for place in places]


def _frame(file, header, number, attributes):
    """The `Frame` that attributes describe."""
    slope, intercept = _scale(file, header, attributes)
    spacing = _numbers(file, "PixelSpacing", attributes.get("PixelSpacing"), 2)
    if not (spacing > 0).all():
        raise UserError(f"{file}: PixelSpacing is {_text(attributes['PixelSpacing'])}; correct the header")
    return Frame(
        file,
        number,
        (int(header.Columns), int(header.Rows)),
        attributes,
        _numbers(file, "ImagePositionPatient", attributes.get("ImagePositionPatient"), 3),
        _axes(file, attributes.get("ImageOrientationPatient")),
        # The distance between rows comes first.
        spacing[::-1],
        slope,
        intercept,
    )


def _axes(file, value):
    """`(2, 3)`, the unit vectors of ImageOrientationPatient at right angles."""
    axes = _numbers(file, "ImageOrientationPatient", value, 6).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if not (np.abs(lengths - 1) < COSINE_TOLERANCE).all() or not abs(axes[0] @ axes[1]) < COSINE_TOLERANCE:
        raise UserError(
            f"{file}: ImageOrientationPatient is {_text(value)}, not two unit vectors at right angles; "
            "correct the header"
        )
    axes /= lengths[:, None]
    axes[1] -= (axes[0] @ axes[1]) * axes[0]
    return axes / np.linalg.norm(axes, axis=1)[:, None]


def _scale(file, header, attributes):
    """The slope and the intercept of a frame."""
    if _is_dose(header):
        slope, intercept = header.get("DoseGridScaling"), 0
        if slope in (None, ""):
            raise UserError(f"{file}: a dose without DoseGridScaling, so that its values mean nothing; export it again")
    elif "RescaleSlope" in attributes or "RescaleIntercept" in attributes:
        slope, intercept = attributes.get("RescaleSlope", 1), attributes.get("RescaleIntercept", 0)
    elif "RealWorldValueLUTData" in attributes:
        raise UserError(
            f"{file}: gives its values by a table (RealWorldValueLUTData); export it with slope and intercept"
        )
    else:
        slope, intercept = attributes.get("RealWorldValueSlope", 1), attributes.get("RealWorldValueIntercept", 0)
    slope = float(_numbers(file, "the slope of the values", slope, 1)[0])
    intercept = float(_numbers(file, "the intercept of the values", intercept, 1)[0])
    if slope == 0 or max(abs(slope), abs(intercept)) > LARGEST_SCALE:
        raise UserError(
            f"{file}: the slope of the values is {slope:g} and the intercept {intercept:g}; correct the header"
        )
    return slope, intercept


def _numbers(file, keyword, value, count):
    """`(count,)` finite numbers of an attribute."""
    if value is None or value == "":
        raise UserError(f"{file}: has no {keyword}, so that nobody knows where its pixels lie; convert it to NIfTI")
    try:
        numbers = np.array(value, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        numbers = np.array([])
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise UserError(
            f"{file}: {keyword} is {_text(value)}, not {count} finite number{'s' * (count > 1)}; correct the header"
        )
    return numbers


def _text(value):
    """An attribute's value on one line and short."""
    return " ".join(str(value).split())[:80]
