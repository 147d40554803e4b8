"""Landmarks of 3D Slicer: .fcsv, and .mrk.json. Only here are their coordinates LPS."""

import copy
import csv
import io
import json
import math
from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.io.landmarks import Landmarks

# The signs that make coordinates RAS, by the name of the system; .fcsv files of Slicer before 4.11 number them.
SYSTEMS = {"RAS": (1, 1, 1), "0": (1, 1, 1), "LPS": (-1, -1, 1), "1": (-1, -1, 1)}
LPS = np.array(SYSTEMS["LPS"])

FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
FCSV_HEAD = (
    "# Markups fiducial file version = 4.11",
    "# CoordinateSystem = LPS",
    f"# columns = {FCSV_COLUMNS}",
)
SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)

# Markups that are their control points. A plane and a box have a direction and a size too.
POINT_LIKE = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve")


def read_fcsv(path: str | Path) -> Landmarks:
    """Reads a .fcsv file.

    Args:
        path: The file. Without a line on its coordinate system, coordinates are RAS, as in Slicer's first versions.

    Returns:
        `Landmarks`; a point without coordinates is not a number.

    Raises:
        UserError: If the file cannot be read, its coordinates are voxel indices, or it has no points.
    """
    head, rows = [], []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if line.startswith("#"):
            head.append(line)
        elif line.strip():
            rows.append((number, next(csv.reader([line]))))
    settings = dict(_setting(line) for line in head)
    system = settings.get("coordinatesystem", "RAS").upper()
    if system not in SYSTEMS:
        raise UserError(f"{path}: its coordinate system is {system}; save it in RAS or LPS")
    columns = [name.strip() for name in settings.get("columns", FCSV_COLUMNS).split(",")]
    missing = [name for name in "xyz" if name not in columns]
    if missing:
        raise UserError(f"{path}: column {', '.join(missing)} is missing; save it with 3D Slicer again")
    if not rows:
        raise UserError(f"{path}: holds no points; place at least one")
    places = [columns.index(name) for name in "xyz"]
    naming = columns.index("label") if "label" in columns else None
    points, names = [], []
    for number, cells in rows:
        texts = [cells[place].strip() if place < len(cells) else "" for place in places]
        points.append(_coordinates(texts, f"{path}: line {number}"))
        names.append(cells[naming] if naming is not None and naming < len(cells) else "")
    frame = SYSTEMS[system]
    content = (head, [cells for _, cells in rows], places, frame)
    return Landmarks(np.array(points) * frame, tuple(names), ".fcsv", content)


def fcsv_text(landmarks: Landmarks, points: np.ndarray) -> str:
    """The text of a .fcsv file.

    Args:
        landmarks: `Landmarks`; all that a .fcsv file said of them is kept.
        points: `(n, 3)`, where they are, world RAS+ mm.

    Returns:
        A string.
    """
    if landmarks.kind == ".fcsv":
        head, rows, places, frame = landmarks.content
    else:
        head, places, frame = FCSV_HEAD, (1, 2, 3), LPS
        rows = [
            [str(number), "", "", "", "0", "0", "0", "1", "1", "1", "0", name, "", ""]
            for number, name in enumerate(landmarks.names, 1)
        ]
    file = io.StringIO()
    file.writelines(f"{line}\n" for line in head)
    writer = csv.writer(file, lineterminator="\n")
    for cells, point in zip(rows, points * np.array(frame), strict=True):
        cells = list(cells)
        for place, value in zip(places, point, strict=True):
            if not math.isnan(value):
                cells[place] = f"{value:.6f}"
        writer.writerow(cells)
    return file.getvalue()


def read_markups(path: str | Path) -> Landmarks:
    """Reads a .mrk.json file.

    Args:
        path: The file. The control points of all its point lists, lines, angles and curves are read.

    Returns:
        `Landmarks`; a control point whose position is not defined is not a number.

    Raises:
        UserError: If the file cannot be read, holds planes or boxes or other units than mm, or no points.
    """
    try:
        document = json.loads(_text(path))
        markups = [(markup, _frame(path, markup)) for markup in document["markups"]]
        controls = [(control, frame) for markup, frame in markups for control in markup.get("controlPoints") or ()]
        points, names = [], []
        for number, (control, frame) in enumerate(controls, 1):
            position = control.get("position") if control.get("positionStatus", "defined") == "defined" else None
            texts = [str(value) for value in position] if position else [""] * 3
            points.append(_coordinates(texts, f"{path}: point {number}") * frame)
            names.append(str(control.get("label", "")))
    # Whatever a document that is built otherwise raises, the file is what is wrong.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is not a markups file of 3D Slicer; save it with 3D Slicer again") from error
    if not points:
        raise UserError(f"{path}: holds no points; place at least one")
    return Landmarks(np.array(points), tuple(names), ".mrk.json", document)


def markups_text(landmarks: Landmarks, points: np.ndarray) -> str:
    """The text of a .mrk.json file.

    Args:
        landmarks: `Landmarks`; all that a .mrk.json file said of them is kept, but for lengths and angles.
        points: `(n, 3)`, where they are, world RAS+ mm.

    Returns:
        A string.
    """
    if landmarks.kind == ".mrk.json":
        document = copy.deepcopy(landmarks.content)
    else:
        controls = [{"id": str(number), "label": name} for number, name in enumerate(landmarks.names, 1)]
        fiducials = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": controls}
        document = {"@schema": SCHEMA, "markups": [fiducials]}
    remaining = iter(points)
    for markup in document["markups"]:
        markup.pop("measurements", None)  # of the places before; Slicer measures again
        frame = SYSTEMS[markup.get("coordinateSystem", "LPS")]
        for control in markup.get("controlPoints") or ():
            point = next(remaining) * frame
            if not np.isnan(point).any():
                control |= {"position": [round(float(value), 6) for value in point], "positionStatus": "defined"}
            elif landmarks.kind != ".mrk.json":
                control["positionStatus"] = "undefined"
    return json.dumps(document, indent=4) + "\n"


def _text(path):
    """The text of a file."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a file of landmarks") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a text file; save it with 3D Slicer again") from error


def _setting(line):
    """Name in small letters and value of a comment such as "# CoordinateSystem = LPS"."""
    name, _, value = line.lstrip("# ").partition("=")
    return name.strip().lower(), value.strip()


def _frame(path, markup):
    """The signs that make a markup's coordinates RAS."""
    kind, system = markup.get("type", "Fiducial"), markup.get("coordinateSystem", "LPS")
    if kind not in POINT_LIKE:
        raise UserError(f"{path}: holds a markup of type {kind}; give point lists, lines or curves")
    if system not in ("RAS", "LPS"):
        raise UserError(f"{path}: its coordinate system is {system}; save it in RAS or LPS")
    units = markup.get("coordinateUnits", "mm")
    if any(unit != "mm" for unit in ([units] if isinstance(units, str) else units)):
        raise UserError(f"{path}: its coordinates are in {units}; save it in mm")
    return np.array(SYSTEMS[system])


def _coordinates(texts, where):
    """Three numbers from their texts, `(3,)` float64; not numbers if all are absent."""
    if all(text.lower() in ("", "nan") for text in texts):
        return np.full(3, np.nan)
    try:
        values = np.array([float(text) for text in texts])
        if values.shape == (3,) and np.isfinite(values).all():
            return values
    except ValueError:
        pass
    raise UserError(f"{where}: the coordinates are {', '.join(texts)}; give three numbers of millimetres")
