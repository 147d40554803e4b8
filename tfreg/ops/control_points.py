"""Displacements of control points as the variables behind logits."""

from keras import ops

from tfreg.ops.tensor import Tensor


def logits_from_displacement(displacement: Tensor, stride: int) -> Tensor:
    """Logits whose integration from the start of each line follows the control points' displacements.

    Component d of the logits is 2/stride times the difference of component d between a control point and
    the one before it along axis d; before the first one the displacement counts as zero. The gradients,
    1 + tanh(logit/2), then change component d of the map from one control point to the next by that
    difference, to first order, and never by so much that it turns round.

    Args:
        displacement: `(batch, i, j, k, 3)`, voxels.
        stride: Voxels per control point along each axis.

    Returns:
        `(batch, i, j, k, 3)`.
    """
    parts = []
    for d in range(3):
        component = displacement[..., d]
        before, low = [(0, 0)] * 4, [slice(None)] * 4
        before[d + 1], low[d + 1] = (1, 0), slice(None, -1)
        parts.append(component - ops.pad(component[tuple(low)], before))
    return ops.stack(parts, axis=-1) * (2.0 / stride)
