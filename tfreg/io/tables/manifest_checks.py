"""Checks of a manifest's cells: ids that name files, words that tfreg reads, names in one spelling."""

import re
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfreg.errors import InputWarning, UserError
from tfreg.spelling import is_meant, plain_spelling, same_name, some_of

SPLITS = ("train", "validation", "test")
SPLIT_WORDS = {*SPLITS, "training", "val", "valid", "validate", "dev", "testing", "holdout"}
# How programs write that there is no value.
NO_VALUE = ("na", "n/a", "nan", "none", "null", "nil", "#n/a", "<na>")
LONGEST_ID = 100  # bytes: two ids make the name of a pair's files, and file systems take 255


def check_cells(where: str, values: Mapping[str, str], files: Collection[str]) -> None:
    """Refuses characters that nobody sees in a row's cells.

    Args:
        where: The row, in words that begin an error message.
        values: Dictionary of field to text.
        files: The fields that are files, which may hold any character but a control character.

    Raises:
        UserError: If there is one.
    """
    for name, text in values.items():
        unseen = ("Cc",) if name in files else ("Cc", "Cf", "Zl", "Zp")
        for character in text:
            if unicodedata.category(character) in unseen:
                code = f"U+{ord(character):04X}"
                raise UserError(f"{where}: {name} holds an invisible character ({code}); type the cell anew")


def check_id(where: str, name: str, lines: Mapping[str, int]) -> None:
    """Refuses an id that cannot name files, or names those of another one on some system.

    Args:
        where: The row, in words that begin an error message.
        name: The id.
        lines: Dictionary of `same_name` of the ids so far to their lines.

    Raises:
        UserError: If it is not a name of its own.
    """
    if name in (".", "..") or any(character in name for character in "/\\"):
        raise UserError(f"{where}: an id names files; leave out slashes and dots alone")
    if len(name.encode()) > LONGEST_ID:
        raise UserError(f"{where}: an id names files; make it shorter than {LONGEST_ID} bytes")
    if same_name(name) in lines:
        raise UserError(
            f"{where}: the id is on line {lines[same_name(name)]} already, perhaps in another case; make ids unique"
        )


def check_spellings(path: str | Path, column: str, cells: Iterable[tuple[int, str | None]]) -> None:
    """Refuses one name in two spellings, which would count as two; tells of numbers with and without zeros.

    Args:
        path: The manifest.
        column: What the names are of.
        cells: List of (line, name or None).

    Raises:
        UserError: If names differ by case, spaces or the encoding of accents only.
    """
    first_lines: dict[str, tuple[int, str]] = {}
    numbers: dict[str, dict[str, None]] = {}
    for line, name in cells:
        if name is None:
            continue
        first_line, first = first_lines.setdefault(same_name(name), (line, name))
        if first != name:
            raise UserError(
                f"{path}: line {line}: {column} {name!r} is spelled {first!r} on line {first_line}; "
                "write one name in one way"
            )
        numbers.setdefault(re.sub(r"0*(\d+)", r"\1", same_name(name)), {})[name] = None
    for names in numbers.values():
        if len(names) > 1:
            warnings.warn(
                f"{path}: {column} {some_of(map(repr, names))} differ by zeros only; if they are one {column}, as "
                "after a spreadsheet took a name for a number, write it in one way.",
                InputWarning,
                stacklevel=4,
            )


def check_words(path: str | Path, lines: Iterable[tuple[int, Any]]) -> None:
    """Refuses splits that are unknown, and words for nothing in phases and groups.

    Args:
        path: The manifest.
        lines: List of (line, `tfreg.io.tables.manifest.Subject`).

    Raises:
        UserError: If there is one.
    """
    for line, subject in lines:
        where = f"{path}: line {line} (id {subject.id!r})"
        if subject.split is not None and subject.split not in SPLITS:
            raise UserError(
                f"{where}: split {subject.split!r} is unknown{is_meant(subject.split, SPLITS)}; "
                f"give {', '.join(SPLITS)}, or leave the cell empty"
            )
        for name in ("phase", "group"):
            word = getattr(subject, name)
            if word is not None and word.casefold() in NO_VALUE:
                raise UserError(f"{where}: {name} is {word!r}; leave the cell empty, or give it another name")


def check_people(path: str | Path, lines: Iterable[tuple[int, Any]]) -> None:
    """Refuses a person in two splits.

    Args:
        path: The manifest.
        lines: List of (line, `tfreg.io.tables.manifest.Subject`).

    Raises:
        UserError: If there is one.
    """
    splits: dict[str, tuple[int, str]] = {}
    for line, subject in lines:
        if subject.split is None:
            continue
        first, split = splits.setdefault(subject.subject, (line, subject.split))
        if split != subject.split:
            raise UserError(
                f"{path}: subject {subject.subject} is in `{split}` and in `{subject.split}` "
                f"(lines {first} and {line}); choose one of them"
            )


def check_unused_splits(path: str | Path, columns: Collection[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Refuses a column that says `train` and `test` under another name than `split`.

    Args:
        path: The manifest.
        columns: The names that are used.
        rows: List of dictionaries of column to text.

    Raises:
        UserError: If there is one, and no column `split`.
    """
    if any("split" in row for row in rows):
        return
    for column in (name for name in rows[0] if name not in columns):
        words = {row[column] for row in rows} - {""}
        plain = {plain_spelling(word) for word in words}
        if plain <= SPLIT_WORDS and plain & {"train", "training"}:
            raise UserError(
                f"{path}: column {column!r} holds {some_of(sorted(words))}, and is not known; call it `split`, "
                "or take it out"
            )


def missing_file(where: str, column: str, text: str, path: Path) -> str:
    """What to say of a cell whose file is not there.

    Args:
        where: The row, in words that begin an error message.
        column: The cell's column.
        text: What the cell says.
        path: The `Path` that it stands for.

    Returns:
        A sentence without a full stop.
    """
    cure = "paths are relative to the CSV file"
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", text):
        cure = "only files on this machine are read; download it"
    elif text.startswith("~") or "$" in text or re.search(r"%\w+%", text):
        cure = "~ and variables are not replaced; write the path out"
    elif "\\" in text:
        cure = "write / in place of \\"
    return f"{where}: {column} {path} does not exist; {cure}"
