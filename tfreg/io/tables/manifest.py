"""Manifests: CSV files that list subjects or pairs, with paths relative to the file."""

import csv
import itertools
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tfreg.errors import InputWarning, UserError
from tfreg.io.dicom.series import split_choice
from tfreg.io.tables.csv_tables import read_table, table_columns
from tfreg.io.tables.manifest_checks import (
    SPLITS,
    check_cells,
    check_id,
    check_people,
    check_spellings,
    check_unused_splits,
    check_words,
    missing_file,
)
from tfreg.spelling import is_meant, plain_spelling, same_name, some_of


@dataclass(frozen=True)
class Subject:
    """One volume of one subject.

    Args:
        id: Name of the volume, unique in the manifest.
        subject: Name of the person; one subject may have volumes of several phases.
        image: The image's file.
        labels: The segmentation's file, or None.
        points: The landmarks' file, or None.
        phase: Such as "ED" or "inspiration", or None.
        group: Such as a diagnosis, or None.
        split: Such as "train" or "validation", or None.
        points_second: The file of the same landmarks by a second observer, or None.
    """

    id: str
    subject: str
    image: Path
    labels: Path | None = None
    points: Path | None = None
    phase: str | None = None
    group: str | None = None
    split: str | None = None
    points_second: Path | None = None


@dataclass(frozen=True)
class PairFiles:
    """Two volumes to register.

    Args:
        id: Name of the pair, unique in the manifest.
        fixed: The fixed image's file.
        moving: The moving image's file.
        fixed_labels: The fixed segmentation's file, or None.
        moving_labels: The moving segmentation's file, or None.
        fixed_points: The fixed landmarks' file, or None.
        moving_points: The moving landmarks' file, or None.
        moving_points_second: The moving landmarks by a second observer, or None.
        fixed_subject, moving_subject: The people's names, or None.
        fixed_mask, moving_mask: Segmentations' files of where the images count, or None.
        init: The file of a linear ITK transform to begin from, or None.
    """

    id: str
    fixed: Path
    moving: Path
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    fixed_points: Path | None = None
    moving_points: Path | None = None
    moving_points_second: Path | None = None
    fixed_subject: str | None = None
    moving_subject: str | None = None
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    init: Path | None = None

    @property
    def subjects(self) -> tuple[str, ...]:
        """The people in it; the pair's own id where they are not known."""
        names = {name for name in (self.fixed_subject, self.moving_subject) if name is not None}
        return tuple(sorted(names)) or (self.id,)


# Of a pair's files those that a table names; masks and initial transforms are given one by one.
GIVEN_ALONE = ("fixed_mask", "moving_mask", "init")
PAIR_COLUMNS = tuple(field.name for field in fields(PairFiles) if field.name not in GIVEN_ALONE)


def read_subjects(path: str | Path, labels: str = "labels", must_exist: bool = True) -> list[Subject]:
    """Reads `id,subject,image[,labels,points,phase,group,split,points_second]`.

    Args:
        path: CSV file; other columns are ignored, unless their names are nearly these.
        labels: Name of the column with the segmentations.
        must_exist: False leaves it to whoever reads a file to miss it.

    Returns:
        List of `Subject`, in the file's order.

    Raises:
        UserError: If a column, a cell or a file is missing, an id is repeated, a split is unknown or a person in two
            of them, a name is spelled in two ways, or there are no rows.
    """
    files = ("image", "labels", "points", "points_second")
    columns = {field.name: field.name for field in fields(Subject)} | {"labels": labels}
    lines = _read(path, Subject, ("id", "subject", "image"), files, columns, must_exist)
    for name in ("subject", "phase", "group"):
        check_spellings(path, name, [(line, getattr(subject, name)) for line, subject in lines])
    check_words(path, lines)
    check_people(path, lines)
    return [subject for _, subject in lines]


def of_split(subjects: Sequence[Subject], split: str | None, source: str | Path) -> list[Subject]:
    """The subjects of a split.

    Args:
        subjects: Those of a manifest.
        split: Its name; None for all subjects.
        source: What error messages call the manifest.

    Raises:
        UserError: If there is none.
    """
    chosen = [subject for subject in subjects if split is None or subject.split == split]
    if split is not None and not chosen:
        raise UserError(f"{source}: no subject has split {split!r}{is_meant(split, SPLITS)}; choose another --split")
    return chosen


def read_pairs(path: str | Path, labels: str = "labels", must_exist: bool = True) -> list[PairFiles]:
    """Reads `id,fixed,moving[,fixed_labels,moving_labels,fixed_points,moving_points,...]`.

    Args:
        path: CSV file with columns as in `PairFiles`; other columns are ignored, unless their names are nearly these.
        labels: What the columns with the segmentations end in, after `fixed_` and `moving_`.
        must_exist: False leaves it to whoever reads a file to miss it.

    Returns:
        List of `PairFiles`, in the file's order.

    Raises:
        UserError: If a column, a cell or a file is missing, an id is repeated, or there are no rows.
    """
    files = [name for name in PAIR_COLUMNS if name not in ("id", "fixed_subject", "moving_subject")]
    columns = {name: name for name in PAIR_COLUMNS}
    columns |= {f"{side}_labels": f"{side}_{labels}" for side in ("fixed", "moving")}
    lines = _read(path, PairFiles, ("id", "fixed", "moving"), files, columns, must_exist)
    people = [(line, name) for line, pair in lines for name in (pair.fixed_subject, pair.moving_subject)]
    check_spellings(path, "subject", people)
    used = {*columns, *columns.values()}
    unused = [name for name in table_columns(path) if name.startswith(("fixed_", "moving_")) and name not in used]
    if unused:
        warnings.warn(f"{path}: columns are not used: {some_of(unused)}.", InputWarning, stacklevel=2)
    return [pair for _, pair in lines]


def lists_pairs(path: str | Path) -> bool:
    """Whether a manifest lists pairs rather than subjects, by its columns, however they are spelled.

    Args:
        path: CSV file.

    Raises:
        UserError: If it cannot be read.
    """
    return bool({plain_spelling(name) for name in table_columns(path)} & {"fixed", "moving"})


def write_subjects(path: str | Path, subjects: Sequence[Subject]) -> None:
    """Writes a subjects manifest, without the optional columns that no subject uses.

    Args:
        path: CSV file.
        subjects: List of `Subject`; their files are written relative to the CSV file's folder.

    Raises:
        UserError: If the file cannot be written.
    """
    folder = Path(path).resolve().parent
    names = [field.name for field in fields(Subject)]
    names = [n for n in names if n in ("id", "subject", "image") or any(getattr(s, n) is not None for s in subjects)]
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([_cell(getattr(s, name), folder) for name in names] for s in subjects)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def pairs_from_subjects(
    subjects: Sequence[Subject],
    moving_phase: str | None = None,
    fixed_phase: str | None = None,
    phase: str | None = None,
    same_subject: bool = False,
    source: str | Path = "subjects",
) -> list[PairFiles]:
    """Makes pairs from a subjects manifest.

    With `moving_phase` and `fixed_phase`: one pair within each subject. A subject that lacks one of the two
    phases is left out with an `InputWarning`. Without them: every ordered pair of volumes of different subjects,
    of one phase if `phase` is given; with `same_subject`, also of different volumes of one subject.

    Args:
        subjects: List of `Subject`.
        moving_phase: Phase of the moving volume, or None.
        fixed_phase: Phase of the fixed volume, or None.
        phase: Phase of both volumes, or None.
        same_subject: Pairs volumes of the same subject too.
        source: What error messages call the subjects, such as their manifest.

    Returns:
        List of `PairFiles`, with ids such as "MOVING_to_FIXED".

    Raises:
        ValueError: If only one of `moving_phase` and `fixed_phase` is given, or `phase` beside them.
        UserError: If no volume has a phase, both phases are the same, a subject has one twice, no pair can be made,
            or two pairs would have one id.
    """
    if (moving_phase is None) != (fixed_phase is None) or (moving_phase is not None and phase is not None):
        raise ValueError(
            "Give `moving_phase` and `fixed_phase`, or `phase`, or none of them. "
            f"Received: moving_phase={moving_phase!r}, fixed_phase={fixed_phase!r}, phase={phase!r}"
        )
    phases = sorted({s.phase for s in subjects if s.phase is not None})
    for name in (moving_phase, fixed_phase, phase):
        if name is not None and name not in phases:
            raise UserError(
                f"{source}: no volume has phase {name!r}{is_meant(name, phases)}; "
                f"the phases there are {', '.join(phases) or 'none'}"
            )
    if moving_phase is not None and moving_phase == fixed_phase:
        raise UserError(f"{source}: the moving and the fixed phase are both {fixed_phase!r}; name two phases")
    if moving_phase is not None:
        pairs = _within_subjects(subjects, moving_phase, fixed_phase, source)
    else:
        chosen = [s for s in subjects if phase is None or s.phase == phase]
        pairs = [
            _pair(fixed, moving)
            for fixed, moving in itertools.permutations(chosen, 2)
            if same_subject or fixed.subject != moving.subject
        ]
    if not pairs:
        raise UserError(f"{source}: no pair can be made; list at least two subjects, or one with both phases")
    made = {}
    for pair in pairs:
        # "a_to_b" moved to "c", and "a" moved to "b_to_c".
        if same_name(pair.id) in made:
            raise UserError(f"{source}: two pairs are called {pair.id!r}; leave `_to_` out of ids")
        made[same_name(pair.id)] = pair
    return pairs


def _within_subjects(subjects, moving_phase, fixed_phase, source):
    """One pair for each subject that has both phases."""
    volumes = {}
    for subject in subjects:
        if subject.phase not in (moving_phase, fixed_phase):
            volumes.setdefault(subject.subject, {})
        elif subject.phase in volumes.setdefault(subject.subject, {}):
            raise UserError(
                f"{source}: {subject.subject} has phase {subject.phase!r} twice ({subject.id}); keep one of them"
            )
        else:
            volumes[subject.subject][subject.phase] = subject
    complete = {name: v for name, v in volumes.items() if moving_phase in v and fixed_phase in v}
    left_out = [name for name in volumes if name not in complete]
    if left_out:
        warnings.warn(
            f"Subjects without both phases {moving_phase} and {fixed_phase} were left out: {', '.join(left_out)}.",
            InputWarning,
            stacklevel=3,
        )
    return [_pair(fixed=v[fixed_phase], moving=v[moving_phase]) for v in complete.values()]


def _pair(fixed, moving):
    """The pair of two subjects' volumes."""
    return PairFiles(
        id=f"{moving.id}_to_{fixed.id}",
        fixed=fixed.image,
        moving=moving.image,
        fixed_labels=fixed.labels,
        moving_labels=moving.labels,
        fixed_points=fixed.points,
        moving_points=moving.points,
        moving_points_second=moving.points_second,
        fixed_subject=fixed.subject,
        moving_subject=moving.subject,
    )


def _read(path, kind, required, files, columns, must_exist):
    """(line, dataclass of a kind) of a manifest's rows; `columns` is a dictionary of field to column."""
    path = Path(path)
    needed = [*required, *(name for field, name in columns.items() if name != field)]
    rows, lines, missing = [], {}, []
    table = read_table(path, needed, columns.values())
    if "split" in columns:
        check_unused_splits(path, columns.values(), [row for _, row in table])
    for line, row in table:
        where = f"{path}: line {line} (id {row['id']!r})"
        for name in required:
            if not row[name]:
                raise UserError(f"{where}: {name} is empty; fill it in")
        values = {field: row[name] for field, name in columns.items() if row.get(name)}
        check_cells(where, values, files)
        check_id(where, row["id"], lines)
        lines[same_name(row["id"])] = line
        for name in files:
            if name in values:
                text, values[name] = values[name], path.parent / values[name]
                if must_exist and not split_choice(values[name])[0].exists():
                    missing.append(missing_file(where, columns[name], text, values[name]))
        rows.append((line, kind(**values)))
    if missing:
        more = [text.removeprefix(f"{path}: ") for text in missing[1:]]
        raise UserError("; ".join([missing[0], *more]))
    return rows


def _cell(value, folder):
    """The text of a cell; files relative to a folder."""
    if isinstance(value, Path):
        return Path(os.path.relpath(value.resolve(), folder)).as_posix()
    return "" if value is None else value
