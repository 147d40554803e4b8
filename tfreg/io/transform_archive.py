"""`transform.npz`: tfreg's own file, from which the transform is rebuilt exactly."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.errors import UserError
from tfreg.io.npz import read_archive, write_archive
from tfreg.transforms.composed_passes import ComposedPasses
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.displacement_deformation import DisplacementDeformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.lattice import Lattice

# By format what a deformation is made of: the array, the class, and its options. Linear transforms have format 1.
KINDS: dict[int, tuple[str, type[Any], tuple[str, ...]]] = {
    1: ("logits", Deformation, ("stride", "integration", "anchor", "damping")),
    2: ("control", DisplacementDeformation, ("stride", "damping")),
}
# Several of these, one after the other.
PASSES = 3


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
    if isinstance(deformation, ComposedPasses):
        version = PASSES
        header |= {"damping": deformation.damping, "maps": []}
        for number, part in enumerate(deformation.maps):
            kind, array, options = _parts(part)
            header["maps"].append({"format": kind, "shape": list(part.shape), **options})
            arrays[f"map_{number}"] = array
        arrays["matrices"] = np.stack(deformation.matrices)
    elif deformation is not None:
        version, array, options = _parts(deformation)
        arrays[KINDS[version][0]] = array
        header |= options
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
        deformation = _deformation(header, arrays, lattices["network"].shape)
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


def _parts(deformation):
    """The format of a deformation on one lattice, its array, and its options."""
    number = next(number for number, (_, kind, _) in KINDS.items() if isinstance(deformation, kind))
    array, _, options = KINDS[number]
    return number, getattr(deformation, array), {name: getattr(deformation, name) for name in options}


def _deformation(header, arrays, shape):
    """The deformation that an archive holds on a lattice of this shape, or None."""
    if header["format"] == PASSES:
        maps = [
            _of_one_lattice(entry, arrays[f"map_{number}"], tuple(entry["shape"]))
            for number, entry in enumerate(header["maps"])
        ]
        return ComposedPasses(tuple(maps), tuple(arrays["matrices"]), shape, header["damping"])
    array, *_ = KINDS[header["format"]]
    if array not in arrays and header["format"] == 1:
        return None
    return _of_one_lattice(header, arrays[array], shape)


def _of_one_lattice(header, array, shape):
    """The deformation of an array, with the options that stand beside its format."""
    _, kind, options = KINDS[header["format"]]
    return kind(array, shape, **{name: header[name] for name in options})


def _archive(path):
    """The context of `read_archive` for a transform.npz, or for the folder that holds one."""
    path = Path(path)
    if path.is_dir():
        path = path / "transform.npz"
    if not path.exists():
        raise UserError(f"{path}: does not exist; name a folder that `tfreg register` wrote")
    if not zipfile.is_zipfile(path) and path.suffix.lower() != ".npz":
        raise UserError(f"{path}: is not a tfreg transform; give the folder of the result, or the transform.npz in it")
    return read_archive(path, (*KINDS, PASSES), "is not a tfreg transform, or is damaged")
