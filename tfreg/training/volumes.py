"""The volumes that a training learns from, read and checked."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tfreg.config import BEST, Config
from tfreg.errors import UserError
from tfreg.io.formats import read_volume
from tfreg.io.tables.manifest import PairFiles
from tfreg.preprocessing.aligned_pair import normalised
from tfreg.preprocessing.network_grid import configured_grid
from tfreg.volumes.lattice import difference
from tfreg.volumes.volume import Volume


def read_volumes(pairs: Sequence[PairFiles], config: Config) -> tuple[dict[Path, Volume], dict[Path, Volume]]:
    """Reads the images and labels of pairs.

    Args:
        pairs: Their files.
        config: Of the run; its `preprocessing` counts.

    Returns:
        Normalised images, and labels on the images' lattices, each by the image's file.

    Raises:
        UserError: If no initial alignment is named, a file cannot be read or does not fit its image, or the network
            grids differ in shape.
    """
    if config.preprocessing.init == BEST:
        raise UserError("preprocessing.init: best is for registering alone; set header, centre or moments")
    files = {}
    for pair in pairs:
        files[pair.fixed] = pair.fixed_labels
        files[pair.moving] = pair.moving_labels
    images = {path: normalised(read_volume(path), config.preprocessing.intensity, path) for path in files}
    labels = {path: read_volume(file, labels=True) for path, file in files.items() if file is not None}
    for path, volume in labels.items():
        if not volume.lattice.same_as(images[path].lattice):
            raise UserError(
                f"{files[path]}: lies on another grid than its image {path.name} "
                f"({difference(volume.lattice, images[path].lattice)}); resample it onto that image"
            )
        if volume.array.dtype.itemsize > 4:
            raise UserError(f"{files[path]}: has labels beyond 32 bits; renumber them")
        # Its own affine may differ by rounding.
        labels[path] = images[path].with_array(volume.array)
    _check_shapes(pairs, images, config)
    return images, labels


def label_values(pairs: Sequence[PairFiles], labels: Mapping[Path, Volume]) -> list[int]:
    """The values of the labels whose overlap can be measured: those of pairs with labels on both sides.

    Args:
        pairs: Files of the pairs.
        labels: Labels by the image's file.

    Returns:
        Rising values, without the background's 0.
    """
    files = {file for pair in pairs if {pair.fixed, pair.moving} <= set(labels) for file in (pair.fixed, pair.moving)}
    return sorted({int(value) for file in files for value in np.unique(labels[file].array)} - {0})


def taught_labels(
    config: Config, pairs: Sequence[PairFiles], labels: Mapping[Path, Volume], data: str | Path
) -> Sequence[int]:
    """The label values whose overlap the loss counts.

    Args:
        config: Of the run; its `loss.dice` and `loss.dice_labels` count.
        pairs: Files of the pairs that are learned from.
        labels: Labels by the image's file.
        data: What error messages call the manifest.

    Returns:
        Rising values; none where the loss counts no overlap.

    Raises:
        UserError: If it does, and no pair has any of the labels.
    """
    if not config.loss.dice:
        return ()
    there = label_values(pairs, labels)
    wanted = there if config.loss.dice_labels is None else sorted(set(config.loss.dice_labels))
    if not set(wanted) & set(there):
        raise UserError(f"{data}: loss.dice is set, but no training pair has such labels; set loss.dice to 0")
    return wanted


def _check_shapes(pairs, images, config):
    """Refuses pairs that cannot be stacked into batches."""
    grid = config.preprocessing.network_grid
    shapes = {pair.fixed: configured_grid(images[pair.fixed].lattice, grid).shape for pair in pairs}
    first, *others = shapes
    for other in others:
        if shapes[other] != shapes[first]:
            raise UserError(
                f"{other}: has a network grid of {shapes[other]} voxels, and {first.name} one of {shapes[first]}; "
                "set preprocessing.network_grid.shape"
            )
