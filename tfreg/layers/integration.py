"""From spatial gradients to displacements: the part that both integration layers share."""

from typing import Any

import keras
from keras import ops

from tfreg.ops.integration import ANCHORS, integrated_displacement
from tfreg.ops.tensor import Shape, Tensor


class Integration(keras.layers.Layer):
    """What the integration layers have in common: arguments, checks and shapes.

    Args:
        anchor: "centre" or "start", where each line keeps its place.

    Raises:
        ValueError: If the anchor is unknown or the gradients have not three components.
    """

    def __init__(self, anchor: str = "centre", **kwargs: Any) -> None:
        if anchor not in ANCHORS:
            raise ValueError(f"`anchor` must be one of {ANCHORS}. Received: anchor={anchor!r}")
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.anchor = anchor

    def build(self, gradients_shape: Shape, points_shape: Shape | None = None) -> None:
        if gradients_shape[-1] != 3:
            raise ValueError(
                f"`gradients` must have 3 components on its last axis. Received: gradients.shape={gradients_shape}"
            )
        super().build(gradients_shape)

    def displacements(self, gradients: Tensor) -> list[Tensor]:
        """Three `(batch, i, j, k, 1)` displacements in voxels, one a component."""
        components = ops.split(gradients, 3, axis=-1)
        return [integrated_displacement(component - 1.0, d, self.anchor) for d, component in enumerate(components)]

    def compute_output_shape(self, gradients_shape: Shape, points_shape: Shape | None = None) -> Shape:
        return (gradients_shape[0], *(points_shape or gradients_shape)[1:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "anchor": self.anchor}
