"""Landmarks: CSV files, and the markups of 3D Slicer, in world RAS+ mm."""

import csv
import functools
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.io.folders.whole_file import whole_file
from tfreg.io.landmarks import Landmarks
from tfreg.io.slicer_points import fcsv_text, markups_text, read_fcsv, read_markups
from tfreg.io.tables.csv_tables import read_table
from tfreg.volumes.lattice import Lattice

# How the columns of coordinates may be named, and the signs that make them RAS.
FRAMES = {"xyz": (1, 1, 1), "ras": (1, 1, 1), "lps": (-1, -1, 1)}
NAMES = ("name", "label", "id")

# A sentence lists this many points or values at most.
LISTED = 10

# A point this many voxels outside an image lies on its border: coordinates are rounded.
ROUNDING = 1e-3

# Another reading of coordinates is suggested where this share of the points would lie in the image.
FITTING = 0.9


def landmark_extension(path: str | Path) -> str:
    """The format of a file of landmarks, .csv, .fcsv or .mrk.json (which may be called .json); else ""."""
    extension = Path(path).suffix.lower()
    return ".mrk.json" if extension == ".json" else extension if extension in (".fcsv", ".csv") else ""


def read_points(path: str | Path) -> np.ndarray:
    """Reads the places of landmarks.

    Args:
        path: CSV file with the columns x, y, z in world RAS+ mm, or .fcsv or .mrk.json of 3D Slicer.

    Returns:
        `(n, 3)` float64, world RAS+ mm.

    Raises:
        UserError: If a column is missing, a cell is not a finite number, a point is not placed, or there are no points.

    Example:
        >>> points = tfreg.read_points("chests/points/s003_exhale.csv")
        >>> points.shape
        (30, 3)
    """
    landmarks = read_landmarks(path)
    missing = np.isnan(landmarks.points).any(axis=1)
    if missing.any():
        raise UserError(f"{path}: {_listed(missing, landmarks.names)} is not placed; place it, or delete it")
    return landmarks.points


def read_landmarks(path: str | Path) -> Landmarks:
    """Reads landmarks with all that their file says of them.

    Args:
        path: CSV file with the columns x, y, z in world RAS+ mm (or R, A, S, or L, P, S), .fcsv or .mrk.json.

    Returns:
        `Landmarks`; a point that 3D Slicer has not placed is not a number.

    Raises:
        UserError: If a column is missing, a cell is not a finite number, or there are no points.
    """
    kind = landmark_extension(path)
    return {".fcsv": read_fcsv, ".mrk.json": read_markups}.get(kind, _read_csv)(path)


def write_landmarks(path: str | Path, landmarks: Landmarks, points: np.ndarray) -> None:
    """Writes landmarks at new places, with all that was said of them where the format is theirs.

    Args:
        path: .csv, .fcsv or .mrk.json. In another format than the one they were read from, only names are kept.
        landmarks: `Landmarks` as they were read.
        points: `(n, 3)`, their new places, world RAS+ mm.

    Raises:
        UserError: If the file cannot be written.
    """
    text = {".fcsv": fcsv_text, ".mrk.json": markups_text, ".csv": _csv_text}[landmark_extension(path)]
    _write(path, text(landmarks, points))


def write_points(path: str | Path, points: np.ndarray) -> None:
    """Writes points, to a millionth of a millimetre.

    Args:
        path: CSV file.
        points: `(n, 3)`, world RAS+ mm.

    Raises:
        ValueError: If the points are not `(n, 3)`.
        UserError: If the file cannot be written.

    Example:
        >>> points = tfreg.read_points("chests/points/s003_exhale.csv")
        >>> tfreg.write_points("shifted.csv", points + [0, 0, 5])
        >>> (tfreg.read_points("shifted.csv") - points).mean(axis=0).round(3).tolist()
        [0.0, 0.0, 5.0]
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"`points` must be (n, 3). Received: shape={points.shape}")
    _write(path, _csv_text(Landmarks(points, ("",) * len(points)), points))


def doubts(points: np.ndarray, lattice: Lattice, names: Sequence[str] = ()) -> list[str]:
    """What a person should look at before points are believed.

    Args:
        points: `(n, 3)`, world RAS+ mm; those that are not numbers are left out.
        lattice: The `Lattice` of the image that they belong to.
        names: Their names, or nothing.

    Returns:
        List of sentences: on points outside the image (with how they may have been meant), on points in one place, and
        on names that occur twice.
    """
    sentences = []
    placed = np.isfinite(points).all(axis=1)

    def are_inside(voxels):
        margin = 0.5 + ROUNDING
        return placed & ((voxels >= -margin) & (voxels <= np.array(lattice.shape) - 1 + margin)).all(axis=1)

    voxels = lattice.to_voxel(points)
    outside = placed & ~are_inside(voxels)
    if outside.any():
        nearest = lattice.to_world(np.clip(voxels, -0.5, np.array(lattice.shape) - 0.5))
        away_mm = np.linalg.norm(nearest - points, axis=1)[outside].max()
        enough = max(FITTING * np.count_nonzero(placed), np.count_nonzero(placed & ~outside) + 1)
        hint = ""
        if np.count_nonzero(are_inside(lattice.to_voxel(points * FRAMES["lps"]))) >= enough:
            hint = "; with x and y negated they lie in it, so they may be LPS, where RAS is expected"
        elif np.count_nonzero(are_inside(points)) >= enough:
            hint = "; they may be voxel indices, where millimetres are expected"
        sentences.append(
            f"{np.count_nonzero(outside)} of {len(points)} points lie outside the image, by up to {away_mm:.3g} mm: "
            f"{_listed(outside, names)}{hint}."
        )
    _, first, where = np.unique(points[placed], axis=0, return_index=True, return_inverse=True)
    again = np.zeros(len(points), bool)
    again[np.flatnonzero(placed)] = first[where.ravel()] != np.arange(np.count_nonzero(placed))
    if again.any():
        sentences.append(f"{np.count_nonzero(again)} points lie where another one does: {_listed(again, names)}.")
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        sentences.append(f"{len(twice)} names occur more than once: {', '.join(twice[:LISTED])}.")
    return sentences


def _listed(chosen, names):
    """The points where `chosen` is true, `(n,)` bool, in words: by their names, else their numbers from 1 on."""
    texts = [names[i] if i < len(names) and names[i] else str(i + 1) for i in np.flatnonzero(chosen)]
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return f"point{'s' * (len(texts) > 1)} {', '.join(texts[:LISTED])}{more}"


def _read_csv(path):
    """`Landmarks` of a CSV file."""
    rows = read_table(path, ())
    columns = _coordinate_columns(tuple(rows[0][1]))
    if columns is None:
        columns = ("x", "y", "z")
        read_table(path, columns)  # which says what is missing
    frame = FRAMES["".join(_axis(name) for name in columns)]
    points = []
    for line, row in rows:
        for name in columns:
            if not _is_finite_number(row[name]):
                raise UserError(f"{path}: line {line}: {name} is {row[name]!r}; give a number of millimetres")
        points.append([float(row[name]) for name in columns])
    naming = next((name for wanted in NAMES for name in rows[0][1] if name.lower() == wanted), None)
    names = tuple("" if naming is None else row[naming] for _, row in rows)
    content = ([row for _, row in rows], columns, frame)
    return Landmarks(np.array(points, np.float64) * frame, names, ".csv", content)


def _csv_text(landmarks, points):
    """The text of a CSV file of landmarks at `points`."""
    if landmarks.kind == ".csv":
        rows, columns, frame = landmarks.content
    else:
        named = any(landmarks.names)
        rows, columns, frame = [{"name": name} if named else {} for name in landmarks.names], ("x", "y", "z"), (1, 1, 1)
    header = list(dict.fromkeys([*rows[0], *columns])) if rows else list(columns)
    file = io.StringIO()
    writer = csv.DictWriter(file, header, lineterminator="\n")
    writer.writeheader()
    for row, point in zip(rows, points * np.array(frame), strict=True):
        places = {name: "" if math.isnan(value) else f"{value:.6f}" for name, value in zip(columns, point, strict=True)}
        writer.writerow(row | places)
    return file.getvalue()


def _coordinate_columns(columns):
    """The three columns that hold coordinates, or None: named as in `FRAMES`, in any case, with or without "mm"."""
    for frame in FRAMES:
        for same in (lambda name: name, _axis):
            axes = tuple(next((name for name in columns if same(name) == axis), None) for axis in frame)
            if None not in axes:
                return axes
    return None


@functools.cache
def _axis(column):
    """The axis that a column's name stands for, such as "x" for "X (mm)"."""
    match = re.fullmatch(r"([a-z])[ _]*[(\[]?(mm)?[)\]]?", column.lower())
    return match.group(1) if match else ""


def _write(path, text):
    """Writes a text file, which appears whole or not at all."""
    try:
        with whole_file(Path(path)) as partial:
            Path(partial).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def _is_finite_number(text):
    """True if the text is one finite number, as a spreadsheet understands it."""
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False
