"""A Keras model whose weights are one pair's transform."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfreg.layers.gradient_head import GradientHead
from tfreg.losses.regularisers import displacement_roughness
from tfreg.losses.similarities import build_similarity
from tfreg.models.registration_network import INTEGRATIONS
from tfreg.ops.acceleration import chosen_paths, compiles_models, compiling, keeping_graphs
from tfreg.ops.control_points import logits_from_displacement
from tfreg.ops.grids import identity_grid, linear_displacement
from tfreg.ops.integration import anchored
from tfreg.ops.trilinear_sampling import sample_trilinear
from tfreg.refinement.compiled_models import CompiledModels
from tfreg.refinement.field_adam import FieldAdam


class DeformableRefinement(keras.Model):
    """Registers the one pair that it is given: its loss falls as its weights, a deformation, fit the pair.

    The weights are the displacements of control points, and a change of the linear part where asked for. The
    loss, added in `call`, is the similarity of the fixed and the warped image plus `smoothness` times
    the mean squared slope of the control points' displacements.

    Args:
        shape: Three sizes of the network grid.
        leading_margin: Three numbers of voxels, by which the network grid begins before the fixed image.
        margin: Three numbers of voxels, by which the moving image surrounds the network grid.
        similarity: What `build_similarity` takes.
        window: Side of its window in voxels.
        smoothness: Weight of at least 0.
        stride: Voxels per control point.
        integration: "composed" or "axiswise".
        anchor: "start" or "centre".
        linear: True refines the linear part too.

    Call arguments:
        pair: Dictionary: `fixed` and `fixed_weights`, `(1, i, j, k, 1)` in [0, 1] on the network grid without its
            leading margin; `moving` and `moving_weights`, the same on the network grid with its margin; `linear`,
            `(1, 3, 4)`, the matrix about the network grid's centre, in voxels.

    Returns:
        Dictionary: `warped` `(1, i, j, k, 1)`, the moving image on the fixed one; `similarity` `(1,)`;
        `linear` `(1, 3, 4)`, the matrix after the change.

    Reference:
        Christodoulidis et al. 2018, section 2.1, optimised for one pair.
    """

    def __init__(
        self,
        shape: Sequence[int],
        leading_margin: Sequence[int],
        margin: Sequence[int],
        *,
        similarity: str = "lncc",
        window: int = 7,
        smoothness: float = 0.2,
        stride: int = 2,
        integration: str = "composed",
        anchor: str = "start",
        linear: bool = False,
    ) -> None:
        super().__init__(dtype="float32")
        self.shape = tuple(shape)
        self.leading_margin = tuple(leading_margin)
        self.margin = tuple(margin)
        self.similarity = build_similarity(similarity, window)
        self.smoothness = smoothness
        self.stride = stride
        self.anchor = anchor
        self.moves_linear = linear
        self.head = GradientHead(stride)
        self.integration = INTEGRATIONS[integration](anchor)
        self.displacement = self.add_weight(
            shape=(1, *(-(-n // stride) for n in self.shape), 3),
            initializer="zeros",
            dtype="float32",
            name="displacement",
        )
        # In units that move the volume's corners by about as much as a unit of displacement does.
        self.linear_scale = 4.0 / sum(self.shape)
        self.linear_change = self.add_weight(
            shape=(1, 3, 4), initializer="zeros", trainable=linear, dtype="float32", name="linear_change"
        )
        self.built = True  # all weights are here: Keras need not trace `call` to find some

    def call(self, pair: dict[str, Any]) -> dict[str, Any]:
        with compiling(math.prod(self.shape)):
            linear = self.linear(pair["linear"])
            grid = self.grid(linear)
            warped = sample_trilinear(pair["moving"], grid, constant=True)
            # Weights are data: leaving the moving image must not look like an improvement.
            seen = sample_trilinear(pair["moving_weights"], ops.stop_gradient(grid))
            similarity = self.similarity.compare(pair["fixed"], warped, ops.stop_gradient(pair["fixed_weights"] * seen))
            self.add_loss(ops.sum(similarity))
            if self.smoothness:
                displacement = self.centred_displacement()
                self.add_loss(self.smoothness * ops.sum(displacement_roughness(displacement, step=self.stride)))
            return {"warped": warped, "similarity": similarity, "linear": linear}

    def train_step(self, *arguments: Any) -> Any:
        """Keras' step, on TensorFlow with gradients that are summed in one order.

        Where a value is used thrice a tape adds three gradients at once, into the first of them that nothing else
        needs any more: which one that is depends on the threads, and with it the sum's last bits, which many steps
        make tenths of a millimetre. Two at a time are the same in any order.
        """
        if keras.backend.backend() != "tensorflow":
            return super().train_step(*arguments)
        import tensorflow as tf

        ((pair, *_),) = arguments
        loss = self.compute_loss(x=pair, y_pred=self(pair))
        two_by_two = tf.AggregationMethod.EXPERIMENTAL_TREE
        variables = [variable.value for variable in self.trainable_variables]
        gradients = tf.gradients(loss, variables, aggregation_method=two_by_two)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}

    def linear(self, start: Any) -> Any:
        """The matrix `(1, 3, 4)` after the change made so far."""
        change = ops.convert_to_tensor(self.linear_change)
        return start + ops.concatenate([change[..., :3] * self.linear_scale, change[..., 3:]], axis=-1)

    def grid(self, linear: Any) -> Any:
        """Where the fixed image's voxels lie in the moving image, `(1, i, j, k, 3)` voxel coordinates."""
        logits = logits_from_displacement(ops.convert_to_tensor(self.displacement), self.stride)
        gradients = self.head(logits, ops.zeros((1, *self.shape, 1), "float32"))
        if self.moves_linear:
            points = identity_grid(self.shape)[self._after_leading_margin()]
            points = points + linear_displacement(linear, points, self.shape)
            grid = self.integration(gradients, points)
        elif any(self.leading_margin):
            grid = self.integration(gradients, start=self.leading_margin)
        else:
            grid = self.integration(gradients)
        return grid + ops.convert_to_tensor([float(r) for r in self.margin], "float32")

    def centred_displacement(self) -> Any:
        """The control points' displacements, without the part of each line that the anchor takes away."""
        components = ops.split(self.displacement + 0.0, 3, axis=-1)  # of a tensor, which compiled functions take
        return ops.concatenate([anchored(c, d, self.anchor) for d, c in enumerate(components)], axis=-1)

    def blank_pair(self) -> dict[str, np.ndarray]:
        """A pair without any structure, of the sizes that the model takes."""
        fixed = [n - before for n, before in zip(self.shape, self.leading_margin, strict=True)]
        moving = [n + 2 * around for n, around in zip(self.shape, self.margin, strict=True)]
        images = {"fixed": fixed, "fixed_weights": fixed, "moving": moving, "moving_weights": moving}
        blank = {name: np.ones((1, *sizes, 1), np.float32) for name, sizes in images.items()}
        return blank | {"linear": np.eye(3, 4, dtype=np.float32)[None]}

    def compile_ahead(self) -> None:
        """Takes a step on a blank pair, for which the model is traced and compiled."""
        with keeping_graphs():
            self.train_on_batch(self.blank_pair())

    def _after_leading_margin(self):
        return (slice(None), *(slice(n, None) for n in self.leading_margin))


def compiled_refinement(
    shape: Sequence[int], leading_margin: Sequence[int], margin: Sequence[int], **options: Any
) -> DeformableRefinement:
    """A `DeformableRefinement` that can be trained; takes what that takes."""
    model = DeformableRefinement(shape, leading_margin, margin, **options)
    model.compile(FieldAdam(), jit_compile=compiles_models())
    model.optimizer.build(model.trainable_variables)
    return model


# Those of all pairs, by what `compiled_refinement` takes, all of it hashable.
refinement_models = CompiledModels(compiled_refinement, chosen_paths)
