"""Displacements that are limited, so that no line turns round when each component moves its own coordinate."""

from keras import ops

from tfreg.ops.acceleration import compiled
from tfreg.ops.grids import spatial_shape
from tfreg.ops.integration import running_sum
from tfreg.ops.tensor import Tensor
from tfreg.ops.upsampling import upsample_lines

# Gradients are 1 + tanh(slope), which is 2 sigmoid(2 slope): half the limit of logits keeps them in the same range.
SLOPE_LIMIT = 3.5


@compiled
def values_and_slopes(control: Tensor, volume: Tensor, *, stride: int) -> tuple[Tensor, Tensor]:
    """Up-samples control values, and limits how each displacement changes along its own axis.

    Args:
        control: `(batch, ceil(i/stride), ceil(j/stride), ceil(k/stride), channels)`, of which the first three are
            displacements in voxels.
        volume: `(batch, i, j, k, channels)`, read for its spatial shape only.
        stride: Voxels per control point along each axis.

    Returns:
        The values at every voxel, `(batch, i, j, k, channels)`, and the limited slopes `(batch, i, j, k, 3)`, in
        (-1, 1): component d is tanh of the difference from the voxel before along axis d, zero at the first voxel.
    """
    for axis in range(3):
        control = upsample_lines(control, stride, axis)
    i, j, k = spatial_shape(volume)
    values = control[:, :i, :j, :k]
    slopes = []
    for d in range(3):
        before, low, high = [(0, 0)] * 5, [slice(None)] * 5, [slice(None)] * 5
        before[d + 1], low[d + 1], high[d + 1] = (1, 0), slice(None, -1), slice(1, None)
        component = values[..., d : d + 1]
        difference = component[tuple(high)] - component[tuple(low)]
        slopes.append(ops.pad(ops.tanh(ops.clip(difference, -SLOPE_LIMIT, SLOPE_LIMIT)), before))
    return values, ops.concatenate(slopes, axis=-1)


def limited_displacement(component: Tensor, slope: Tensor, axis: int) -> Tensor:
    """The running sum of limited slopes, with the mean that each line had before.

    Written so that a line without slopes keeps its value to the bit.

    Args:
        component: `(batch, i, j, k, 1)`, one displacement component, voxels.
        slope: `(batch, i, j, k, 1)`, its limited slope.
        axis: 0, 1 or 2, the component's spatial axis.

    Returns:
        `(batch, i, j, k, 1)`, voxels.
    """
    beginning = [slice(None)] * 5
    beginning[axis + 1] = slice(0, 1)
    first = component[tuple(beginning)]
    rise = running_sum(slope, axis)
    return first + (rise + ops.mean(component - first - rise, axis=axis + 1, keepdims=True))
