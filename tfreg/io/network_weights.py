"""A network's weights as an .npz file, named by the variables that they are of."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfreg.errors import UserError
from tfreg.io.folders.whole_file import whole_file
from tfreg.io.npz import read_arrays, write_arrays

if TYPE_CHECKING:
    import keras

# Of a file of weights.
SUFFIX = ".npz"


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a file of weights.

    Args:
        path: An .npz file, in which every array has the path of its variable as its name, such as
            `encoder/block_1/convolution/kernel`.

    Returns:
        Dictionary of path to array, float32.

    Raises:
        UserError: If the file is missing or damaged, or holds numbers that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: does not exist; name a file of weights")
    try:
        weights = {name: array.astype(np.float32) for name, array in read_arrays(path).items()}
        finite = all(np.isfinite(array).all() for array in weights.values())
    # Whatever a garbage file makes NumPy and zipfile raise, the file is what is wrong.
    except Exception as error:
        raise UserError(f"{path}: holds no weights, or is damaged; copy it again") from error
    if not finite:
        raise UserError(f"{path}: holds weights that are not finite; copy it again")
    return weights


def write_weights(path: str | Path, network: "keras.Model") -> None:
    """Writes the weights of a network, whole or not at all.

    Args:
        path: File ending in .npz.
        network: A `keras.Model`, on any backend.
    """
    import keras

    with whole_file(path, durable=True) as partial:
        write_arrays(partial, {v.path: np.asarray(keras.ops.convert_to_numpy(v)) for v in network.variables})


def assign_weights(network: "keras.Model", weights: Mapping[str, np.ndarray], source: str | Path) -> None:
    """Gives every variable of a network its weights.

    Args:
        network: A `keras.Model`, on any backend.
        weights: Dictionary of the variables' paths to arrays: of all of them, and of no others.
        source: What error messages call the weights.

    Raises:
        UserError: If the weights are those of another network; nothing is changed then.
    """
    variables = {variable.path: variable for variable in network.variables}
    for name in sorted({*variables, *weights}):
        if name not in weights or name not in variables:
            lacking = "lacks" if name in variables else "holds"
            raise UserError(f"{source}: {lacking} {name}, as weights of another network do; take the network's own")
        if weights[name].shape != variables[name].shape:
            raise UserError(
                f"{source}: {name} has shape {weights[name].shape}, not {variables[name].shape}; take the network's own"
            )
    for name, variable in variables.items():
        variable.assign(weights[name])
