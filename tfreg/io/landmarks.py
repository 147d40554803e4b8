"""`Landmarks`: their places, and what else their file says of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Landmarks as a file gives them.

    Args:
        points: `(n, 3)` float64, world RAS+ mm; not a number where a point is not placed.
        names: As many texts, "" for a point without a name.
        kind: The extension of the format that `content` is of, such as ".fcsv", or "".
        content: All that the file says, as the reader of the format keeps it for its writer.
    """

    points: np.ndarray
    names: tuple[str, ...]
    kind: str = ""
    content: Any = None
