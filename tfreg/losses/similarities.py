"""The similarities by the names that configs and commands use."""

from tfreg.losses.cross_correlation import CrossCorrelation
from tfreg.losses.local_ncc import LocalNCC
from tfreg.losses.mean_squared_error import MeanSquaredError
from tfreg.losses.mind import MIND
from tfreg.losses.mutual_information import MutualInformation


def build_similarity(name, window=9):
    """Builds a similarity loss.

    Args:
        name: "mse", "lncc" (local correlation), "ncc" (correlation), "mi" (mutual information) or "mind".
        window: Side of the window in voxels, for "lncc".

    Returns:
        A `Similarity`.

    Raises:
        ValueError: If the name is unknown.
    """
    if name == "lncc":
        return LocalNCC(window)
    others = {"mse": MeanSquaredError, "ncc": CrossCorrelation, "mi": MutualInformation, "mind": MIND}
    if name not in others:
        raise ValueError(f"`name` must be 'mse', 'lncc', 'ncc', 'mi' or 'mind'. Received: name={name!r}")
    return others[name]()
