"""Duplicates in a table: images that stand there twice, labels that belong to another image."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

from tfreg.errors import InputWarning, UserError
from tfreg.io.digests import voxels_digest
from tfreg.io.tables.manifest import PairFiles, Subject
from tfreg.spelling import some_of


@dataclass(frozen=True)
class Row:
    """An image of a table.

    Args:
        name: What messages call it.
        image: Its file.
        labels: The file of its segmentation, or None.
        split: Such as "train", or None.
        points: The file of its landmarks, or None.
    """

    name: str
    image: Path
    labels: Path | None = None
    split: str | None = None
    points: Path | None = None


def check_subjects(data: str | Path, subjects: Iterable[Subject]) -> None:
    """Looks for images of a subjects manifest that stand there twice, and labels that are not an image's own.

    Args:
        data: The manifest.
        subjects: List of `tfreg.io.tables.manifest.Subject`.

    Raises:
        UserError: If an image lies in two splits, or labels are an image of the table. What is only suspicious is told
            as an `InputWarning`.
    """
    _check(data, [Row(s.id, s.image, s.labels, s.split, s.points) for s in subjects])


def check_pairs(data: str | Path, pairs: Sequence[PairFiles]) -> None:
    """The same for pairs, and for both sides of each.

    Args:
        data: The manifest.
        pairs: List of `tfreg.io.tables.manifest.PairFiles`.

    Raises:
        UserError: If labels are an image of the table. What is only suspicious is told as an `InputWarning`.
    """
    rows = {}
    for pair in pairs:
        for image, labels in ((pair.fixed, pair.fixed_labels), (pair.moving, pair.moving_labels)):
            rows[image, labels] = Row(image.name, image, labels)
    _check(data, list(rows.values()))
    made: dict[tuple[str, str], str] = {}
    again = []
    for pair in pairs:
        sides = _identity(pair.fixed), _identity(pair.moving)
        if made.setdefault(sides, pair.id) != pair.id:
            again.append(f"{made[sides]} = {pair.id}")
    _tell(data, "pairs are the same images under two ids", again)
    with_itself = [pair.id for pair in pairs if _identity(pair.fixed) == _identity(pair.moving)]
    _tell(data, "pairs register an image to itself", with_itself)
    points = [pair.id for pair in pairs if pair.fixed_points and pair.moving_points and pair.id not in with_itself]
    by_id = {pair.id: pair for pair in pairs}
    same = [name for name in points if _identity(by_id[name].fixed_points) == _identity(by_id[name].moving_points)]
    _tell(data, "pairs have the same points on both sides", same)


def _check(data, rows):
    images = {row.image.resolve(): row for row in rows}
    for row in rows:
        if row.labels is not None and row.labels.resolve() in images:
            other = images[row.labels.resolve()].name
            raise UserError(f"{data}: the labels of {row.name} are the image {other}; name its segmentation")
    twice = []
    for same in _alike(rows, attrgetter("image")):
        for row, other in pairwise(sorted(same, key=lambda row: row.split or "")):
            if row.split and other.split and row.split != other.split:
                raise UserError(
                    f"{data}: {row.name} (`{row.split}`) and {other.name} (`{other.split}`) are the same image, of "
                    f"{row.image.name} and {other.image.name}; take one of them out"
                )
        if len({row.name for row in same}) > 1 or len({row.image.resolve() for row in same}) > 1:
            twice.append(" = ".join(dict.fromkeys(row.name for row in same)))
    _tell(data, "the same image stands there under several names", twice)
    for kind in ("labels", "points"):
        shared = [
            " = ".join(dict.fromkeys(row.name for row in same))
            for same in _alike(rows, attrgetter(kind))
            if len({_identity(row.image) for row in same}) > 1
        ]
        _tell(data, f"different images have the same {kind}", shared)


def _alike(rows, file):
    """Lists of two or more rows that have a file of the same content."""
    groups = {}
    for row in rows:
        if file(row) is not None:
            groups.setdefault(_identity(file(row)), []).append(row)
    return [same for same in groups.values() if len(same) > 1]


def _identity(path):
    """What tells a file's content from all others: its digest, or its place where it cannot be read."""
    return voxels_digest(path) or str(path.resolve())


def _tell(data, what, names):
    if names:
        warnings.warn(f"{data}: {what}: {some_of(names)}.", InputWarning, stacklevel=4)
