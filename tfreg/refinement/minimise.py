"""Gradient descent on a model whose loss is one pair's."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tfreg.ops.acceleration import keeping_graphs

# The mean loss of this many steps is compared with that of as many before.
WINDOW = 5


@keeping_graphs()
def minimise(
    model: keras.Model,
    pair: dict[str, Any],
    steps: int,
    learning_rate: float,
    tolerance: float = 0.0,
    progress: Callable[[int], object] | None = None,
) -> list[float]:
    """Takes optimiser steps on one pair until they no longer help.

    The learning rate falls to zero over the second half of the steps. Where the steps made it no better the model's
    weights are those of the beginning: steps of one length move what lies right already, too.

    Args:
        model: A compiled model whose loss needs no target.
        pair: What the model is called with.
        steps: Most steps to take.
        learning_rate: In the units of the model's weights.
        tolerance: Stops when the mean loss of the last five steps lies less than this below that of the five
            before; 0 takes all steps.
        progress: Called with 1 after every step, or None.

    Returns:
        A list of the loss before each step taken.

    Raises:
        FloatingPointError: If the loss is not finite.
    """
    optimizer = model.optimizer
    for variable in optimizer.variables:
        variable.assign(ops.zeros(variable.shape, variable.dtype))
    start = [ops.copy(variable.value) for variable in model.trainable_variables]
    losses = []
    for step in range(steps):
        optimizer.learning_rate = learning_rate * min(1.0, 2.0 * (steps - step) / steps)
        model.reset_metrics()
        losses.append(float(model.train_on_batch(pair)))
        if not losses[-1] < float("inf"):
            raise FloatingPointError("the similarity is not finite")
        if progress is not None:
            progress(1)
        recent, earlier = losses[-WINDOW:], losses[-2 * WINDOW : -WINDOW]
        if tolerance and len(earlier) == WINDOW and sum(earlier) - sum(recent) < tolerance * WINDOW:
            break
    if losses[-1] >= losses[0]:
        for variable, value in zip(model.trainable_variables, start, strict=True):
            variable.assign(value)
    return losses
