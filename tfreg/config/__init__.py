"""The schema of runs, refinements and classifiers, the only place with defaults.

A config file names only what it changes; an unknown key or a wrong type is one clear error.
"""

from tfreg.config.classification import (
    Classification,
    ClassifierNetwork,
    JudgementOptions,
    PairRegistration,
    PredictionOptions,
    ResidualGrid,
    SubjectOptions,
)
from tfreg.config.evaluation import EvaluationOptions
from tfreg.config.files import config_with, dump_config, load_config, load_written_config, parse_config, parse_section
from tfreg.config.models import BEST, DEFAULT_MODEL, NO_NETWORK, SHIPPED, SHIPPED_WEIGHTS, find_model, model_or_none
from tfreg.config.options import (
    Processing,
    checked,
)
from tfreg.config.refinement import PRESETS, Refinement, refinement_settings
from tfreg.config.registration import RegistrationOptions
from tfreg.config.search import DEFAULT_SEARCH, DrawOptions, SearchRange, SearchSpace, TuningOptions
from tfreg.config.sections import SIMILARITIES
from tfreg.config.serving import ExportOptions, RequestOptions, ServerOptions
from tfreg.config.simulated_pairs import SimulatedPairs
from tfreg.config.simulation import SimulationOptions
from tfreg.config.training_run import (
    Augmentation,
    Config,
    ErrorCalibration,
    Intensity,
    Loss,
    Model,
    NetworkGrid,
    PhasePair,
    Prediction,
    Preprocessing,
    Training,
)

__all__ = [
    "BEST",
    "DEFAULT_MODEL",
    "DEFAULT_SEARCH",
    "NO_NETWORK",
    "PRESETS",
    "SHIPPED",
    "SHIPPED_WEIGHTS",
    "SIMILARITIES",
    "Augmentation",
    "Classification",
    "ClassifierNetwork",
    "Config",
    "DrawOptions",
    "ErrorCalibration",
    "EvaluationOptions",
    "ExportOptions",
    "Intensity",
    "JudgementOptions",
    "Loss",
    "Model",
    "NetworkGrid",
    "PairRegistration",
    "PhasePair",
    "Prediction",
    "PredictionOptions",
    "Preprocessing",
    "Processing",
    "Refinement",
    "RegistrationOptions",
    "RequestOptions",
    "ResidualGrid",
    "SearchRange",
    "SearchSpace",
    "ServerOptions",
    "SimulatedPairs",
    "SimulationOptions",
    "SubjectOptions",
    "Training",
    "TuningOptions",
    "checked",
    "config_with",
    "dump_config",
    "find_model",
    "load_config",
    "load_written_config",
    "model_or_none",
    "parse_config",
    "parse_section",
    "refinement_settings",
]
