"""Random numbers as tensors, one set a pair, that depend on a seed alone."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from tfreg.ops.tensor import Tensor

POOLS, POOL = ("uniform", "normal"), 512  # numbers a pair that are drawn at once


class Draws:
    """Draws of a batch, in their order: the same seed gives the same, on one backend.

    Args:
        batch: Pairs a batch.
        generator: A `keras.random.SeedGenerator`, whose state says which draws they are.
    """

    def __init__(self, batch: int, generator: keras.random.SeedGenerator) -> None:
        self.batch = batch
        self.generator = generator
        # Small draws are cut from one of these: a program of a hundred draws would be compiled for minutes.
        self._drawn = {name: (getattr(keras.random, name)((batch, POOL), seed=generator), 0) for name in POOLS}

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers `(batch, *shape)`."""
        return self._numbers("normal", shape)

    def uniform(self, *shape: int, between: Sequence[float] = (0.0, 1.0)) -> Tensor:
        """Uniform numbers `(batch, *shape)` between two limits."""
        low, high = between
        return low + (high - low) * self._numbers("uniform", shape)

    def _numbers(self, name, shape):
        pool, start = self._drawn[name]
        end = start + math.prod(shape)
        if end > POOL:
            return getattr(keras.random, name)((self.batch, *shape), seed=self.generator)
        self._drawn[name] = pool, end
        return ops.reshape(pool[:, start:end], (self.batch, *shape))

    def chance(self, share: float, *shape: int) -> Tensor:
        """One with a probability, else zero, `(batch, *shape)` float32."""
        return ops.cast(self.uniform(*shape) < share, "float32")

    def choice(self, count: int, *shape: int) -> Tensor:
        """Whole numbers from zero on, below a count, `(batch, *shape)` int32."""
        return ops.minimum(ops.cast(self.uniform(*shape, between=(0.0, count)), "int32"), count - 1)


def per_pair(values: Tensor) -> Tensor:
    """Numbers `(batch,)` as `(batch, 1, 1, 1, 1)`, or `(batch, channels)` as `(batch, 1, 1, 1, channels)`."""
    shape = ops.shape(values)
    return ops.reshape(values, (shape[0], 1, 1, 1, shape[1] if len(shape) > 1 else 1))
