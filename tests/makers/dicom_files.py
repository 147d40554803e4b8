"""Small DICOM series and multi-frame files, written by pydicom."""

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

CT, MR, PET = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
DOSE, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.481.2", "1.2.840.10008.5.1.4.1.1.66.4"
MODALITIES = {CT: "CT", MR: "MR", PET: "PT", ENHANCED_CT: "CT", ENHANCED_MR: "MR", DOSE: "RTDOSE", SEGMENTATION: "SEG"}

ORIGIN = np.array([-20.0, 30.0, 40.0])
STEP = np.array([0.0, 0.0, 2.5])

# `(slices, rows, columns)` of unequal sizes.
PIXELS = (np.arange(6 * 5 * 4).reshape(6, 5, 4) * 7 % 1024).astype(np.uint16)


def slice_of(pixels, k, kind=CT, series="1.2.3", position=None):
    """A data set of one slice.

    Args:
        pixels: `(rows, columns)`, integers of 8 or 16 bits.
        k: The number of the slice, which makes its position, its instance number and its uid.
        kind: The SOP Class UID.
        series: The Series Instance UID.
        position: LPS mm of the first pixel, or None for the slice's place in an even stack.

    Returns:
        A `pydicom.Dataset`, to be changed and written.
    """
    dataset = _image(pixels[None], kind, series, f"{series}.{k + 1}")
    dataset.InstanceNumber = k + 1
    dataset.ImagePositionPatient = [round(float(x), 6) for x in (ORIGIN + k * STEP if position is None else position)]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [0.75, 1.5]  # between rows, between columns
    dataset.SliceThickness = 2.5
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    return dataset


def multi_frame(pixels=PIXELS, order=None, kind=ENHANCED_CT):
    """A data set of an enhanced multi-frame file.

    Args:
        pixels: `(slices, rows, columns)`, in the order of their places.
        order: The slice of each frame, in the order of the file; None is the slices' own order.
        kind: The SOP Class UID.

    Returns:
        A `pydicom.Dataset` whose frames lie where the slices of `slice_of` do.
    """
    order = range(len(pixels)) if order is None else order
    dataset = _image(np.stack([pixels[k] for k in order]), kind, "1.2.3", "1.2.3.1")
    dataset.NumberOfFrames = len(order)
    dataset.SharedFunctionalGroupsSequence = [
        groups(
            PixelMeasuresSequence={"PixelSpacing": [0.75, 1.5], "SliceThickness": 5},
            PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
            PixelValueTransformationSequence={"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "HU"},
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        groups(
            PlanePositionSequence={"ImagePositionPatient": (ORIGIN + k * STEP).tolist()},
            FrameContentSequence={"StackID": "1", "InStackPositionNumber": n + 1},
        )
        for n, k in enumerate(order)
    ]
    return dataset


def groups(**sequences):
    """A data set of functional groups, each a sequence of one item."""
    dataset = Dataset()
    for name, attributes in sequences.items():
        item = Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        setattr(dataset, name, [item])
    return dataset


def write(dataset, path):
    """Writes a data set, whose folder is made if it is not there, and returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_slices(folder, pixels=PIXELS, change=None, **options):
    """Writes a series.

    Args:
        folder: Where; made if it is not there.
        pixels: `(slices, rows, columns)`.
        change: Function of a data set and its number, called before each is written, or None.
        options: Of `slice_of`.

    Returns:
        The folder. The names of the files run against the slices.
    """
    for k, picture in enumerate(pixels):
        dataset = slice_of(picture, k, **options)
        if change is not None:
            change(dataset, k)
        write(dataset, Path(folder) / f"{options.get('series', '1.2.3')}_{99 - k}.dcm")
    return folder


def _image(frames, kind, series, uid):
    """A data set with the attributes that all images have."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2", series, "1.2.9"
    dataset.PatientID, dataset.PatientName = "p", "p"
    dataset.Modality, dataset.ImageType = MODALITIES[kind], ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Rows, dataset.Columns = frames.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = frames.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(frames.dtype.kind == "i")
    dataset.PixelData = frames.astype(frames.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset
