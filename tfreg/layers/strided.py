"""What layers between a network's voxels and those of its trunk have in common."""

from typing import Any

import keras


class Strided(keras.layers.Layer):
    """A layer with a stride.

    Args:
        stride: Voxels per trunk voxel along each axis.

    Raises:
        ValueError: If the stride is not a positive integer.
    """

    def __init__(self, stride: int = 2, **kwargs: Any) -> None:
        if not isinstance(stride, int) or stride < 1:
            raise ValueError(f"`stride` must be a positive integer. Received: stride={stride!r}")
        super().__init__(**kwargs)
        self.stride = stride

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stride": self.stride}
