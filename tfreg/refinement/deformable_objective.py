"""What the levels of the deformation minimise: how little two images resemble each other under control points."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from tfreg.losses.regularisers import displacement_roughness
from tfreg.losses.similarities import build_similarity
from tfreg.models.registration_network import INTEGRATIONS
from tfreg.ops.control_points import logits_from_displacement
from tfreg.ops.gradients import gradients_from_logits
from tfreg.ops.grids import identity_grid, linear_displacement, spatial_shape
from tfreg.ops.integration import anchored
from tfreg.ops.tensor import Tensor
from tfreg.ops.trilinear_sampling import sample_trilinear


class DeformableObjective:
    """The loss of one pair as a function of its control points' displacements, and of a change of its linear part.

    The similarity of the fixed and the warped image plus `smoothness` times the mean squared slope of the control
    points' displacements. The network grid begins by the leading margin before the fixed image; the moving image
    surrounds it by a margin, the same on both sides of an axis. Sizes may be unknown until it is called.

    Args:
        leading_margin: Three numbers of voxels.
        similarity: What `build_similarity` takes.
        window: Side of its window in voxels.
        smoothness: Weight of at least 0.
        stride: Voxels per control point.
        integration: "composed" or "axiswise".
        anchor: "start" or "centre".
        linear: True for a linear part that is not the identity, or changes.

    Call arguments:
        displacement: `(1, i', j', k', 3)`, of the control points, voxels.
        change: `(1, 3, 4)`, see `linear`.
        pair: Dictionary: `fixed` and `fixed_weights`, `(1, i, j, k, 1)` in [0, 1] on the network grid without its
            leading margin; `moving` and `moving_weights`, the same on the network grid with its margin; `linear`,
            `(1, 3, 4)`, the matrix about the network grid's centre, in voxels.

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
        smoothness: float = 0.2,
        stride: int = 2,
        integration: str = "composed",
        anchor: str = "start",
        linear: bool = False,
    ) -> None:
        self.leading_margin = tuple(leading_margin)
        self.similarity = build_similarity(similarity, window)
        self.smoothness = smoothness
        self.stride = stride
        self.anchor = anchor
        self.moves_linear = linear
        self.integration = INTEGRATIONS[integration](anchor)

    def __call__(self, displacement: Tensor, change: Tensor, pair: dict[str, Tensor]) -> Tensor:
        warped, counts = self.warped(displacement, change, pair)
        loss = ops.sum(self.similarity.compare(pair["fixed"], warped, counts))
        if self.smoothness:
            displacement = self.centred_displacement(displacement)
            loss = loss + self.smoothness * ops.sum(displacement_roughness(displacement, step=self.stride))
        return loss

    def warped(self, displacement: Tensor, change: Tensor, pair: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The moving image on the fixed one, and how much each voxel counts, both `(1, i, j, k, 1)`."""
        grid = self.grid(displacement, change, pair)
        warped = sample_trilinear(pair["moving"], grid, constant=True)
        # Weights are data: leaving the moving image must not look like an improvement.
        seen = sample_trilinear(pair["moving_weights"], ops.stop_gradient(grid))
        return warped, ops.stop_gradient(pair["fixed_weights"] * seen)

    def shape(self, pair: dict[str, Tensor]) -> list[Any]:
        """The network grid's three sizes, integers or scalar tensors."""
        return [n + before for n, before in zip(spatial_shape(pair["fixed"]), self.leading_margin, strict=True)]

    def linear(self, change: Tensor, pair: dict[str, Tensor]) -> Tensor:
        """The matrix `(1, 3, 4)` after a change, a unit of which moves corners about as far as one of displacement."""
        total = ops.cast(sum(self.shape(pair)), "float32")
        return pair["linear"] + ops.concatenate([change[..., :3] * (4.0 / total), change[..., 3:]], axis=-1)

    def grid(self, displacement: Tensor, change: Tensor, pair: dict[str, Tensor]) -> Tensor:
        """Where the fixed image's voxels lie in the moving image, `(1, i, j, k, 3)` voxel coordinates."""
        shape = self.shape(pair)
        logits = logits_from_displacement(displacement, self.stride)
        gradients = gradients_from_logits(logits, ops.zeros((1, *shape, 1), "float32"), self.stride)
        if self.moves_linear:
            inside = (slice(None), *(slice(n, None) for n in self.leading_margin))
            points = identity_grid(shape)[inside]
            points = points + linear_displacement(self.linear(change, pair), points, shape)
            grid = self.integration(gradients, points)
        elif any(self.leading_margin):
            grid = self.integration(gradients, start=self.leading_margin)
        else:
            grid = self.integration(gradients)
        margin = [(wide - n) // 2 for wide, n in zip(spatial_shape(pair["moving"]), shape, strict=True)]
        return grid + ops.stack([ops.cast(n, "float32") for n in margin])

    def centred_displacement(self, displacement: Tensor) -> Tensor:
        """The control points' displacements, without the part of each line that the anchor takes away."""
        components = ops.split(displacement, 3, axis=-1)
        return ops.concatenate([anchored(c, d, self.anchor) for d, c in enumerate(components)], axis=-1)
