"""Functions of tensors with their gradients, each traced and compiled as a whole."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfreg.ops.tensor import Tensor


def value_and_gradients(function: Callable[..., Tensor], variables: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """A scalar function's value and its gradients, on TensorFlow inside a `whole_function` alone.

    Where a value is used thrice TensorFlow's tape adds three gradients at once, into the first of them that nothing
    else needs any more: which one that is depends on the threads, and with it the sum's last bits, which many steps
    make tenths of a millimetre. Two at a time are the same in any order.

    Args:
        function: Takes the variables.
        variables: Tensors.

    Returns:
        The value, and a list of gradients, one a variable.
    """
    variables = list(variables)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        value = function(*variables)
        two_by_two = tf.AggregationMethod.EXPERIMENTAL_TREE
        return value, tf.gradients(value, variables, aggregation_method=two_by_two)
    if keras.backend.backend() == "jax":
        import jax

        return jax.value_and_grad(lambda given: function(*given))(variables)
    import torch

    leaves = [variable.detach().requires_grad_() for variable in variables]
    value = function(*leaves)
    return value.detach(), list(torch.autograd.grad(value, leaves))


def whole_function(function: Callable[..., Any], example: Sequence[Any], fixed: bool) -> Callable[..., Any]:
    """A function that the backend traces as a whole; PyTorch runs it as it is.

    Args:
        function: Takes nests of tensors by position.
        example: Such arguments.
        fixed: False lets the spatial sizes of `(batch, i, j, k, channels)` be others than the example's, which
            TensorFlow need not trace anew; JAX traces and compiles every size.

    Returns:
        A function with the same signature.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    def specification(value):
        shape = list(value.shape)
        if len(shape) == 5 and not fixed:
            shape[1:4] = None, None, None
        return tf.TensorSpec(shape, value.dtype)

    signature = tf.nest.map_structure(specification, tuple(example))
    return tf.function(function, input_signature=signature, autograph=False)
