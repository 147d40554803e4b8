"""DICOM series and multi-frame files: every attribute that decides geometry or values is checked before any pixel."""

import itertools
import warnings
from pathlib import Path

import numpy as np

from tfreg.io.dicom.frames import frames_of
from tfreg.io.dicom.pixels import stored_values
from tfreg.io.dicom.series import chosen_series
from tfreg.io.dicom.stack import stacked
from tfreg.io.header_checks import checked_lattice
from tfreg.io.itk_images import LPS_TO_RAS, reading
from tfreg.volumes.volume import Volume


def read_dicom(path: str | Path, labels: bool = False) -> Volume:
    """Reads a DICOM series or one multi-frame file.

    The frames' own positions sort and place them, so that a tilted gantry becomes a sheared affine, and each has its
    own slope and intercept. Pixels that hold the padding value become NaN, in labels 0.

    Args:
        path: A folder that holds one series, FOLDER#uid for one of several, one file of a series, or a multi-frame
            file.
        labels: Keep float64 instead of converting to float32.

    Returns:
        A `Volume`.

    Raises:
        UserError: If there is no series or more than one, or it is not one even stack of slices of one acquisition.
    """
    with reading(path, "DICOM"), warnings.catch_warnings():
        # pydicom warns of every value that breaks the standard; what matters is checked here.
        warnings.simplefilter("ignore")
        series, notes = chosen_series(path)
        frames = [frame for header in series.headers for frame in frames_of(header)]
        frames, affine, more = stacked(path, frames)
        lattice = checked_lattice(path, (*frames[0].shape, len(frames)), LPS_TO_RAS @ affine)
        array, padding = _values(path, frames, labels)
        return Volume(array, lattice.affine, notes=(*notes, *more, *padding))


def _values(path, frames, labels):
    """`(i, j, k)`, the values of sorted frames, and a tuple of notes."""
    columns, rows = frames[0].shape
    array = np.empty((len(frames), rows, columns), np.float64 if labels else np.float32)
    padding, count = set(), 0
    # A multi-frame file is read once.
    places = sorted(range(len(frames)), key=lambda k: (str(frames[k].file), frames[k].number or 0))
    for file, group in itertools.groupby(places, key=lambda k: frames[k].file):
        stored, outside = stored_values(file)
        for k in group:
            number = frames[k].number or 0
            values = stored[number].astype(np.float64) * frames[k].slope + frames[k].intercept
            if outside is not None and outside[number].any():
                padding |= set(np.unique(values[outside[number]])[:2].tolist())
                count += np.count_nonzero(outside[number])
                values[outside[number]] = 0 if labels else np.nan
            array[k] = values
    array = np.ascontiguousarray(array.T)
    if not count:
        return array, ()
    value = f"{min(padding):g}{' and others' if len(padding) > 1 else ''}"
    what = "background" if labels else "not measured"
    return array, (f"{count} voxels of DICOM padding ({value}) were taken as {what}.",)
