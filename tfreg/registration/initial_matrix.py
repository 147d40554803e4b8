"""The initial alignment of a pair where a person gives it, as a file or as a matrix."""

from pathlib import Path
from typing import Any

import numpy as np

from tfreg.config import BEST
from tfreg.errors import UserError
from tfreg.io.input_files import path_kind
from tfreg.io.itk_transforms import read_linear
from tfreg.preprocessing.initial_alignment import KINDS
from tfreg.spelling import is_meant

RULES = (*KINDS, BEST)


def matrix_from_file(name: str | Path) -> np.ndarray:
    """Reads what `--init` names where it is none of `RULES`.

    Args:
        name: A linear ITK transform file.

    Returns:
        `(4, 4)`, fixed world to moving world, RAS+ mm.

    Raises:
        UserError: If there is no such file, or it holds another transform.
    """
    if not isinstance(name, str | Path):
        raise UserError(f"--init {name}: choose {', '.join(RULES)}, or give an ITK transform file")
    try:
        kind = path_kind(name)
    except UserError as error:
        meant = is_meant(str(name), RULES)
        raise UserError(f"--init {name}: choose {', '.join(RULES)}, or give an ITK transform file{meant}") from error
    if kind == "folder":
        raise UserError(f"--init {name}: is a folder; give an ITK transform file, such as the linear.tfm of a result")
    return read_linear(name)


def rule_or_file(init: str | Path | None) -> tuple[str | None, str | Path | None]:
    """What `--init` stands for: a rule and no file, or a file and no rule.

    Args:
        init: One of `RULES`, a file, or None.

    Returns:
        A rule or None, and a file or None.
    """
    return (init, None) if init is None or init in RULES else (None, init)


def checked_matrix(matrix: Any) -> np.ndarray | None:
    """Checks an initial alignment that is given in Python.

    Args:
        matrix: `(4, 4)`, fixed world to moving world, RAS+ mm, or None.

    Returns:
        `(4, 4)` float64, or None.

    Raises:
        UserError: If it is no affine that can be inverted.
    """
    if matrix is None:
        return None
    try:
        matrix = np.array(matrix, np.float64)
    except (TypeError, ValueError):
        matrix = np.array(np.nan)
    affine = matrix.shape == (4, 4) and np.isfinite(matrix).all() and np.array_equal(matrix[3], [0, 0, 0, 1])
    if not affine or abs(np.linalg.det(matrix)) < 1e-9:
        raise UserError("initial_transform: give an invertible 4x4 affine, fixed world to moving world, RAS+ mm")
    return matrix
