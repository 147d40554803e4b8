"""The similarities by the names that configs and commands use."""

from tfreg.losses.local_ncc import LocalNCC
from tfreg.losses.mean_squared_error import MeanSquaredError


def build_similarity(name, window=9):
    """Builds a similarity loss.

    Args:
        name: "mse" or "lncc".
        window: Side of the window in voxels, for "lncc".

    Returns:
        A `Similarity`.

    Raises:
        ValueError: If the name is unknown.
    """
    if name == "mse":
        return MeanSquaredError()
    if name == "lncc":
        return LocalNCC(window)
    raise ValueError(f"`name` must be 'mse' or 'lncc'. Received: name={name!r}")
