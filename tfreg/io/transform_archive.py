"""`transform.npz`: tfreg's own file, from which the transform is rebuilt exactly."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.errors import UserError
from tfreg.io.npz import read_archive, write_archive
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

# By format what a deformation is made of: the array, the class, and its options. Linear transforms have format 1.
FORMATS: dict[int, tuple[str, type[Any], tuple[str, ...]]] = {
    1: ("logits", Deformation, ("stride", "integration", "anchor", "damping")),
    2: ("control", DisplacementDeformation, ("stride", "damping")),
}


def save_transform(
    path: str | Path, transform: Transform, fixed: Lattice, moving: Lattice, frames: tuple[int, int] = (1, 1)
) -> None:
    """Writes a transform and the lattices of the two volumes that it joins.

    Args:
        path: File ending in .npz.
        transform: A `Transform`.
        fixed, moving: `Lattice`s of the volumes that were registered.
        frames: NIfTI codes of the two volumes' world frames.
    """
    deformation = transform.deformation
    header: dict[str, Any] = {"frames": list(frames)}
    arrays = {
        "network_shape": np.array(transform.lattice.shape),
        "network_affine": transform.lattice.affine,
        "linear": transform.linear,
        "init": transform.init,
    }
    for name, lattice in (("fixed", fixed), ("moving", moving)):
        arrays[f"{name}_shape"] = np.array(lattice.shape)
        arrays[f"{name}_affine"] = lattice.affine
    version = 1
    if deformation is not None:
        version = next(number for number, (_, kind, _) in FORMATS.items() if isinstance(deformation, kind))
        array, _, options = FORMATS[version]
        arrays[array] = getattr(deformation, array)
        header |= {name: getattr(deformation, name) for name in options}
    write_archive(path, version, header, arrays)


def load_transform(path: str | Path) -> tuple[Transform, Lattice, Lattice]:
    """Reads what `save_transform` wrote.

    Args:
        path: A transform.npz, or the folder of a result that holds one.

    Returns:
        The `Transform`, and the `Lattice`s of the fixed and the moving volume.

    Raises:
        UserError: If the file is missing, is not a tfreg transform, or holds numbers that are not finite.

    Example:
        >>> transform, fixed, moving = tfreg.load_transform("result")
        >>> fixed.shape, moving.orientation
        ((17, 16, 18), 'RAS')
        >>> points = tfreg.read_points("chests/points/s003_exhale.csv")
        >>> transform(points).shape
        (30, 3)
    """
    with _archive(path) as (header, arrays):
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise UserError(f"{path}: holds numbers that are not finite; register again")
        lattices = {
            name: Lattice(tuple(arrays[f"{name}_shape"].tolist()), arrays[f"{name}_affine"])
            for name in ("network", "fixed", "moving")
        }
        array, kind, options = FORMATS[header["format"]]
        deformation = None
        if array in arrays or header["format"] > 1:
            chosen = {name: header[name] for name in options}
            deformation = kind(arrays[array], lattices["network"].shape, **chosen)
        transform = Transform(lattices["network"], arrays["linear"], deformation, arrays["init"])
    return transform, lattices["fixed"], lattices["moving"]


def load_frames(path: str | Path) -> tuple[int, int]:
    """The NIfTI codes of the world frames of the fixed and the moving volume, 1 where `save_transform` was not told.

    Args:
        path: As of `load_transform`.

    Returns:
        Two integers.

    Raises:
        UserError: If the file is missing or is not a tfreg transform.
    """
    with _archive(path) as (header, _):
        fixed, moving = header.get("frames", (1, 1))
        return int(fixed), int(moving)


def _archive(path):
    """The context of `read_archive` for a transform.npz, or for the folder that holds one."""
    path = Path(path)
    if path.is_dir():
        path = path / "transform.npz"
    if not path.exists():
        raise UserError(f"{path}: does not exist; name a folder that `tfreg register` wrote")
    if not zipfile.is_zipfile(path) and path.suffix.lower() != ".npz":
        raise UserError(f"{path}: is not a tfreg transform; give the folder of the result, or the transform.npz in it")
    return read_archive(path, tuple(FORMATS), "is not a tfreg transform, or is damaged")
