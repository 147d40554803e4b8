"""A Keras model whose weights are linear transforms of one pair, from several starts at once."""

import math

import keras
from keras import ops

from tfreg.layers.acceleration import compiles_models, compiling
from tfreg.layers.grids import identity_grid, linear_displacement
from tfreg.layers.trilinear_sampler import sample_trilinear
from tfreg.losses.similarities import build_similarity
from tfreg.models.compiled_models import CompiledModels


class LinearRefinement(keras.Model):
    """Registers one pair rigidly or with all twelve parameters, from each start on its own.

    The loss, added in `call`, is the sum of the starts' dissimilarities.

    Args:
        shape: Three sizes of the fixed image.
        reach: Voxels by which the moving image surrounds the fixed one at every end.
        starts: How many starts.
        rigid: True for rotations and translations, False for all linear maps.
        similarity: What `build_similarity` takes.
        window: Side of its window in voxels.

    Call arguments:
        pair: Dictionary: `fixed`, `(1, i, j, k, 2)`, image and what is left out of it, both in [0, 1]; `moving`,
            the same with its reach; `start`, `(starts, 3, 4)`, matrices about the fixed image's centre, in
            voxels.

    Returns:
        Dictionary: `dissimilarity` `(starts,)`; `linear` `(starts, 3, 4)`.
    """

    def __init__(self, shape, reach, *, starts=1, rigid=False, similarity="lncc", window=5):
        super().__init__(dtype="float32")
        self.shape = tuple(shape)
        self.reach = reach
        self.rigid = rigid
        self.similarity = build_similarity(similarity, window)
        # A change of one moves voxels half-way to the border by one voxel.
        self.scale = 12.0 / sum(self.shape)
        self.change = self.add_weight(
            shape=(starts, 6 if rigid else 12), initializer="zeros", dtype="float32", name="change"
        )
        self.built = True  # all weights are here: Keras need not trace `call` to find some

    def call(self, pair):
        with compiling(self.change.shape[0] * math.prod(self.shape)):
            linear = self.linear(pair["start"])
            starts = self.change.shape[0]
            identity = identity_grid(self.shape)
            points = identity + linear_displacement(linear, identity, self.shape) + float(self.reach)
            # The starts are laid side by side along the first axis: they all read the same moving image.
            points = ops.reshape(points, (1, starts * self.shape[0], *self.shape[1:], 3))
            warped = sample_trilinear(pair["moving"], points, border="zero", constant=True)
            warped = ops.reshape(warped, (starts, *self.shape, 2))
            fixed = ops.repeat(pair["fixed"], starts, axis=0)
            # Weights are data: hiding behind a mask must not look like an improvement.
            weights = (1.0 - fixed[..., 1:]) * (1.0 - ops.stop_gradient(warped[..., 1:]))
            dissimilarity = self.similarity.compare(fixed[..., :1], warped[..., :1], weights)
            self.add_loss(ops.sum(dissimilarity))
            return {"dissimilarity": dissimilarity, "linear": linear}

    def linear(self, start):
        """The matrices `(starts, 3, 4)` after the changes found so far."""
        change = ops.convert_to_tensor(self.change)
        if self.rigid:
            matrix, shift = rotation_matrix(change[:, :3] * self.scale), change[:, 3:]
        else:
            matrix = ops.eye(3, dtype="float32") + ops.reshape(change[:, :9], (-1, 3, 3)) * self.scale
            shift = change[:, 9:]
        shift = shift + ops.sum(matrix * ops.expand_dims(start[..., 3], 1), axis=-1)
        # Multiply-add, because a GPU may round matrix products.
        product = ops.sum(ops.expand_dims(matrix, -1) * ops.expand_dims(start[..., :3], 1), axis=2)
        return ops.concatenate([product, ops.expand_dims(shift, -1)], axis=-1)


def rotation_matrix(vector):
    """Rotations by the length of a vector, in radians, about its direction (Rodrigues' formula).

    Args:
        vector: `(batch, 3)`.

    Returns:
        `(batch, 3, 3)`. Exactly the identity, with its true gradient, at zero.
    """
    square = ops.sum(ops.square(vector), axis=-1)
    angle = ops.sqrt(ops.maximum(square, 1e-12))
    x, y, z = vector[:, 0], vector[:, 1], vector[:, 2]
    zero = ops.zeros_like(x)
    cross = ops.reshape(ops.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1), (-1, 3, 3))
    outer = ops.expand_dims(vector, -1) * ops.expand_dims(vector, -2)
    twice = outer - ops.reshape(square, (-1, 1, 1)) * ops.eye(3, dtype="float32")
    sine = ops.reshape(ops.sin(angle) / angle, (-1, 1, 1))
    cosine = ops.reshape(2.0 * ops.square(ops.sin(angle / 2.0) / angle), (-1, 1, 1))
    return ops.eye(3, dtype="float32") + sine * cross + cosine * twice


def _compiled(shape, reach, **options):
    model = LinearRefinement(shape, reach, **options)
    model.compile(keras.optimizers.Adam(beta_2=0.98), jit_compile=compiles_models())
    model.optimizer.build(model.trainable_variables)
    return model


# Takes what `LinearRefinement` takes, all of it hashable.
compiled_linear_refinement = CompiledModels(_compiled)
