"""Spatial gradients from logits."""

from keras import ops

from tfreg.ops.acceleration import compiled
from tfreg.ops.grids import spatial_shape
from tfreg.ops.line_products import multiplies_lines
from tfreg.ops.tensor import Tensor
from tfreg.ops.upsampling import upsample_lines, upsample_lines_by_product

LOGIT_LIMIT = 7.0


def gradients_from_logits(logits: Tensor, volume: Tensor, stride: int) -> Tensor:
    """Twice the sigmoid of up-sampled and clipped logits.

    Args:
        logits: `(batch, ceil(i/stride), ceil(j/stride), ceil(k/stride), 3)`.
        volume: `(batch, i, j, k, channels)`, read for its spatial shape only.
        stride: Voxels per logit along each axis.

    Returns:
        `(batch, i, j, k, 3)`, in (0, 2).
    """
    axes: tuple[int, ...] = (0, 1, 2)
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
