"""CSV files with a header line."""

import csv
import io

from tfreg.errors import UserError


def read_table(path, required):
    """Reads the rows of a CSV file.

    Columns may come in any order, and more may be there. Spaces around a cell and blank lines are ignored.

    Args:
        path: The file.
        required: Names of the columns that must be there.

    Returns:
        List of (line number, dictionary from column name to text), "" where a cell is absent.

    Raises:
        UserError: If there is no such file, it is not text, a column is missing, or it has no rows.
    """
    try:
        # utf-8-sig: spreadsheets put a byte order mark first.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is not a CSV text file; export it as comma-separated UTF-8") from error
    lines = [(number, row) for number, row in lines if any(row)]
    columns = lines[0][1] if lines else []
    missing = [name for name in required if name not in columns]
    if missing:
        raise UserError(
            f"{path}: column {', '.join(missing)} is missing; the first line must name the columns "
            f"{','.join(required)}, separated by commas"
        )
    if len(lines) < 2:
        raise UserError(f"{path}: has no rows below its header; add at least one")
    return [
        (number, {name: row[i] if i < len(row) else "" for i, name in enumerate(columns)}) for number, row in lines[1:]
    ]


def table_text(columns, rows):
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
