"""Predicts the matrix of the linear part."""

from typing import Any

import keras
from keras import ops

from tfreg.ops.tensor import Shape, Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class LinearHead(keras.layers.Layer):
    """Global average pooling and one linear layer of 12, which starts at zero: the identity matrix.

    Call arguments:
        features: `(batch, i, j, k, channels)`.

    Returns:
        `(batch, 3, 4)` float32: the identity plus the prediction, to act on voxel coordinates about the
        volume's centre, its last column in voxels.

    Reference:
        Christodoulidis et al. 2018, section 2.2.

    Example:
        >>> linear = tfreg.layers.LinearHead()(np.zeros((1, 4, 5, 6, 8), np.float32))
        >>> keras.ops.convert_to_numpy(linear)[0].tolist()
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(12, kernel_initializer="zeros", name="dense", dtype=self.dtype_policy)

    def build(self, features_shape: Shape) -> None:
        self.dense.build((features_shape[0], features_shape[-1]))
        super().build(features_shape)

    def call(self, features: Tensor) -> Tensor:
        prediction = self.dense(ops.mean(ops.cast(features, "float32"), axis=(1, 2, 3)))
        return ops.eye(3, 4, dtype="float32") + ops.reshape(prediction, (-1, 3, 4))

    def compute_output_shape(self, features_shape: Shape) -> Shape:
        return (features_shape[0], 3, 4)
