"""export/README.md names every file."""

from export_folder import EXPORT, README


def test_every_file_is_described():
    for path in EXPORT.iterdir():
        if path.is_file() and not path.name.startswith(".") and path.name != "README.md":
            assert f"`{path.name}`" in README
