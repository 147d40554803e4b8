"""Tables that are written are those that are read."""

from tfreg.volumes.tables import read_table, table_text


def test_what_is_written_is_read(tmp_path):
    (tmp_path / "a.csv").write_text(table_text(["id", "note, long"], [["a", 'with "quotes", and\nlines'], ["b", None]]))
    rows = [row for _, row in read_table(tmp_path / "a.csv", ("id", "note, long"))]
    assert rows == [{"id": "a", "note, long": 'with "quotes", and\nlines'}, {"id": "b", "note, long": ""}]
    assert table_text(["x"], [[0.5], [3]]) == "x\n0.5\n3\n"
