"""Pictures beside results: drawn alike for everybody, and never worth the result."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def own_drawing_settings() -> Iterator[None]:
    """Within this context matplotlib has its default settings, whatever matplotlibrc and MPLBACKEND say."""
    named = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)  # it complains of machines where it cannot keep a cache
    try:
        import matplotlib
        import matplotlib.font_manager
    finally:
        log.setLevel(level)
        if named is not None:
            os.environ["MPLBACKEND"] = named
    with matplotlib.rc_context(
        {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    ):
        yield


@contextlib.contextmanager
def optional_picture(path: Path, warn: Callable[[str], object]) -> Iterator[None]:
    """Within this context a picture is drawn and written; where that fails it is left out, with a warning.

    Args:
        path: The `Path` of the picture.
        warn: Called with one sentence.
    """
    try:
        with own_drawing_settings():
            yield
    # Whatever matplotlib, its fonts or its caches raise: the results are there without it.
    except Exception as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        warn(f"{path.name} could not be drawn ({reason}); the other results are complete.")
