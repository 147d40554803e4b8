"""Turns logits into spatial gradients."""

import keras
from keras import ops

from tfreg.ops.acceleration import compiled
from tfreg.ops.grids import spatial_shape
from tfreg.ops.line_products import multiplies_lines
from tfreg.ops.upsampling import upsample_lines, upsample_lines_by_product

LOGIT_LIMIT = 7.0


def gradients_from_logits(logits, volume, stride):
    """Twice the sigmoid of up-sampled and clipped logits.

    Args:
        logits: `(batch, ceil(i/stride), ceil(j/stride), ceil(k/stride), 3)`.
        volume: `(batch, i, j, k, channels)`, read for its spatial shape only.
        stride: Voxels per logit along each axis.

    Returns:
        `(batch, i, j, k, 3)`, in (0, 2).
    """
    axes = (0, 1, 2)
    if multiplies_lines(logits):
        # Not along the last axis, where lines of vectors make for slow products.
        for axis in (0, 1):
            logits = upsample_lines_by_product(logits, stride, axis)
        axes = (2,)
    return _upsampled_gradients(logits, volume, stride=stride, axes=axes)


@compiled
def _upsampled_gradients(logits, volume, *, stride, axes):
    for axis in axes:
        logits = upsample_lines(logits, stride, axis)
    i, j, k = spatial_shape(volume)
    return 2.0 * ops.sigmoid(ops.clip(logits[:, :i, :j, :k], -LOGIT_LIMIT, LOGIT_LIMIT))


@keras.saving.register_keras_serializable(package="tfreg")
class GradientHead(keras.layers.Layer):
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
    """

    def __init__(self, stride=2, **kwargs):
        if not isinstance(stride, int) or stride < 1:
            raise ValueError(f"`stride` must be a positive integer. Received: stride={stride!r}")
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.stride = stride

    def build(self, logits_shape, volume_shape):
        if logits_shape[-1] != 3:
            raise ValueError(f"`logits` must have 3 components on its last axis. Received: logits.shape={logits_shape}")
        super().build(logits_shape)

    def call(self, logits, volume):
        return gradients_from_logits(logits, volume, self.stride)

    def compute_output_shape(self, logits_shape, volume_shape):
        return (*volume_shape[:-1], 3)

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}
