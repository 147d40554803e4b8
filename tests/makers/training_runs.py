"""Configs and runs that train in seconds."""

import csv

import keras
import numpy as np
import pytest

from tfreg.config import parse_config
from tfreg.io.tables.manifest import read_subjects

TINY = {
    "preprocessing": {
        "network_grid": {"orientation": "RAS", "spacing": 20, "shape": (20, 16, 18)},
        "intensity": {"window": (0, 1300)},
        "init": "centre",
    },
    "pairs": {"moving": "inhale", "fixed": "exhale"},
    "model": {"encoder_filters": (4, 6), "encoder_dilations": (1, 2), "squeeze_ratio": 4, "decoder_filters": (5,)},
    "loss": {"alpha": 1e-4, "beta": 1e-7, "smoothness": 0.01},
    "augmentation": {"flip_axes": (0,), "rotation_degrees": 5, "moving_translation": 1},
}
TRAINING = {"learning_rate": 0.02, "steps_per_epoch": 6, "epochs": 40}
# Nothing but the image is sampled: the quickest to compile.
QUICK = {
    "encoder_filters": (4,),
    "encoder_dilations": (1,),
    "decoder_filters": (5,),
    "transform": "deformable",
    "integration": "axiswise",
}
needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is about TensorFlow")


def tiny(**changes):
    """A config that trains in seconds; `training` is changed key by key, other blocks as a whole."""
    training = {**TRAINING, **changes.pop("training", {})}
    return parse_config({**TINY, "training": training, **changes})


def history_of(run):
    """The columns of history.csv by name."""
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def changed(subject, **values):
    return type(subject)(**{**vars(subject), **values})


def people(pairs, data):
    names = {subject.image: subject.subject for subject in read_subjects(data)}
    return {names[image] for pair in pairs for image in (pair.fixed, pair.moving)}
