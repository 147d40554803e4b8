"""A report of a registration, with whatever a test wants it to say."""

import numpy as np

from tfreg.registration.registration_report import QualityIndicators, RegistrationReport
from tfreg.transforms.certificate import Certificate

# What is not measured.
STAGE = {"correlation": None, "outside_fraction": None}
REGION = dict.fromkeys(("mean", "sd", "min", "max"))
INDICATORS = dict.fromkeys(QualityIndicators.model_fields)


def report_with(**content):
    """A `RegistrationReport` of nothing measured, but for what is given.

    Args:
        content: Fields of the report; of `metrics` the stages that something is known of.
    """
    metrics = content.pop("metrics", {})
    stages = {name: STAGE | metrics.get(name, {}) for name in ("before", "after_init", "after")}
    bare = {
        "versions": {"tfreg": "9.9"},
        "model": None,
        "config": None,
        "preprocessing": {"init": "centre"},
        "parts": "both",
        "interpolation": "linear",
        "background": -1000.0,
        "network_grid": {"shape": (4, 5, 6), "affine": np.eye(4).tolist()},
        "init": np.eye(4).tolist(),
        "linear": np.eye(4).tolist(),
        "refinement": None,
        "certificate": Certificate(0.0, True, 1.0),
        "verdict": "pass",
        "reasons": (),
        "quality_indicators": INDICATORS,
        "log_jacobian": {"all": REGION},
        "seconds": {},
    }
    return RegistrationReport(**bare | content, metrics=stages)
