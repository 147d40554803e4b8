"""DICOM stacks: whether frames make up one volume, and in which order and where."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.io.dicom.frames import ONE_ACQUISITION, OTHER_TIMES, Frame

# Pixels may lie this share of the smallest distance between pixels away from where the affine puts them.
MAX_DEVIATION = 0.1

# Slices may lie this share of their distance off the line that fits them best; twice that where the rounding of
# positions to a tenth of a millimetre explains it.
MAX_UNEVENNESS = 0.05
ROUNDING_MM = 0.0501

# Slices that lie less than this share of the usual distance apart are at one place.
ONE_PLACE = 0.02

# What is said, though it may be as it should be: distances that differ by this share, tilts of so many degrees.
NOTED_DIFFERENCE = 0.05
NOTED_TILT = 0.1
NOTED_UNEVENNESS = 0.02


def stacked(path: str | Path, frames: Sequence[Frame]) -> tuple[list[Frame], np.ndarray, tuple[str, ...]]:
    """Sorts frames into one even stack of slices.

    Args:
        path: What was read, for the messages.
        frames: A list of `Frame`s in any order.

    Returns:
        The frames in the order of their own positions, along the right-handed normal; `(4, 4)`, voxel (column, row,
        slice) to world LPS+ mm; a tuple of notes.

    Raises:
        UserError: If the frames are of several acquisitions, sizes, orientations or spacings, or do not lie on one
            line in equal steps.
    """
    _check_one_acquisition(path, frames)
    _check_alike(path, frames)
    first = frames[0]
    frames = sorted(frames, key=lambda frame: frame.position @ first.normal)
    affine = np.eye(4)
    affine[:3, :2] = (first.axes * first.spacing[:, None]).T
    if len(frames) == 1:
        affine[:3, 2], affine[:3, 3] = first.normal, first.position
        return frames, affine, ()
    positions = np.array([frame.position for frame in frames])
    _check_places(path, frames, positions @ first.normal)
    affine[:3, 2], affine[:3, 3], unevenness = _line(path, frames, positions)
    return frames, affine, (*_notes_on_steps(frames, affine[:3, 2], unevenness), *_notes_on_values(frames))


def _check_one_acquisition(path, frames):
    """Refuses frames that differ in what one acquisition has in common."""
    for keyword in ONE_ACQUISITION:
        groups = _groups_of(frames, keyword)
        if len(groups) > 1 and not _nearly_equal(groups):
            raise UserError(
                f"{path}: mixes several acquisitions, its images differ in {keyword}: {_counted(groups, keyword)}; "
                "give the files of one of them in a folder of their own"
            )
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        without = [frame for frame in frames if keyword not in frame.attributes]
        if 0 < len(without) < len(frames):
            raise UserError(
                f"{path}: {len(without)} of {len(frames)} images, such as {without[0].name}, have no {keyword} and the "
                "others have one; export the series again"
            )


def _groups_of(frames, keyword):
    """The frames that have an attribute, by the text of its value."""
    groups = {}
    for frame in frames:
        value = frame.attributes.get(keyword)
        if value is not None:
            groups.setdefault(_text(value), []).append(frame)
    return groups


def _text(value):
    """A value on one line; the words of several behind backslashes, as DICOM writes them."""
    words = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
    return " ".join("\\".join(map(str, words)).split())


def _nearly_equal(values):
    """True if the texts are numbers that differ by no more than a hundredth."""
    try:
        numbers = np.array(list(values), dtype=np.float64)
    except ValueError:
        return False
    return np.ptp(numbers) <= 0.01 * np.abs(numbers).max()


def _counted(groups, keyword):
    """The values, how many images have each, and an example."""
    listed = [
        # No report may name a person.
        f"{'one' if keyword == 'PatientID' else value[:60]} "
        f"({len(frames)} image{'s' * (len(frames) > 1)}, such as {frames[0].name})"
        for value, frames in list(groups.items())[:4]
    ]
    return ", ".join(listed) + (f" and {len(groups) - 4} more values" if len(groups) > 4 else "")


def _check_alike(path, frames):
    """Refuses frames of several sizes, orientations or pixel spacings."""
    first = frames[0]
    extent = np.array(first.shape) * first.spacing
    allowed_mm = MAX_DEVIATION * first.spacing.min()
    for frame in frames:
        if frame.shape != first.shape:
            differing = [f"{f.shape[0]}x{f.shape[1]} pixels in {f.name}" for f in (first, frame)]
        # How far both put the last pixel apart.
        elif (np.linalg.norm(frame.axes - first.axes, axis=1) @ extent) > allowed_mm:
            differing = [f"{_numbers(f.axes)} in {f.name}" for f in (first, frame)]
            differing[0] = f"several orientations, as localizers have: {differing[0]}"
        elif (np.abs(frame.spacing - first.spacing) @ first.shape) > allowed_mm:
            differing = [f"a PixelSpacing of {_numbers(f.spacing[::-1])} mm in {f.name}" for f in (first, frame)]
        else:
            continue
        raise UserError(
            f"{path}: its images do not make up one volume, they have {' and '.join(differing)}; "
            "give the files of one stack in a folder of their own"
        )


def _numbers(values):
    """Numbers in words."""
    return "\\".join(f"{value:.6g}" for value in np.ravel(values))


def _check_places(path, frames, heights):
    """Refuses several frames at one place, and says what tells them apart."""
    steps = np.diff(heights)
    # Positions that are the same but for their rounding are no steps.
    apart = steps[steps > 1e-3 * frames[0].spacing.min()]
    together = np.flatnonzero(steps <= (ONE_PLACE * np.median(apart) if len(apart) else np.inf))
    if not len(together):
        return
    one, other = frames[together[0]], frames[together[0] + 1]
    differing = [
        f"{keyword} {_text(one.attributes[keyword])[:40]} and {_text(other.attributes[keyword])[:40]}"
        for keyword in OTHER_TIMES
        if one.attributes.get(keyword) != other.attributes.get(keyword)
        and None not in (one.attributes.get(keyword), other.attributes.get(keyword))
    ]
    raise UserError(
        f"{path}: holds several images at {len(together)} positions, such as {one.name} and {other.name}"
        f"{f' ({differing[0]})' if differing else ''}: several time points, echoes or directions are mixed, or files "
        "are there twice; give one complete stack in a folder of its own"
    )


def _line(path, frames, positions):
    """The straight line of even steps that fits the slices' positions best.

    Returns:
        `(3,)`, LPS mm from slice to slice; `(3,)`, where it puts the first slice; by how many mm a slice lies off it.
    """
    numbers = np.arange(len(positions)) - (len(positions) - 1) / 2
    step = numbers @ positions / (numbers @ numbers)
    fitted = positions.mean(axis=0) + numbers[:, None] * step
    spacing, unevenness = np.linalg.norm(step), np.linalg.norm(positions - fitted, axis=1).max()
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    usual, widest = np.median(steps), int(steps.argmax())
    allowed = min(max(MAX_UNEVENNESS * spacing, ROUNDING_MM), 2 * MAX_UNEVENNESS * spacing)
    if not (unevenness < allowed and np.abs(steps - usual).max() < 4 * MAX_UNEVENNESS * usual):
        raise UserError(
            f"{path}: the slices are not evenly spaced (off by up to {unevenness:.2f} mm from steps of "
            f"{spacing:.2f} mm; {steps[widest]:.2f} mm lie between {frames[widest].name} and "
            f"{frames[widest + 1].name}, {usual:.2f} mm usually): slices are missing, or several stacks are mixed; "
            "give one complete stack"
        )
    return step, fitted[0], unevenness


def _notes_on_steps(frames, step, unevenness):
    """Notes on what may be wrong with the distances between slices."""
    spacing, normal = np.linalg.norm(step), frames[0].normal
    if unevenness > NOTED_UNEVENNESS * spacing:
        yield f"The slices lie up to {unevenness:.3g} mm off even steps of {spacing:.4g} mm."
    tilt = np.degrees(np.arctan2(np.linalg.norm(np.cross(step, normal)), step @ normal))
    if tilt > NOTED_TILT:
        yield f"The slices are stacked {tilt:.1f} degrees off their normal, as under a tilted gantry."
    said = _first_number(frames, "SpacingBetweenSlices")
    thickness = _first_number(frames, "SliceThickness")
    if said and abs(abs(said) - spacing) > NOTED_DIFFERENCE * spacing:
        yield (
            f"The slices lie {spacing:.4g} mm apart by their positions, which were used, and {abs(said):g} mm by "
            "SpacingBetweenSlices."
        )
    elif not said and thickness and spacing > 1.5 * thickness:
        yield f"The slices are {thickness:g} mm thick and lie {spacing:.4g} mm apart: some may be missing."
    numbers = sorted({int(frame.attributes["InstanceNumber"]) for frame in frames if _has_number(frame)})
    absent = numbers[-1] - numbers[0] + 1 - len(numbers) if numbers else 0
    if absent and len(numbers) == len(frames):
        yield f"{absent} of the instance numbers {numbers[0]} to {numbers[-1]} are absent: slices may be missing."
    for keyword in ("NumberOfSlices", "ImagesInAcquisition"):
        count = _first_number(frames, keyword)
        if count and count > len(frames):
            yield f"There are {len(frames)} slices, and {keyword} says {count:g}: some may be missing."


def _has_number(frame):
    """True for a frame that is one file with an instance number."""
    return frame.number is None and "InstanceNumber" in frame.attributes


def _first_number(frames, keyword):
    """The first frame's value of an attribute, or None where it is no finite number."""
    try:
        number = float(frames[0].attributes.get(keyword))
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _notes_on_values(frames):
    """Notes on what the values stand for."""
    if frames[0].attributes.get("PhotometricInterpretation") == "MONOCHROME1":
        yield "The images are MONOCHROME1, to be shown dark where values are large; the values were kept as they are."
    if any(frame.attributes.get("LossyImageCompression") == "01" for frame in frames):
        yield "The images were once compressed with loss."
    if frames[0].attributes.get("DoseUnits") == "RELATIVE":
        yield "The dose is relative, not in Gy."
    acquisitions = _groups_of(frames, "AcquisitionNumber")
    if len(acquisitions) > 1:
        numbers = ", ".join(list(acquisitions)[:8])
        yield f"The slices are of {len(acquisitions)} acquisitions, AcquisitionNumber {numbers}."
