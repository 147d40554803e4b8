"""CSV files with a header line."""

import codecs
import csv
import io
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from tfreg.errors import InputWarning, UserError
from tfreg.spelling import begun_alike, is_meant, misspelt, plain_spelling

# What spreadsheets put between cells in countries with a decimal comma, and other tools everywhere.
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
EXPORT = "export it as comma-separated UTF-8"


def read_table(
    path: str | Path, required: Sequence[str], optional: Collection[str] = ()
) -> list[tuple[int, dict[str, str]]]:
    """Reads the rows of a CSV file, every cell for certain or not at all.

    Columns may come in any order, and more may be there. Spaces around a cell, blank lines and empty columns at
    the end are ignored.

    Args:
        path: The file.
        required: Names of the columns that must be there.
        optional: Names of those that may be there: a column that is spelled much like one of them is refused,
            one that begins like it is told as an `InputWarning`.

    Returns:
        List of (line number, dictionary from column name to text).

    Raises:
        UserError: If there is no such file, it is not comma-separated UTF-8, a column is missing or named twice,
            a row has more or fewer cells than the header, or there are no rows.
    """
    lines = [(number, cells) for number, cells in _lines(path) if any(cells)]
    columns = _without_empty_end(lines[0][1]) if lines else []
    _check_columns(path, columns, required, optional)
    if len(lines) < 2:
        raise UserError(f"{path}: has no rows below its header; add at least one")
    return [(number, _row(path, number, cells, columns)) for number, cells in lines[1:]]


def table_columns(path: str | Path) -> list[str]:
    """The names of a CSV file's columns.

    Args:
        path: The file.

    Returns:
        List of texts.

    Raises:
        UserError: If it cannot be read as comma-separated UTF-8.
    """
    return next((_without_empty_end(cells) for _, cells in _lines(path) if any(cells)), [])


def table_text(columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> str:
    """The text of a CSV file with a header line.

    Args:
        columns: Their names.
        rows: Sequences of as many cells; None is an empty cell.

    Returns:
        A string.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return file.getvalue()


def _lines(path):
    """(line number, cells) of all lines, the cells without spaces around them."""
    lines = []
    try:
        with open(path, "rb") as file:
            if file.read(4).startswith(WIDE):
                raise UserError(f"{path}: is not a CSV text file but UTF-16 or UTF-32; {EXPORT}")
        # utf-8-sig: spreadsheets put a byte order mark first.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                _check_cells(f"{path}: line {reader.line_num}", cells)
                lines.append((reader.line_num, [cell.strip() for cell in cells]))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a CSV file") from error
    except UnicodeDecodeError as error:
        wrong = f"byte {error.object[error.start]:#04x} is not UTF-8"
        raise UserError(f"{path}: is not a CSV text file ({wrong}); {EXPORT}") from error
    except csv.Error as error:
        raise UserError(
            f"{path}: is not a CSV text file (line {reader.line_num}: {error}); mend its quotes, or {EXPORT}"
        ) from error
    return lines


def _check_cells(where, cells):
    """Refuses cells that other programs read otherwise."""
    if any("\0" in cell for cell in cells):
        raise UserError(f"{where}: is not a CSV text file (it holds zero bytes); {EXPORT}")
    if any(cell != cell.lstrip() and cell.lstrip().startswith('"') for cell in cells):
        raise UserError(f"{where}: a space stands before a quote, which is then no quote; take the space out")
    if cells and cells[0].lstrip().startswith("#"):
        raise UserError(f"{where}: begins with #; a table has no comments, delete the line")


def _check_columns(path, columns, required, optional):
    """Refuses a header that does not say for certain what each column is."""
    missing = [name for name in required if name not in columns]
    if missing or len(columns) == 1:
        for separator, name in OTHER_SEPARATORS.items():
            if any(separator in column for column in columns):
                what = f"column {', '.join(missing)} is missing" if missing else "has one column"
                raise UserError(f"{path}: {what}; the cells are separated by {name}, {EXPORT}")
    if missing:
        others = [name for name in columns if name not in (*required, *optional)]
        meant = next((question for name in missing if (question := is_meant(name, others))), "")
        raise UserError(
            f"{path}: column {', '.join(missing)} is missing{meant}; the first line must name the columns "
            f"{','.join(required)}, separated by commas"
        )
    for name in columns:
        if name and columns.count(name) > 1:
            raise UserError(f"{path}: column {name!r} stands there {columns.count(name)} times; keep one of them")
    expected = list(dict.fromkeys((*required, *optional)))
    absent = [name for name in expected if name not in columns]
    for column in (column for column in columns if column and column not in expected):
        meant = next((name for name in expected if plain_spelling(name) == plain_spelling(column)), None)
        meant = meant or misspelt(column, absent)
        if meant is not None:
            raise UserError(f"{path}: column {column!r} is unknown (is `{meant}` meant?); rename it, or take it out")
        near = begun_alike(column, absent)
        if near is not None:
            warnings.warn(
                f"{path}: column {column!r} is not used; the one that is known is `{near}`.", InputWarning, stacklevel=4
            )


def _row(path, number, cells, columns):
    """A row's cells by their columns."""
    if len(cells) < len(columns) or any(cells[len(columns) :]):
        cure = "put a cell that holds a comma in quotes" if len(cells) > len(columns) else "fill it up with commas"
        raise UserError(
            f"{path}: line {number} has {len(cells)} cells, and the header names {len(columns)} columns; {cure}"
        )
    row = list(zip(columns, cells, strict=False))
    if any(cell for name, cell in row if not name):
        raise UserError(f"{path}: line {number} has a cell in a column without a name; name it in the first line")
    return {name: cell for name, cell in row if name}


def _without_empty_end(cells):
    """A line without the empty cells that end it."""
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells
