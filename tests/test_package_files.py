"""What lies in the package beside its code is installed with it."""

import configparser
import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = [
    path
    for path in sorted((ROOT / "tfreg").rglob("*"))
    if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
]


@pytest.fixture(scope="module")
def patterns():
    """Dictionary of package to patterns, as in setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    entries = setup["options.package_data"]
    return {package: [pattern.strip() for pattern in entries[package].split(",")] for package in entries}


def test_the_weights_are_there():
    assert {path.suffix for path in DATA if path.parent.name == "weights"} == {".md", ".npz", ".yaml"}


@pytest.mark.parametrize("path", DATA, ids=lambda path: str(path.relative_to(ROOT)))
def test_setup_names_it(path, patterns):
    # A package is a folder with an __init__.py: a file belongs to the nearest one above it.
    folder = next(parent for parent in path.parents if (parent / "__init__.py").is_file())
    package, name = ".".join(folder.relative_to(ROOT).parts), path.relative_to(folder).as_posix()
    assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns["*"] + patterns.get(package, []))
