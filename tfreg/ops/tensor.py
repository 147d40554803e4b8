"""The types of tensors and of their shapes."""

from typing import Any, TypeAlias

# Of Keras' backend, symbolic while a model is built, or a NumPy array.
Tensor: TypeAlias = Any

# Integers, and None for sizes that are not fixed.
Shape: TypeAlias = tuple[Any, ...]
