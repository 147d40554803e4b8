"""Files that appear whole or not at all."""

import contextlib
from pathlib import Path


@contextlib.contextmanager
def whole_file(path):
    """Gives another name to write to, and renames the file when the block ends without an error.

    Args:
        path: The file; an existing one is replaced.

    Yields:
        A `Path` beside it that ends alike, since writers choose a format by how a name ends. What an error leaves
        there is removed.

    Raises:
        OSError: If the file cannot be renamed.
    """
    path = Path(path)
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
