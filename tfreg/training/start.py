"""The weights that a training begins with: of another run, or of a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfreg.config import find_model
from tfreg.errors import UserError
from tfreg.io.digests import file_digest
from tfreg.io.network_weights import SUFFIX, read_weights
from tfreg.runtime.keras_settings import own_keras_settings
from tfreg.training.run_report import MODEL


@dataclass(frozen=True, eq=False)
class Start:
    """Weights, and where they are from.

    Args:
        name: Of the run's folder or the file.
        sha256: Of the file.
        weights: Dictionary of the variables' paths to arrays.
    """

    name: str
    sha256: str
    weights: Mapping[str, np.ndarray]


def read_start(path: str | Path) -> Start:
    """Reads the weights of a run, of a .keras file, or of an .npz file.

    Args:
        path: A run's folder, or the file; "weights": those that ship with the package.

    Returns:
        A `Start`.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    path = find_model(path)
    if path.suffix == SUFFIX and not path.is_dir():
        weights = read_weights(path)
        return Start(path.name, file_digest(path), weights)
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{path}: holds no weights to start from; give a run that `tfreg train` wrote, or an .npz file")
    return Start(path.absolute().name, file_digest(file), _weights_of(file))


@own_keras_settings()
def _weights_of(file):
    """The weights of a network in a .keras file."""
    import keras

    import tfreg.models.registration_network  # noqa: F401  # its layers register themselves

    try:
        network = keras.saving.load_model(file, compile=False)
    # Whatever a damaged file makes Keras raise, the file is what is wrong.
    except Exception as error:
        raise UserError(f"{file}: is not a Keras model, or is damaged; copy it again, or train again") from error
    weights = {variable.path: np.asarray(keras.ops.convert_to_numpy(variable)) for variable in network.variables}
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise UserError(f"{file}: holds weights that are not finite; give those of another training")
    return weights
