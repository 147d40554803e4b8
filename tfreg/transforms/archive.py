"""`transform.npz`: tfreg's own file, from which the transform is rebuilt exactly."""

from pathlib import Path

import numpy as np

from tfreg.errors import UserError
from tfreg.transforms.deformation import Deformation
from tfreg.transforms.transform import Transform
from tfreg.volumes.npz import read_archive, write_archive
from tfreg.volumes.volume import Lattice

FORMAT = 1


def save_transform(path, transform, fixed, moving):
    """Writes a transform and the lattices of the two volumes that it joins.

    Args:
        path: File ending in .npz.
        transform: A `Transform`.
        fixed, moving: `Lattice`s of the volumes that were registered.
    """
    deformation = transform.deformation
    header = {}
    arrays = {
        "network_shape": np.array(transform.lattice.shape),
        "network_affine": transform.lattice.affine,
        "linear": transform.linear,
        "init": transform.init,
    }
    for name, lattice in (("fixed", fixed), ("moving", moving)):
        arrays[f"{name}_shape"] = np.array(lattice.shape)
        arrays[f"{name}_affine"] = lattice.affine
    if deformation is not None:
        arrays["logits"] = deformation.logits
        header = {
            "stride": deformation.stride,
            "integration": deformation.integration,
            "anchor": deformation.anchor,
            "damping": deformation.damping,
        }
    write_archive(path, FORMAT, header, arrays)


def load_transform(path):
    """Reads what `save_transform` wrote.

    Args:
        path: A transform.npz, or the folder of a result that holds one.

    Returns:
        The `Transform`, and the `Lattice`s of the fixed and the moving volume.

    Raises:
        UserError: If the file is missing, is not a tfreg transform, or holds numbers that are not finite.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "transform.npz"
    if not path.exists():
        raise UserError(f"{path}: does not exist; name a folder that `tfreg register` wrote")
    with read_archive(path, FORMAT, "is not a tfreg transform, or is damaged") as (header, arrays):
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise UserError(f"{path}: holds numbers that are not finite; register again")
        lattices = {
            name: Lattice(tuple(arrays[f"{name}_shape"].tolist()), arrays[f"{name}_affine"])
            for name in ("network", "fixed", "moving")
        }
        deformation = None
        if "logits" in arrays:
            options = {name: header[name] for name in ("stride", "integration", "anchor", "damping")}
            deformation = Deformation(arrays["logits"], lattices["network"].shape, **options)
        transform = Transform(lattices["network"], arrays["linear"], deformation, arrays["init"])
    return transform, lattices["fixed"], lattices["moving"]
