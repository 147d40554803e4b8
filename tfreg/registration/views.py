"""`views.npz`: the images of a result in 8 bits, from which `tfreg report` draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfreg.errors import UserError
from tfreg.io.npz import read_archive, write_archive
from tfreg.preprocessing.intensity import normalise
from tfreg.preprocessing.pyramid import coarsened
from tfreg.report.pair_views import IMAGES, PairViews, block_factors, coded
from tfreg.volumes.volume import Volume

VIEWS = "views.npz"
FORMAT = 1

# A fixed image with more voxels is reduced, so that the page does not exceed about 15 MB.
MAX_VOXELS = 3_000_000

PERCENTILES = (0.5, 99.5)
MAX_LABELS = 255


def save_views(
    path: str | Path,
    fixed: Volume,
    moving: Volume,
    warped: Volume,
    labels: Volume | None = None,
    max_voxels: int = MAX_VOXELS,
) -> None:
    """Writes what a person looks at in 8 bits.

    Args:
        path: File ending in .npz.
        fixed: The fixed `Volume`, finite.
        moving: The moving image on the fixed lattice before registration, NaN where it does not reach.
        warped: The moving image on the fixed lattice after it, likewise.
        labels: The fixed image's segmentation, a `Volume`, or None.
        max_voxels: Beyond this number blocks of voxels are averaged.
    """
    factors = block_factors(fixed.lattice, max_voxels)
    windows = {"fixed": _window(fixed.array), "moving": _window(warped.array, moving.array)}
    arrays = {"affine": coarsened(fixed.lattice, factors).affine} | {
        name: coded(block_means(volume.array, factors), windows["fixed" if name == "fixed" else "moving"])
        for name, volume in zip(IMAGES, (fixed, moving, warped), strict=True)
    }
    if labels is not None:
        arrays["labels"], arrays["label_values"] = _label_codes(labels.array, factors)
    write_archive(path, FORMAT, {"factors": factors, "fixed_shape": fixed.shape, "windows": windows}, arrays)


def load_views(folder: str | Path) -> tuple[PairViews, tuple[int, int, int]]:
    """Reads what `save_views` wrote.

    Args:
        folder: The folder of a result.

    Returns:
        The `PairViews`, and the shape of the fixed image.

    Raises:
        UserError: If the file is missing or damaged.
    """
    path = Path(folder) / VIEWS
    if not path.is_file():
        raise UserError(f"{path}: is missing, as in results of earlier versions; register again with this version")
    with read_archive(path, (FORMAT,), "cannot be read, or is damaged") as (header, arrays):
        volumes: dict[str, Any] = {
            name: Volume(arrays[name], arrays["affine"]) if name in arrays else None for name in (*IMAGES, "labels")
        }
        windows = {name: tuple(float(limit) for limit in header["windows"][name]) for name in ("fixed", "moving")}
        values = tuple(int(value) for value in arrays.get("label_values", ()))
        views = PairViews(**volumes, windows=windows, label_values=values, factors=tuple(header["factors"]))
        return views, tuple(header["fixed_shape"])


def block_means(array: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    """Means over blocks of voxels.

    Args:
        array: `(i, j, k)`; NaN does not count.
        factors: Three positive integers, the blocks' sizes; the last block along an axis may be smaller.

    Returns:
        `(i, j, k)` smaller float32, NaN where less than half of a block counts; with blocks of one voxel the
        array itself.
    """
    if tuple(factors) == (1, 1, 1):
        return array
    counts = np.isfinite(array)
    total, sizes = np.where(counts, array, 0).astype(np.float64), np.ones(array.shape)
    counts = counts.astype(np.float64)
    for axis, factor in enumerate(factors):
        starts = np.arange(0, array.shape[axis], factor)
        total, counts, sizes = (np.add.reduceat(sums, starts, axis) for sums in (total, counts, sizes))
    enough = (counts > 0) & (2 * counts >= sizes)
    return np.divide(total, counts, where=enough, out=np.full(total.shape, np.nan)).astype(np.float32)


def _window(*candidates):
    """The (floor, ceiling) of the first image that holds something to see."""
    for array in candidates:
        try:
            return normalise(array, percentiles=PERCENTILES)[1]
        except ValueError:  # nothing of the moving image lies on the fixed lattice, or all of it is equal
            continue
    return (0.0, 1.0)


def _label_codes(array, factors):
    """The labels at the blocks' middle voxels as uint8 codes, and the values of the codes 1, 2, ...; the most
    frequent ones, where there are too many."""
    middles = (np.arange(0, n, f) for n, f in zip(array.shape, factors, strict=True))
    index = (np.minimum(m + f // 2, n - 1) for m, f, n in zip(middles, factors, array.shape, strict=True))
    array = array[np.ix_(*index)]
    values, places, counts = np.unique(array, return_inverse=True, return_counts=True)
    codes = np.zeros(len(values), np.uint8)
    chosen = np.flatnonzero(values)
    chosen = np.sort(chosen[np.argsort(-counts[chosen], kind="stable")][:MAX_LABELS])
    codes[chosen] = np.arange(1, len(chosen) + 1)
    return codes[places].reshape(array.shape), values[chosen]
