"""The layer that turns logits into spatial gradients."""

from typing import Any

import keras

from tfreg.layers.strided import Strided
from tfreg.ops.gradients import gradients_from_logits
from tfreg.ops.tensor import Shape, Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class GradientHead(Strided):
    """Up-samples logits, clips them to ±7 and maps them to (0, 2) by twice the sigmoid.

    A logit of 0 gives a gradient of exactly 1, the identity. The clipping keeps gradients above 0.0018,
    so that float32 sums never stall.

    Args:
        stride: Voxels per logit along each axis.

    Call arguments:
        logits: `(batch, ceil(i/stride), ceil(j/stride), ceil(k/stride), 3)`.
        volume: `(batch, i, j, k, channels)`, read for its spatial shape only.

    Returns:
        `(batch, i, j, k, 3)`, in (0, 2), voxels per voxel, float32.

    Raises:
        ValueError: If the stride is not a positive integer or the logits have not three components.

    Reference:
        Christodoulidis et al. 2018, section 2.2.

    Example:
        >>> logits, volume = np.zeros((1, 2, 3, 3, 3), np.float32), np.zeros((1, 4, 5, 6, 1), np.float32)
        >>> gradients = tfreg.layers.GradientHead(stride=2)(logits, volume)
        >>> tuple(gradients.shape), float(keras.ops.max(gradients))
        ((1, 4, 5, 6, 3), 1.0)
    """

    def __init__(self, stride: int = 2, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(stride, **kwargs)

    def build(self, logits_shape: Shape, volume_shape: Shape) -> None:
        if logits_shape[-1] != 3:
            raise ValueError(f"`logits` must have 3 components on its last axis. Received: logits.shape={logits_shape}")
        super().build(logits_shape)

    def call(self, logits: Tensor, volume: Tensor) -> Tensor:
        return gradients_from_logits(logits, volume, self.stride)

    def compute_output_shape(self, logits_shape: Shape, volume_shape: Shape) -> Shape:
        return (*volume_shape[:-1], 3)
