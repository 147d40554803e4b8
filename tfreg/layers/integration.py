"""From spatial gradients to displacements: the part that both integrations share."""

import keras
import numpy as np
from keras import ops

from tfreg.ops.grids import spatial_shape
from tfreg.ops.line_products import along_lines, multiplies_lines

ANCHORS = ("centre", "start")


def integrated_displacement(gradient, axis, anchor):
    """Running sum of one component of the gradients, minus one, along its own axis.

    Summing the gradients minus one, rather than the gradients, keeps the identity exact in float32 and
    gives the displacement: grid = index + displacement.

    Args:
        gradient: `(batch, i, j, k, 1)`, the component, in (0, 2), voxels per voxel.
        axis: 0, 1 or 2, the component's spatial axis.
        anchor: See `anchored`.

    Returns:
        `(batch, i, j, k, 1)` float32, voxels.
    """
    return anchored(running_sum(gradient - 1.0, axis), axis, anchor)


def running_sum(volume, axis):
    """The cumulative sum along a spatial axis.

    Args:
        volume: `(batch, i, j, k, 1)`.
        axis: 0, 1 or 2.

    Returns:
        `(batch, i, j, k, 1)`.
    """
    if not multiplies_lines(volume):
        return ops.cumsum(volume, axis=axis + 1)
    size = volume.shape[axis + 1]
    return along_lines(np.tri(size), volume, axis)


def anchored(displacement, axis, anchor):
    """A displacement component without what the anchor takes from each line along its own axis.

    Args:
        displacement: `(batch, i, j, k, 1)`.
        axis: 0, 1 or 2, the component's spatial axis.
        anchor: "start" takes nothing; "centre" what the middle of the line has, at (n-1)/2, the mean of the two
            middle samples when n is even.

    Returns:
        `(batch, i, j, k, 1)`.
    """
    if anchor == "start":
        return displacement
    size = spatial_shape(displacement)[axis]
    low = ops.take(displacement, ops.expand_dims((size - 1) // 2, 0), axis=axis + 1)
    high = ops.take(displacement, ops.expand_dims(size // 2, 0), axis=axis + 1)
    return displacement - 0.5 * (low + high)


class Integration(keras.layers.Layer):
    """What the integration layers have in common: arguments, checks and shapes.

    Args:
        anchor: "centre" or "start", where each line keeps its place.

    Raises:
        ValueError: If the anchor is unknown or the gradients have not three components.
    """

    def __init__(self, anchor="centre", **kwargs):
        if anchor not in ANCHORS:
            raise ValueError(f"`anchor` must be one of {ANCHORS}. Received: anchor={anchor!r}")
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.anchor = anchor

    def build(self, gradients_shape, points_shape=None):
        if gradients_shape[-1] != 3:
            raise ValueError(
                f"`gradients` must have 3 components on its last axis. Received: gradients.shape={gradients_shape}"
            )
        super().build(gradients_shape)

    def displacements(self, gradients):
        """Three `(batch, i, j, k, 1)` displacements in voxels, one a component."""
        components = ops.split(gradients, 3, axis=-1)
        return [integrated_displacement(component, d, self.anchor) for d, component in enumerate(components)]

    def compute_output_shape(self, gradients_shape, points_shape=None):
        return (gradients_shape[0], *(points_shape or gradients_shape)[1:])

    def get_config(self):
        return {**super().get_config(), "anchor": self.anchor}
