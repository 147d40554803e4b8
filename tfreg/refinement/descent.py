"""Gradient descent on one pair's loss, by steps that are traced once for pairs of all sizes."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tfreg.ops.acceleration import chosen_paths, compiling, keeping_graphs, knows_sizes
from tfreg.ops.differentiation import value_and_gradients, whole_function
from tfreg.ops.tensor import Tensor
from tfreg.refinement.compiled_functions import CompiledFunctions
from tfreg.refinement.deformable_objective import DeformableObjective
from tfreg.refinement.field_adam import FieldAdam
from tfreg.transforms.voxel_map import control_shape

# The mean loss of this many steps is compared with that of as many before.
WINDOW = 5


class Sizes(NamedTuple):
    """The sizes of a pair's volumes: the network grid's, and the margin by which the moving image surrounds it."""

    shape: tuple[int, int, int]
    margin: tuple[int, int, int]


class State(NamedTuple):
    """Where a descent is, and what the optimiser remembers of its gradients.

    Args:
        variables: Displacements of control points, and change of the linear part.
        means: Of their gradients.
        squares: Means of their gradients' squared lengths.
    """

    variables: tuple[Tensor, Tensor]
    means: tuple[Tensor, Tensor]
    squares: tuple[Tensor, Tensor]

    @classmethod
    def at(cls, displacement: Any, change: Any) -> "State":
        """The beginning of a descent.

        Args:
            displacement: `(1, i', j', k', 3)`, voxels.
            change: `(1, 3, 4)`.
        """
        variables = tuple(ops.convert_to_tensor(variable, "float32") for variable in (displacement, change))
        squares = (ops.zeros((*variable.shape[:-1], 1), "float32") for variable in variables)
        return cls(variables, tuple(map(ops.zeros_like, variables)), tuple(squares))


class Step:
    """One step down the loss of any pair; as a function without a memory, which threads may share.

    Args:
        leading_margin: What `DeformableObjective` takes.
        sizes: `Sizes` of the only pairs that it is for, or None for pairs of all sizes.
        options: What else `DeformableObjective` takes.
    """

    def __init__(self, leading_margin: Sequence[int], sizes: Sizes | None = None, **options: Any) -> None:
        self.objective = DeformableObjective(leading_margin, **options)
        self.rule = FieldAdam()
        self._sizes = sizes
        self._compiled = whole_function(self._step, self._blank(), fixed=sizes is not None)

    def __call__(self, state: State, pair: dict[str, Tensor], rate: float, number: int) -> tuple[Tensor, State]:
        """Loss before, and state after a step.

        Args:
            state: A `State`.
            pair: What a `DeformableObjective` is called with.
            rate: Length of the step in the variables' units.
            number: 1 for the first step.
        """
        return self._compiled(state, pair, np.float32(rate), np.float32(number))

    def compile_ahead(self) -> None:
        """Takes a step on a blank pair, for which the function is traced and compiled."""
        with keeping_graphs():
            self(*self._blank())

    def _step(self, state, pair, rate, number):
        count = 2 if self.objective.moves_linear else 1
        moving, still = state.variables[:count], state.variables[count:]

        def objective(*changed):
            with compiling(math.prod(self._sizes.shape) if self._sizes else 0):
                return self.objective(*changed, *still, pair, number)

        # What gathers gradients gains from XLA for volumes of any size, once that is known.
        with compiling(np.inf if self._sizes else 0):
            loss, gradients = value_and_gradients(objective, moving)
        moved = [
            self.rule(*variable, rate, number)
            for variable in zip(gradients, moving, state.means, state.squares, strict=False)
        ]
        parts = zip(zip(*moved, strict=True), state, strict=True)
        return loss, State(*(tuple(new) + old[count:] for new, old in parts))

    def _blank(self):
        """Arguments without any structure, of the sizes that the step is for."""
        shape, margin = self._sizes or (tuple(8 + n for n in self.objective.leading_margin), (1, 1, 1))
        fixed = [n - before for n, before in zip(shape, self.objective.leading_margin, strict=True)]
        moving = [n + 2 * around for n, around in zip(shape, margin, strict=True)]
        images = {"fixed": fixed, "fixed_weights": fixed, "moving": moving, "moving_weights": moving}
        pair = {name: ops.ones((1, *sizes, 1), "float32") for name, sizes in images.items()}
        pair |= {"linear": ops.eye(3, 4, dtype="float32")[None], "smoothness": ops.ones((), "float32")}
        displacement = np.zeros((1, *control_shape(shape, self.objective.stride), 3))
        return State.at(displacement, np.zeros((1, 3, 4))), pair, np.float32(0), np.float32(1)


def sizes_to_know(shape: Sequence[int], margin: Sequence[int]) -> Sizes | None:
    """The `Sizes` that a `Step` must be built for, or None where one for all sizes will do."""
    return Sizes(tuple(shape), tuple(margin)) if knows_sizes(math.prod(shape)) else None


# Those of all pairs, by what `Step` takes, all of it hashable.
refinement_steps = CompiledFunctions(Step, chosen_paths)


@keeping_graphs()
def minimise(
    step: Step,
    state: State,
    pair: dict[str, Any],
    steps: int,
    learning_rate: float,
    tolerance: float = 0.0,
    progress: Callable[[int], object] | None = None,
) -> tuple[tuple[Tensor, Tensor], list[float]]:
    """Takes steps on one pair until they no longer help.

    The learning rate falls to zero over the second half of the steps. Where the steps made it no better the result is
    the beginning: steps of one length move what lies right already, too. Losses that are of other voxels in every step
    are compared over whole turns.

    Args:
        step: For pairs of these sizes.
        state: The `State` to begin from.
        pair: What the step is called with.
        steps: Most steps to take.
        learning_rate: In the units of the variables.
        tolerance: Stops when the mean loss of the last steps, five or a turn, lies less than this below that of as many
            before; 0 takes all steps.
        progress: Called with 1 after every step, or None.

    Returns:
        The variables, and a list of the loss before each step taken.

    Raises:
        FloatingPointError: If the loss is not finite.
    """
    pair = {name: ops.convert_to_tensor(value, "float32") for name, value in pair.items()}
    start, losses, turns = state, [], step.objective.turns
    window = max(WINDOW, turns)
    for number in range(steps):
        loss, state = step(state, pair, learning_rate * min(1.0, 2.0 * (steps - number) / steps), number + 1)
        losses.append(float(loss))
        if not losses[-1] < float("inf"):
            raise FloatingPointError("the similarity is not finite")
        if progress is not None:
            progress(1)
        recent, earlier = losses[-window:], losses[-2 * window : -window]
        if tolerance and len(earlier) == window and sum(earlier) - sum(recent) < tolerance * window:
            break
    first = losses[0]
    if (len(losses) - 1) % turns:
        first = float(step(start, pair, 0.0, len(losses))[0])
    return (start if losses[-1] >= first else state).variables, losses
