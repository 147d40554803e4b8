"""Small exports, what is asked of them, and what they answer."""

import numpy as np

SMALL = {"encoder_filters": [4, 6], "encoder_dilations": [1, 5], "squeeze_ratio": 4, "decoder_filters": [5]}
MODELS = {
    "both": {"transform": "both", "stride": 2},
    "linear": {"transform": "linear"},
    "deformable": {
        "transform": "deformable",
        "stride": 3,
        "integration": "axiswise",
        "anchor": "start",
        "border": "zero",
    },
    "displacement": {"head": "displacement", "stride": 2},
}
SHAPE = (2, 11, 14, 9, 1)


def volumes(seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape, np.float32) for name in ("fixed", "moving")}


def answer(signature, **inputs):
    import tensorflow as tf

    return {
        name: np.asarray(value) for name, value in signature(**{k: tf.constant(v) for k, v in inputs.items()}).items()
    }
