"""tfreg's own .npz files: arrays, and a header that says what they mean."""

import contextlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.errors import UserError


def write_archive(path: str | Path, version: int, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Writes arrays with their header.

    Args:
        path: File ending in .npz.
        version: Of the kind of file, a positive integer.
        header: A dictionary that JSON holds.
        arrays: Dictionary of name to array.
    """
    header = {"format": version, **header}
    write_arrays(path, {"header": np.array(json.dumps(header)), **arrays}, zipfile.ZIP_DEFLATED)


def write_arrays(path: str | Path, arrays: Mapping[str, Any], compression: int = zipfile.ZIP_STORED) -> None:
    """Writes arrays by their names to an .npz file that `read_arrays` reads.

    Args:
        path: File ending in .npz.
        arrays: Dictionary of name to array.
        compression: One of zipfile's.
    """
    # NumPy's own function compresses as well as it can, which takes several times as long for a few percent.
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an .npz file; of one that is none, whatever NumPy and zipfile make of it is raised."""
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
        return dict(file)


@contextlib.contextmanager
def read_archive(
    path: str | Path, versions: Sequence[int], damaged: str
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Reads what `write_archive` wrote, for a block that makes something of it.

    Args:
        path: The file.
        versions: Those that the reader knows, the newest last.
        damaged: What to say of a file of which nothing can be made, such as "is damaged".

    Yields:
        The header and the arrays, two dictionaries.

    Raises:
        UserError: If the file has another version or cannot be read, or the block makes nothing of it.
    """
    try:
        arrays = read_arrays(path)
        header = json.loads(str(arrays.pop("header")))
        if header["format"] not in versions:
            raise UserError(f"{path}: has format {header['format']}, this tfreg reads {versions[-1]}; update tfreg")
        yield header, arrays
    except UserError:
        raise
    # Whatever a garbage file makes NumPy, zipfile and the block raise, the file is what is wrong.
    except Exception as error:
        raise UserError(f"{path}: {damaged}; register again") from error
