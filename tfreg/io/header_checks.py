"""Checks of what a file's header claims, before any of its voxels are read."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.volumes.lattice import Lattice

MAX_VOXELS = 2**31

# No deflate stream expands by more than this, so a compressed file bounds what it can hold.
MAX_DEFLATE_RATIO = 1032


def checked_lattice(path: str | Path, shape: Iterable[int], affine: np.ndarray) -> Lattice:
    """The lattice of a header.

    Args:
        path: The file, for the messages.
        shape: Number of voxels along every axis; trailing axes of one are dropped.
        affine: `(4, 4)`, voxel to world RAS+ mm.

    Returns:
        A `Lattice`.

    Raises:
        UserError: If the volume is not three-dimensional, too large, or nowhere in space.
    """
    shape = [int(n) for n in shape]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    text = "x".join(map(str, shape))
    if not shape or min(shape) < 1:
        raise UserError(f"{path}: the header is corrupt, it claims {text or 'no'} voxels; export the file again")
    if len(shape) < 3 or (len(shape) == 3 and 1 in shape):
        raise UserError(f"{path}: is 2D ({text} voxels); give a 3D volume of at least two slices along every axis")
    if len(shape) == 4:
        raise UserError(f"{path}: is 4D ({text}, {shape[3]} time points); give one of them as a 3D file")
    if len(shape) > 4:
        raise UserError(f"{path}: holds several components a voxel ({text}); give one of them as a 3D file")
    if math.prod(shape) > MAX_VOXELS:
        raise UserError(
            f"{path}: the header claims {text} voxels, more than the {MAX_VOXELS} that tfreg reads; "
            "export the file again if the header is corrupt, else crop or down-sample the volume"
        )
    try:
        return Lattice((shape[0], shape[1], shape[2]), affine)
    except ValueError:
        raise UserError(
            f"{path}: the header's affine is singular or not finite, so no voxel has a place in the world; "
            "correct the header"
        ) from None


def shear_note(lattice: Lattice) -> str:
    """What a person should know of a `Lattice` whose axes are not at right angles, a sentence."""
    return (
        f"The axes are {lattice.shear_degrees:.2g} degrees off right angles, as of a tilted gantry: ITK (ANTs, "
        "SimpleITK, 3D Slicer) reads no NIfTI file on this grid; use transform.h5 instead of the displacement, and "
        "`tfreg warp` to .mha or .nrrd for images."
    )


def check_bytes(path: str | Path, needed: int, available: int) -> None:
    """Refuses a header that claims more voxels than the file can hold.

    Args:
        path: The file, for the message.
        needed: Bytes that the header claims.
        available: The most bytes that the file can hold once uncompressed.

    Raises:
        UserError: If `needed` exceeds `available`.
    """
    if needed > available:
        raise UserError(
            f"{path}: is truncated or its header is corrupt: it claims {needed} bytes of voxels and the file can "
            f"hold at most {max(0, available)}; copy or export the file again"
        )
