"""The displacement head: predicted displacements made into a composition of three one-dimensional maps."""

from typing import Any

import keras
from keras import ops

from tfreg.layers.strided import Strided
from tfreg.ops.composition import composed
from tfreg.ops.limited_displacement import limited_displacement, values_and_slopes
from tfreg.ops.tensor import Shape, Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class ComposedDisplacement(Strided):
    """The map T_k ∘ T_j ∘ T_i of predicted displacements, with the logarithm of the error that is expected of it.

    The control values are up-sampled trilinearly, with half-pixel centres. T_d adds to coordinate d the trilinear
    interpolant, clamped outside the lattice, of u_d = S_d + mean(v_d - S_d), taken along each line of axis d: v_d is
    the predicted displacement and S_d the running sum of tanh(v_d[k] - v_d[k-1]). The gradient of T_d along d,
    1 + tanh, lies in (0, 2) as that of the gradient head: each T_d is strictly increasing in d at every point, and the
    continuous map is a homeomorphism whatever is predicted. Each line keeps the mean that was predicted for it: small
    slopes are reproduced, and a shift of everything costs nothing.

    Slopes are clipped to ±3.5 before tanh, as logits are to ±7, so that float32 sums never stall. The map is evaluated
    exactly at any point; its values at voxel centres must not be interpolated again.

    Args:
        stride: Voxels per control point along each axis.

    Call arguments:
        control: `(batch, ceil(i/stride), ceil(j/stride), ceil(k/stride), 4)`: the displacement in voxels, and the
            logarithm of the expected error in voxels.
        volume: `(batch, i, j, k, channels)`, read for its spatial shape only.
        points: `(batch or 1, ..., 3)` voxel coordinates at which the map is evaluated; None means at every voxel
            centre.

    Returns:
        Dictionary of float32: `grid`, the map's values at the points, voxel coordinates in the moving volume;
        `gradients` `(batch, i, j, k, 3)`, in (0, 2), voxels per voxel, 1 at the first voxel of each line; `log_error`
        `(batch, i, j, k, 1)`.

    Raises:
        ValueError: If the stride is not a positive integer or the control values have not four components.

    Example:
        >>> control, volume = np.zeros((1, 2, 3, 3, 4), np.float32), np.zeros((1, 4, 5, 6, 1), np.float32)
        >>> control[..., :3] = 2.5, -1.0, 0.5
        >>> mapped = tfreg.layers.ComposedDisplacement(stride=2)(control, volume)
        >>> keras.ops.convert_to_numpy(mapped["grid"])[0, 1, 2, 3].tolist()
        [3.5, 1.0, 3.5]
        >>> tuple(mapped["log_error"].shape)
        (1, 4, 5, 6, 1)
    """

    def __init__(self, stride: int = 2, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(stride, **kwargs)

    def build(self, control_shape: Shape, volume_shape: Shape, points_shape: Shape | None = None) -> None:
        if control_shape[-1] != 4:
            raise ValueError(
                f"`control` must have 4 components on its last axis. Received: control.shape={control_shape}"
            )
        super().build(control_shape)

    def call(self, control: Tensor, volume: Tensor, points: Tensor | None = None) -> dict[str, Tensor]:
        values, slopes = values_and_slopes(control, volume, stride=self.stride)
        *components, log_error = ops.split(values, 4, axis=-1)
        parts = zip(components, ops.split(slopes, 3, axis=-1), strict=True)
        displacements = [limited_displacement(component, slope, d) for d, (component, slope) in enumerate(parts)]
        return {"grid": composed(displacements, points), "gradients": 1.0 + slopes, "log_error": log_error}

    def compute_output_shape(
        self, control_shape: Shape, volume_shape: Shape, points_shape: Shape | None = None
    ) -> dict[str, Shape]:
        voxels = volume_shape[:-1]
        grid = (volume_shape[0], *points_shape[1:]) if points_shape else (*voxels, 3)
        return {"grid": grid, "gradients": (*voxels, 3), "log_error": (*voxels, 1)}
