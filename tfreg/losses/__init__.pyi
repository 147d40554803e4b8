from .cross_correlation import CrossCorrelation
from .label_overlap import LabelOverlap
from .local_ncc import LocalNCC
from .mean_squared_error import MeanSquaredError
from .mind import MIND
from .mutual_information import MutualInformation
from .place_error import PlaceError
from .regularisers import GradientPenalty, LinearPenalty
from .similarities import build_similarity
from .warped_dice import WarpedDice
from .wavelet_metric import WaveletMetric
from .weighted_sum import WeightedSum

__all__ = [
    "MIND",
    "CrossCorrelation",
    "GradientPenalty",
    "LabelOverlap",
    "LinearPenalty",
    "LocalNCC",
    "MeanSquaredError",
    "MutualInformation",
    "PlaceError",
    "WarpedDice",
    "WaveletMetric",
    "WeightedSum",
    "build_similarity",
]
