"""Tables that are written are those that are read, and what is not certain is refused."""

import csv
import io

import pytest

from tfreg.errors import InputWarning, UserError
from tfreg.io.tables.csv_tables import read_table, table_text


def test_what_is_written_is_read(tmp_path):
    (tmp_path / "a.csv").write_text(table_text(["id", "note, long"], [["a", 'with "quotes", and\nlines'], ["b", None]]))
    rows = [row for _, row in read_table(tmp_path / "a.csv", ("id", "note, long"))]
    assert rows == [{"id": "a", "note, long": 'with "quotes", and\nlines'}, {"id": "b", "note, long": ""}]
    assert table_text(["x"], [[0.5], [3]]) == "x\n0.5\n3\n"


def refused(path, content, optional=("split", "labels")):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read_table(path, ("id", "image"), optional)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,image,Split\na,b,train\n", "column 'Split' is unknown (is `split` meant?)"),
        ("id,image,split \u200b\na,b,train\n", "(is `split` meant?)"),
        ("id,image,spilt\na,b,train\n", "(is `split` meant?)"),
        ("id,image,split,Split\na,b,test,train\n", "(is `split` meant?)"),
        ("id,image,label\na,b,c\n", "(is `labels` meant?)"),
        ("ID,image\na,b\n", "column id is missing (is `ID` meant?)"),
        ("id,image,labels,labels\na,b,c,d\n", "column 'labels' stands there 2 times"),
        ("id,image,age,age\na,b,3,4\n", "column 'age' stands there 2 times"),
        ("id,image,split\na,b,healthy, mild,train\n", "line 2 has 5 cells, and the header names 3"),
        ("id,image,split\n\na,b\n", "line 3 has 2 cells, and the header names 3"),
        ("id,,image\na,x,b\n", "line 2 has a cell in a column without a name"),
        ("id;image\na;b\n", "separated by semicolons"),
        ("id\timage\na\tb\n", "separated by tabs"),
        ("id|image\na|b\n", "separated by bars"),
        ("id,image\n#a,b\n", "line 2: begins with #"),
        ("# my table\nid,image\na,b\n", "line 1: begins with #"),
        ('id,image\n"a,b\nc,d\n', "line 3: unexpected end of data"),
        ('id,image\n"a"x,b\n', "mend its quotes"),
        ('id,image\na, "b"\n', "line 2: a space stands before a quote"),
        ("id,image\na,b\0c\n", "zero bytes"),
        ("id,image\na,b\n".encode("utf-16"), "UTF-16"),
        ("id,image\na,b\n".encode("utf-16-le"), "zero bytes"),
        ("id,image\nMüller,b\n".encode("latin-1"), "byte 0xfc is not UTF-8"),
    ],
)
def test_what_is_not_certain_is_refused(tmp_path, content, words):
    assert words in refused(tmp_path / "a.csv", content)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_newlines_marks_and_empty_ends(tmp_path, newline, mark):
    text = newline.join([f"{mark}id, image ,split,,", "", 'a,"b, c",,,', ",,,,", "d , e,test,,", "", ""])
    (tmp_path / "a.csv").write_bytes(text.encode())
    expected = [
        {name.strip(): cell.strip() for name, cell in row.items() if name}
        for row in csv.DictReader(io.StringIO(text.removeprefix(mark), newline=""))
        if any(row.values())
    ]
    rows = read_table(tmp_path / "a.csv", ("id", "image"), ("split",))
    assert [row for _, row in rows] == expected
    assert [line for line, _ in rows] == [3, 5]


def test_a_column_that_begins_like_a_known_one_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("id,image,labels_of_lobes,age\na,b,c,3\n")
    with pytest.warns(InputWarning, match="column 'labels_of_lobes' is not used; the one that is known is `labels`"):
        read_table(tmp_path / "a.csv", ("id", "image"), ("labels",))


def test_decimal_commas_are_no_separators(tmp_path):
    """As spreadsheets write in countries with a decimal comma, whatever columns are wanted."""
    (tmp_path / "a.csv").write_text("x;y;z\n1,5;2,5;3,5\n")
    for required in ((), ("x", "y", "z")):
        with pytest.raises(UserError, match="the cells are separated by semicolons, export it as comma"):
            read_table(tmp_path / "a.csv", required)
