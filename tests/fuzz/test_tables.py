"""Tables with one change each: read as Python's csv module reads them, or refused in one line."""

import csv
import io
import warnings

import numpy as np
import pytest

from tfreg.errors import InputWarning, UserError
from tfreg.io.points import read_points
from tfreg.io.tables.manifest import GIVEN_ALONE, PAIR_COLUMNS, Subject, read_pairs, read_subjects
from tfreg.spelling import plain_spelling

CASES = 160
QUICK = range(0, CASES, 8)  # in the ordinary suite
FILES = ("a.nii", "b.nii", "c, d.nii", "a_labels.nii", "b_labels.nii", "points.csv")
TABLES = {
    "subjects": (
        "id,subject,image,labels,phase,group,split,age\n"
        '001_in,001,a.nii,a_labels.nii,in,"healthy, mild",train,61\n'
        '001_ex,001,b.nii,b_labels.nii,ex,"healthy, mild",train,61\n'
        'NO_in,NO,"c, d.nii",,in,Ä,validation,7\n'
        'x_ex,x,a_labels.nii,,ex,"a ""b""",test,\n'
    ),
    "pairs": (
        "id,fixed,moving,fixed_labels,moving_labels,fixed_subject,site\n"
        'one,a.nii,"c, d.nii",a_labels.nii,b_labels.nii,001,Oslo\n'
        'two,b.nii,a.nii,,,"ON, off",\n'
        "three,a_labels.nii,b.nii,,,,7\n"
    ),
    "points": 'name,x,y,z\ncarina,1,-2.5,3e1\n"left, upper",4,5,6\n,-7.25,8,.5\n',
}
WORDS = (
    *("", " ", "NO", "on", "train", "Train", "val", "test ", "001", "1", "1e3", "nan", "inf", "1,5", "a;b", "#", '"'),
    *("~/a.nii", "a.nii", "../a.nii", "in", "IN", "é", "e\u0301", "\u200b", "\ufeff", "\t", "x\ty", "a_to_b", "NA"),
    *("0x10", "1_000", "\uff11"),
)
READ = {"subjects": read_subjects, "pairs": read_pairs, "points": read_points}


def edited_cells(text, rng):
    """One cell, row or column of the table is another one."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    row, column = int(rng.integers(len(rows))), int(rng.integers(len(rows[0])))
    change = rng.choice(["word", "name", "copy", "drop", "more", "less", "twice", "swap", "column", "case", "empty"])
    if change == "word":
        rows[row][column] = str(rng.choice(WORDS))
    elif change == "name":
        name = rows[0][column]
        names = [name.upper(), f" {name} ", f"{name}s", name[:-1], f"{name}_2", name.replace("_", " "), f"my {name}"]
        rows[0][column] = str(rng.choice(names))
    elif change == "copy":
        rows[row][column] = rows[int(rng.integers(len(rows)))][column]
    elif change == "drop":
        del rows[row]
    elif change == "more":
        rows[row].insert(column, str(rng.choice(WORDS)))
    elif change == "less":
        del rows[row][column]
    elif change == "twice":
        rows.insert(row, rows[int(rng.integers(1, len(rows)))])
    elif change == "swap":
        rows[row][column], rows[row][0] = rows[row][0], rows[row][column]
    elif change == "column":
        other = int(rng.integers(len(rows[0])))
        for cells in rows:
            cells.append(cells[other])
    elif change == "case":
        rows[row] = [cell.swapcase() for cell in rows[row]]
    else:
        rows.insert(row, [""] * int(rng.integers(len(rows[0]) + 3)))
    file = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if rng.random() < 0.2 else csv.QUOTE_MINIMAL
    csv.writer(file, lineterminator="\n", quoting=quoting).writerows(rows)
    return file.getvalue().encode()


def edited_text(text, rng):
    """One character or the form of the whole text is another one."""
    place = int(rng.integers(len(text)))
    changes = ("insert", "delete", "replace", "cut", "newline", "separator", "encoding", "mark", "end", "quote")
    change = rng.choice(changes)
    if change in ("insert", "replace"):
        character = str(rng.choice([*",;\"\n\r\t #'|\0", "\ufeff", "\u00a0", "“", "0"]))
        return (text[:place] + character + text[place + (change == "replace") :]).encode()
    if change == "delete":
        return (text[:place] + text[place + 1 :]).encode()
    if change == "cut":
        return text[:place].encode()
    if change == "newline":
        return text.replace("\n", str(rng.choice(["\r\n", "\r", "\n\n", "\r\r\n"]))).encode()
    if change == "separator":
        return text.replace(",", str(rng.choice([";", "\t", "|", ", ", " ,", ",,"]))).encode()
    if change == "encoding":
        return text.encode(str(rng.choice(["latin-1", "utf-16", "utf-16-le", "utf-8-sig", "utf-32", "cp1252"])))
    if change == "mark":
        return b"\xef\xbb\xbf" * int(rng.integers(1, 3)) + text.encode()
    if change == "end":
        return text.encode() + str(rng.choice(["\n\n", ",,,\n", "\x1a", "# end\n", "x\n", '"', "\0"])).encode()
    return text.replace('"', str(rng.choice(["'", '""', "“", ""]))).encode()


def table_of(number):
    """(kind, bytes) of a numbered case."""
    rng = np.random.default_rng(number)
    kind = list(TABLES)[number % len(TABLES)]
    change = edited_cells if rng.random() < 0.6 else edited_text
    return kind, change(TABLES[kind], rng)


def by_csv_module(content):
    """What Python's csv module reads: a list of dictionaries, the spaces around cells left out."""
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    rows = [[cell.strip() for cell in row] for row in reader]
    names, *rows = [row for row in rows if any(row)]
    assert all(not any(row[len(names) :]) for row in rows), "a cell without a column was read"
    while not names[-1]:
        names.pop()
    named = [name for name in names if name]
    assert len(set(named)) == len(named), "a column that stands there twice was read"
    found = [dict(zip(names, row, strict=False)) for row in rows]
    assert not any(row.pop("", "") for row in found), "a cell of a column without a name was read"
    return found


def expected(kind, content, folder):
    """What tfreg must say, by the csv module."""
    rows = by_csv_module(content)
    if kind == "points":
        return [[float(row[name]) for name in "xyz"] for row in rows]
    fields = Subject.__dataclass_fields__ if kind == "subjects" else PAIR_COLUMNS
    known = {plain_spelling(name) for name in fields}
    for name in rows[0]:
        assert name in fields or plain_spelling(name) not in known, f"{name} was ignored"
    never = {} if kind == "subjects" else dict.fromkeys(GIVEN_ALONE)
    words = ("id", "subject", "phase", "group", "split", "fixed_subject", "moving_subject")
    return [
        {name: (row[name] if name in words else folder / row[name]) if row.get(name) else None for name in fields}
        | never
        for row in rows
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for name in FILES:
        (folder / name).touch()
    return folder


def outcome(number, folder):
    """What tfreg reads from a case, or the `UserError`; and the case."""
    kind, content = table_of(number)
    path = folder / f"{number}.csv"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # told, and read all the same
        try:
            return READ[kind](path), kind, content
        except UserError as error:
            return error, kind, content


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in range(CASES)]
)
def test_read_as_the_csv_module_reads_it_or_refused(number, folder):
    found, kind, content = outcome(number, folder)
    if isinstance(found, UserError):
        assert str(found).startswith(f"{folder / str(number)}.csv: ")
        assert len(str(found).splitlines()) == 1
    elif kind == "points":
        np.testing.assert_array_equal(found, expected(kind, content, folder))
    else:
        assert [vars(entry) for entry in found] == expected(kind, content, folder)


def test_both_outcomes_are_there(folder):
    """A fuzz that only refuses, or only reads, proves nothing."""
    refused = sum(isinstance(outcome(number, folder)[0], UserError) for number in range(CASES))
    assert CASES / 5 < refused < CASES * 4 / 5
