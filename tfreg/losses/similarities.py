"""The similarities by the names that configs and commands use."""

import functools
from collections.abc import Callable

from tfreg.losses.cross_correlation import CrossCorrelation
from tfreg.losses.local_ncc import LocalNCC
from tfreg.losses.mean_squared_error import MeanSquaredError
from tfreg.losses.mind import MIND
from tfreg.losses.mutual_information import MutualInformation
from tfreg.losses.similarity import Similarity
from tfreg.losses.wavelet_metric import WaveletMetric
from tfreg.losses.weighted_sum import WeightedSum

SIMILARITIES: dict[str, Callable[[], Similarity]] = {
    "mse": MeanSquaredError,
    "lncc": LocalNCC,
    "ncc": CrossCorrelation,
    "mi": MutualInformation,
    "dwm": WaveletMetric,
    "mind": functools.partial(MIND, stride=2),
}


def build_similarity(text: str, window: int = 9) -> Similarity:
    """Builds a similarity loss.

    Args:
        text: "mse", "lncc" (local correlation), "ncc" (correlation), "mi" (mutual information), "dwm" (wavelet
            coefficients) or "mind"; or a weighted sum of several, such as "lncc+0.5*mi".
        window: Side of the window in voxels, for "lncc".

    Returns:
        A `Similarity`.

    Raises:
        ValueError: If a name is unknown.

    Example:
        >>> tfreg.losses.build_similarity("lncc", window=7).window
        7
        >>> both = tfreg.losses.build_similarity("lncc+0.5*mi")
        >>> both.weights
        [1.0, 0.5]
    """
    terms = [term.rpartition("*") for term in text.split("+")]
    for _, _, name in terms:
        if name not in SIMILARITIES:
            raise ValueError(f"`text` must be made of {', '.join(SIMILARITIES)}. Received: text={text!r}")
    built = [LocalNCC(window) if name == "lncc" else SIMILARITIES[name]() for _, _, name in terms]
    if len(terms) == 1 and not terms[0][0]:
        return built[0]
    return WeightedSum(built, [float(weight or 1) for weight, _, _ in terms])
