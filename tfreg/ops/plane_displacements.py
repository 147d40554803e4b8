"""Displacements of control points' logits, on no more planes of voxels than a composition reads."""

from collections.abc import Sequence

from keras import ops

from tfreg.ops.acceleration import compiled
from tfreg.ops.gradients import LOGIT_LIMIT
from tfreg.ops.integration import integrated_displacement
from tfreg.ops.tensor import Tensor
from tfreg.ops.upsampling import upsampled_voxels


def displacements_on_planes(
    logits: Tensor, shape: Sequence[int | Tensor], stride: int, anchor: str, planes: Sequence[Tensor]
) -> list[Tensor]:
    """What `composed_at_voxels` takes: of the gradients that logits stand for, integrated.

    Args:
        logits: `(batch, ceil(i/stride), ceil(j/stride), ceil(k/stride), 3)`.
        shape: The lattice's three sizes.
        stride: Voxels per logit along each axis.
        anchor: "centre" or "start", where each line keeps its place.
        planes: Three tensors of indices, the planes along each axis at whose voxels the composition is evaluated.

    Returns:
        Three `(batch, i, j, k, 1)`, voxels: the first with the planes along all axes, the second with all planes along
        the first axis, the third with all along the first two.
    """
    displacements = []
    for d in range(3):
        component = logits[..., d : d + 1]
        # What makes the component smaller comes first.
        for axis in reversed(range(3)):
            voxels = planes[axis] if axis > d else ops.arange(shape[axis])
            component = upsampled_voxels(component, stride, axis, voxels)
        displacements.append(integrated_displacement(_changes(component), d, anchor, planes[d]))
    return displacements


@compiled
def _changes(logits):
    """The gradients less one."""
    return ops.tanh(0.5 * ops.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT))
