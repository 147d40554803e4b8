"""DICOM series: which files of a folder make up a volume, and the choice between several."""

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfreg.errors import UserError

# What the names of slices end in, where they end in anything.
EXTENSIONS = (".dcm", ".dicom", ".ima")

PREAMBLE = 128

DICOMDIR = "1.2.840.10008.1.3.10"

# What a file begins with that has no preamble: a little-endian tag of group 0002 or 0008.
BARE_START = re.compile(rb"[\x02\x08]\x00[\x00\x01\x05\x08\x10\x16\x18]\x00")

# A refusal names this many series, or folders, at most.
MAX_NAMED = 20


@dataclass(frozen=True)
class Series:
    """The files of one DICOM series.

    Args:
        uid: Its Series Instance UID, "" where the files have none.
        headers: The files' `pydicom.Dataset`s without their pixels, each with its `filename`.
    """

    uid: str
    headers: list

    def __str__(self):
        first = self.headers[0]
        description = " ".join(str(first.get("SeriesDescription") or "").split())
        images = sum(number_of_frames(header) for header in self.headers)
        words = [f'"{description}"'] if description else []
        words += [str(first.get("Modality") or "no modality"), f"{images} image{'s' * (images != 1)}"]
        return f"{self.uid or 'without a uid'} ({', '.join(words)})"


def split_choice(path: str | Path) -> tuple[Path, str | None]:
    """Splits FOLDER#uid, which names one DICOM series of a folder.

    Args:
        path: The path of a volume.

    Returns:
        The path of the folder or file, and the uid, None where the path names none.
    """
    path = Path(path)
    folder, mark, uid = str(path).rpartition("#")
    # Unlike pathlib, os.path takes a name that is too long as one that is not there.
    if not mark or os.path.exists(path) or not os.path.isdir(folder or "."):
        return path, None
    return Path(folder), uid


def is_dicom(path: str | Path) -> bool:
    """True if a file begins as DICOM does, whatever its name."""
    try:
        return _begins_as_dicom(_head(path))
    except OSError:
        return False


def content_files(path: str | Path) -> list[Path]:
    """The files whose bytes decide what a path stands for.

    Args:
        path: A file, a folder, or FOLDER#uid. One file of a DICOM series stands for the whole series.

    Returns:
        A sorted list of `Path`s; of a folder all DICOM files, of whatever series.
    """
    place, _ = split_choice(path)
    if not place.is_dir():
        if not is_dicom(place):
            return [place]
        place = place.parent
    return sorted(file for file in place.iterdir() if file.is_file() and is_dicom(file))


def number_of_frames(header: Any) -> int:
    """How many frames a DICOM file holds, by its header."""
    return int(header.get("NumberOfFrames") or 1)


def chosen_series(path: str | Path) -> tuple[Series, tuple[str, ...]]:
    """Finds the one series that a path stands for.

    Args:
        path: A folder that holds one series, FOLDER#uid, one file of a series, or a multi-frame file.

    Returns:
        A `Series`, and a tuple of notes on the files that were left out.

    Raises:
        UserError: If there is no series or more than one, or one of its files is damaged.
    """
    place, uid = split_choice(path)
    if not place.is_dir():
        return _series_of(place)
    series_by_uid, others = _series_in(place)
    if uid is not None and uid not in series_by_uid:
        raise UserError(f"{path}: holds no DICOM series {uid}; {place} holds {_named(series_by_uid) or 'none'}")
    if uid is None and len(series_by_uid) > 1:
        raise UserError(
            f"{path}: holds {len(series_by_uid)} DICOM series: {_named(series_by_uid)}; give the one you mean as "
            f"{path}#{next(iter(series_by_uid))}"
        )
    if not series_by_uid and not others:
        raise UserError(f"{path}: holds no DICOM series; {_elsewhere(place)}")
    return _whole(path, next(iter(series_by_uid), "") if uid is None else uid, series_by_uid, others)


def _named(series_by_uid):
    """The series in words."""
    more = f" and {len(series_by_uid) - MAX_NAMED} more" if len(series_by_uid) > MAX_NAMED else ""
    return "; ".join(str(series) for series in list(series_by_uid.values())[:MAX_NAMED]) + more


def _elsewhere(folder):
    """Where a folder without a series has its DICOM files."""
    below = []
    for place, folders, files in os.walk(folder):
        folders.sort()
        if any(is_dicom(Path(place, file)) and file != "DICOMDIR" for file in files):
            below.append(place)
        if len(below) > MAX_NAMED:
            break
    if not below:
        return "give the folder of the slices, or a .nii.gz, .mha or .nrrd file"
    more = " and others" if len(below) > MAX_NAMED else ""
    return f"give a folder that does: {', '.join(below[:MAX_NAMED])}{more}"


def _head(file):
    """The first bytes of a file, by which DICOM is known."""
    with open(file, "rb") as stream:
        return stream.read(PREAMBLE + 4)


def _begins_as_dicom(head):
    """True if a file's first bytes are DICOM's."""
    return head[PREAMBLE:] == b"DICM" or BARE_START.match(head) is not None


def _header(file):
    """The `pydicom.Dataset` of a DICOM file without its pixels, and whether pixels follow.

    None for another file and for an index of DICOM files.
    """
    import pydicom

    try:
        head = _head(file)
    except OSError as error:
        raise UserError(
            f"{file}: may not be read ({error.strerror}); take it out of the folder if it is no slice"
        ) from None
    if not _begins_as_dicom(head):
        # Left out, a damaged slice would make the volume shorter without a word.
        if not file.name.startswith(".") and (file.suffix.lower() in EXTENSIONS or not any(head[:PREAMBLE])):
            raise UserError(f"{file}: is empty, damaged or not DICOM; copy it again, or take it out of the folder")
        return None
    try:
        with open(file, "rb") as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
            # pydicom stops before the pixels' tag, and at the end of a truncated file.
            follow = stream.read(2) in (b"\xe0\x7f", b"\x7f\xe0")
    # Whatever a garbage header makes pydicom raise, the file is what is wrong.
    except Exception:
        raise UserError(f"{file}: is a damaged DICOM file; copy it again, or take it out of the folder") from None
    header.filename = str(file)
    kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
    # What only begins like a file without a preamble is none.
    if kind == DICOMDIR or (kind is None and header.preamble is None):
        return None
    deflated = header.file_meta.get("TransferSyntaxUID") == pydicom.uid.DeflatedExplicitVRLittleEndian
    return header, "Rows" in header and (follow or deflated)


def _series_in(folder):
    """The image series of a folder by uid, and the headers of its other DICOM files by their series' uid."""
    groups, others = {}, {}
    for file in sorted(folder.iterdir()):
        read = None if file.is_dir() else _header(file)
        if read is not None:
            header, is_image = read
            (groups if is_image else others).setdefault(str(header.get("SeriesInstanceUID") or ""), []).append(header)
    return {uid: Series(uid, headers) for uid, headers in groups.items()}, others


def _series_of(file):
    """The series that a file belongs to, and notes; a multi-frame file is one by itself."""
    read = _header(file)
    if read is None or not read[1]:
        kind = "an index of DICOM files" if file.name.upper() == "DICOMDIR" else "no DICOM image, or a truncated one"
        raise UserError(f"{file}: is {kind}; give the folder of a series, or one of its files")
    header, _ = read
    uid = str(header.get("SeriesInstanceUID") or "")
    if number_of_frames(header) > 1 and int(header.get("InConcatenationTotalNumber") or 1) == 1:
        return Series(uid, [header]), ()
    return _whole(file, uid, *_series_in(file.parent))


def _whole(path, uid, series_by_uid, others):
    """The series of a uid, none of whose files is damaged, without copies; and notes on what was left out."""
    for header in itertools.chain(
        *(headers for other, headers in others.items() if other == uid or other not in series_by_uid)
    ):
        # A truncated file may not say where it belongs, or only half of it.
        own_uid, kind = header.get("SeriesInstanceUID"), header.get("SOPClassUID")
        if own_uid and own_uid != uid and kind and not kind.name.endswith("Image Storage"):
            continue
        raise UserError(
            f"{header.filename}: is a DICOM file without an image, truncated or damaged; copy it again, or take it out "
            "of the folder"
        )
    if uid not in series_by_uid:
        raise UserError(f"{path}: holds no DICOM image, only other DICOM objects; give the folder of the slices")
    series, copies = _without_copies(series_by_uid[uid])
    _check_concatenations(series)
    count = sum(map(len, others.values()))
    left_out = (f"{count} DICOM files of the folder hold no image and were left out.",) if count else ()
    return series, (*left_out, *copies)


def _without_copies(series):
    """The series with one file of each SOP Instance UID, and a note on the others."""
    by_instance, copies = {}, 0
    for header in series.headers:
        first = by_instance.setdefault(header.get("SOPInstanceUID") or header.filename, header)
        if first is header:
            continue
        if Path(first.filename).read_bytes() != Path(header.filename).read_bytes():
            raise UserError(
                f"{header.filename}: has the SOP Instance UID of {first.filename}, but other content; "
                "take one of them out of the folder"
            )
        copies += 1
    notes = (f"{copies} DICOM files are copies of others and were left out.",) if copies else ()
    return Series(series.uid, list(by_instance.values())), notes


def _check_concatenations(series):
    """Refuses a multi-frame image of which not all files are there."""
    parts = {}
    for header in series.headers:
        if header.get("ConcatenationUID"):
            parts.setdefault(header.ConcatenationUID, []).append(header)
    for headers in parts.values():
        total = int(headers[0].get("InConcatenationTotalNumber") or 1)
        if len(headers) < total:
            raise UserError(
                f"{headers[0].filename}: is one of {total} parts of an image, of which {len(headers)} are there; "
                "copy the others into the folder"
            )
