"""A file is there whole, or as it was."""

import pytest

from tfreg.io.folders.whole_file import whole_file


@pytest.mark.parametrize("name", ["report.html", "image.nii.gz", "none"])
def test_the_file_appears_at_the_end_of_the_block(tmp_path, name):
    file = tmp_path / name
    with whole_file(str(file)) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert partial.suffixes == file.suffixes
        assert not file.exists()
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    file = tmp_path / "report.json"
    file.write_text("old")

    def write():
        with whole_file(file) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_before_the_first_byte_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="too early"), whole_file(tmp_path / "a.png"):
        raise ValueError("too early")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_cannot_be_taken_is_told(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), whole_file(tmp_path / "folder") as partial:
        partial.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
