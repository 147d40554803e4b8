"""What the levels of the deformation minimise: how little two images resemble each other under control points."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from tfreg.losses.regularisers import displacement_roughness
from tfreg.losses.similarities import build_similarity
from tfreg.models.registration_network import INTEGRATIONS
from tfreg.ops.composition import composed_at_voxels
from tfreg.ops.control_points import logits_from_displacement
from tfreg.ops.gradients import gradients_from_logits
from tfreg.ops.grids import linear_displacement, spatial_shape, voxel_centres
from tfreg.ops.integration import anchored
from tfreg.ops.plane_displacements import displacements_on_planes
from tfreg.ops.tensor import Tensor
from tfreg.ops.trilinear_sampling import sample_trilinear

# Of every two planes of voxels along each axis, the one that is taken: step after step, and from the first again. All
# voxels have their turn, and two that follow each other lie apart.
TURNS = np.array([(0, 0, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0), (1, 0, 1), (0, 1, 0), (1, 1, 0), (0, 0, 1)], np.int32)


class DeformableObjective:
    """The loss of one pair as a function of its control points' displacements, and of a change of its linear part.

    The similarity of the fixed and the warped image plus a weight times the mean squared slope of the control points'
    displacements. The network grid begins by the leading margin before the fixed image; the moving image
    surrounds it by a margin, the same on both sides of an axis. Sizes may be unknown until it is called.

    Args:
        leading_margin: Three numbers of voxels.
        similarity: What `build_similarity` takes.
        window: Side of its window in voxels.
        stride: Voxels per control point.
        integration: "composed" or "axiswise".
        anchor: "start" or "centre".
        linear: True for a linear part that is not the identity, or changes.
        sparse: True compares the images at every second voxel along each axis, at others in every step: a cheap
            estimate of the same loss, for a similarity that can go by them.

    Call arguments:
        displacement: `(1, i', j', k', 3)`, of the control points, voxels.
        change: `(1, 3, 4)`, see `linear`.
        pair: Dictionary: `fixed` and `fixed_weights`, `(1, i, j, k, 1)` in [0, 1] on the network grid without its
            leading margin; `moving` and `moving_weights`, the same on the network grid with its margin; `linear`,
            `(1, 3, 4)`, the matrix about the network grid's centre, in voxels; `smoothness`, a scalar of at least 0.
        number: Of the step, from 1 on.

    Returns:
        The loss, a scalar.

    Reference:
        Christodoulidis et al. 2018, section 2.1, optimised for one pair.
    """

    def __init__(
        self,
        leading_margin: Sequence[int] = (0, 0, 0),
        *,
        similarity: str = "lncc",
        window: int = 7,
        stride: int = 2,
        integration: str = "composed",
        anchor: str = "start",
        linear: bool = False,
        sparse: bool = False,
    ) -> None:
        self.leading_margin = tuple(leading_margin)
        self.similarity, self.turns = build_similarity(similarity, window), 1
        of_every_second = self.similarity.on_every_second_voxel() if sparse else None
        if of_every_second is not None:
            self.similarity, self.turns = of_every_second, len(TURNS)
        self.stride = stride
        self.anchor = anchor
        self.moves_linear = linear
        self.composes = integration == "composed"
        self.integration = INTEGRATIONS[integration](anchor)

    def __call__(
        self, displacement: Tensor, change: Tensor, pair: dict[str, Tensor], number: Tensor | float = 1
    ) -> Tensor:
        fixed, warped, counts = self.compared(displacement, change, pair, number)
        roughness = displacement_roughness(self.centred_displacement(displacement), step=self.stride)
        return ops.sum(self.similarity.compare(fixed, warped, counts)) + pair["smoothness"] * ops.sum(roughness)

    def compared(
        self, displacement: Tensor, change: Tensor, pair: dict[str, Tensor], number: Tensor | float = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The fixed image, the moving image on it, and how much each voxel counts, where they are compared."""
        planes = self._planes(pair, number)
        grid = self.grid(displacement, change, pair, planes)
        fixed, weights = pair["fixed"], pair["fixed_weights"]
        if self.turns > 1:
            fixed, weights = (_on_planes(image, planes) for image in (fixed, weights))
        warped = sample_trilinear(pair["moving"], grid, constant=True)
        # Weights are data: leaving the moving image must not look like an improvement.
        seen = sample_trilinear(pair["moving_weights"], ops.stop_gradient(grid))
        return fixed, warped, ops.stop_gradient(weights * seen)

    def shape(self, pair: dict[str, Tensor]) -> list[Any]:
        """The network grid's three sizes, integers or scalar tensors."""
        return [n + before for n, before in zip(spatial_shape(pair["fixed"]), self.leading_margin, strict=True)]

    def linear(self, change: Tensor, pair: dict[str, Tensor]) -> Tensor:
        """The matrix `(1, 3, 4)` after a change, a unit of which moves corners about as far as one of displacement."""
        total = ops.cast(sum(self.shape(pair)), "float32")
        return pair["linear"] + ops.concatenate([change[..., :3] * (4.0 / total), change[..., 3:]], axis=-1)

    def grid(self, displacement: Tensor, change: Tensor, pair: dict[str, Tensor], planes: Sequence[Tensor]) -> Tensor:
        """Where voxels of the fixed image lie in the moving image.

        Args:
            displacement, change, pair: As for a call.
            planes: Three tensors of indices, the planes of the fixed image along each axis where its voxels lie.

        Returns:
            `(1, i, j, k, 3)` voxel coordinates.
        """
        shape = self.shape(pair)
        logits = logits_from_displacement(displacement, self.stride)
        planes = [index + before for index, before in zip(planes, self.leading_margin, strict=True)]
        points = voxel_centres(planes)
        if self.composes and not self.moves_linear:
            grid = composed_at_voxels(displacements_on_planes(logits, shape, self.stride, self.anchor, planes), points)
        else:
            gradients = gradients_from_logits(logits, ops.zeros((1, *shape, 1), "float32"), self.stride)
            if self.moves_linear:
                points = points + linear_displacement(self.linear(change, pair), points, shape)
            grid = self.integration(gradients, points)
        margin = [(wide - n) // 2 for wide, n in zip(spatial_shape(pair["moving"]), shape, strict=True)]
        return grid + ops.stack([ops.cast(n, "float32") for n in margin])

    def centred_displacement(self, displacement: Tensor) -> Tensor:
        """The control points' displacements, without the part of each line that the anchor takes away."""
        components = ops.split(displacement, 3, axis=-1)
        return ops.concatenate([anchored(c, d, self.anchor) for d, c in enumerate(components)], axis=-1)

    def _planes(self, pair, number):
        """The planes of the fixed image along each axis at whose voxels the images are compared in a step."""
        sizes = spatial_shape(pair["fixed"])
        if self.turns == 1:
            return [ops.arange(size) for size in sizes]
        turn = ops.take(TURNS, (ops.cast(number, "int32") - 1) % len(TURNS), axis=0)
        return [ops.minimum(2 * ops.arange((n + 1) // 2) + turn[d], n - 1) for d, n in enumerate(sizes)]


def _on_planes(image, planes):
    """The voxels of `(1, i, j, k, 1)` where planes meet."""
    for axis, index in enumerate(planes):
        image = ops.take(image, index, axis=axis + 1)
    return image
