"""Weighs feature maps by what the whole volume holds."""

from typing import Any

import keras
from keras import ops

from tfreg.ops.tensor import Shape, Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class SqueezeExcitation(keras.layers.Layer):
    """Multiplies every channel by a weight in (0, 1), computed from all channels' means.

    Args:
        ratio: Channels per hidden unit; 290 channels and a ratio of 10 give 29 units.

    Call arguments:
        features: `(batch, i, j, k, channels)`.

    Returns:
        The same shape.

    Raises:
        ValueError: If the ratio is not a positive integer.

    Reference:
        Hu, Shen and Sun, Squeeze-and-Excitation Networks, CVPR 2018.

    Example:
        >>> features = np.ones((1, 4, 5, 6, 20), np.float32)
        >>> weighed = tfreg.layers.SqueezeExcitation(ratio=10)(features)
        >>> tuple(weighed.shape), bool(keras.ops.all(weighed < features))
        ((1, 4, 5, 6, 20), True)
    """

    def __init__(self, ratio: int = 10, **kwargs: Any) -> None:
        if not isinstance(ratio, int) or ratio < 1:
            raise ValueError(f"`ratio` must be a positive integer. Received: ratio={ratio!r}")
        super().__init__(**kwargs)
        self.ratio = ratio

    def build(self, features_shape: Shape) -> None:
        channels = features_shape[-1]
        hidden = max(channels // self.ratio, 1)
        self.squeeze = keras.layers.Dense(hidden, activation="relu", name="squeeze", dtype=self.dtype_policy)
        self.excite = keras.layers.Dense(channels, activation="sigmoid", name="excite", dtype=self.dtype_policy)
        self.squeeze.build((features_shape[0], channels))
        self.excite.build((features_shape[0], hidden))
        super().build(features_shape)

    def call(self, features: Tensor) -> Tensor:
        weights = self.excite(self.squeeze(ops.mean(features, axis=(1, 2, 3))))
        return features * weights[:, None, None, None, :]

    def compute_output_shape(self, features_shape: Shape) -> Shape:
        return features_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ratio": self.ratio}
