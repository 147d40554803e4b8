"""The numbered version folders under a model's base path, and which of them are complete."""

import os
from pathlib import Path
from typing import NamedTuple


class VersionFolder(NamedTuple):
    """One version folder as a poll sees it.

    Attributes:
        version: Its number.
        path: The folder.
        files: {relative path: (bytes, time of change)}.
        complete: Whether it holds saved_model.pb, and no file has changed since the poll before.
    """

    version: int
    path: Path
    files: dict[str, tuple[int, int]]
    complete: bool


class VersionFolders:
    """Polls a base path; a folder is complete once two polls in a row saw the same files.

    Args:
        base_path: Folder with numbered folders, such as export/models/tfreg.
    """

    def __init__(self, base_path: str | Path) -> None:
        self.base_path = Path(base_path)
        self._before = {}

    def poll(self) -> dict[int, VersionFolder]:
        """{version: VersionFolder} of what is there now.

        Raises:
            OSError: If the base path cannot be listed.
        """
        folders = {}
        for path in sorted(self.base_path.iterdir()):
            version = version_of(path)
            if version is not None and path.is_dir():
                files = _files(path)
                complete = "saved_model.pb" in files and self._before.get(version) == files
                folders[version] = VersionFolder(version, path, files, complete)
        self._before = {version: folder.files for version, folder in folders.items()}
        return folders


def version_of(path: Path) -> int | None:
    """The number that a path's name is; None if it is none, or beyond the API's 64 bits."""
    version = int(path.name) if path.name.isascii() and path.name.isdecimal() else None
    return None if version is None or version >= 2**63 else version


def _files(folder):
    """{relative path: (bytes, time of change)} of every file below; files that vanish meanwhile are left out."""
    files = {}
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)
            try:
                status = os.stat(path)
            except OSError:
                continue
            files[os.path.relpath(path, folder)] = (status.st_size, status.st_mtime_ns)
    return files
