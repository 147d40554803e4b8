"""The layer that warps a volume."""

from typing import Any

import keras

from tfreg.ops.tensor import Shape, Tensor
from tfreg.ops.trilinear_sampling import BORDERS, sample_trilinear


@keras.saving.register_keras_serializable(package="tfreg")
class TrilinearSampler(keras.layers.Layer):
    """Warps a volume: reads it at the voxel coordinates of a grid (the paper's 3D transformer).

    Args:
        border: "edge" continues the border's value outside; "zero" is eq. 2 of the paper, where voxels
            outside count as zero.

    Call arguments:
        volume: `(batch, i, j, k, channels)`.
        grid: `(batch, x, y, z, 3)`, voxel coordinates in the volume.

    Returns:
        `(batch, x, y, z, channels)` float32.

    Raises:
        ValueError: If the border rule is unknown or the grid has not three components.

    Reference:
        Christodoulidis et al. 2018, section 2.1, eq. 1 and 2.

    Example:
        >>> volume = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4, 1)
        >>> grid = np.array([0.5, 1.0, 2.0], np.float32).reshape(1, 1, 1, 1, 3)
        >>> keras.ops.convert_to_numpy(tfreg.layers.TrilinearSampler()(volume, grid)).item()
        12.0
    """

    def __init__(self, border: str = "edge", **kwargs: Any) -> None:
        if border not in BORDERS:
            raise ValueError(f"`border` must be one of {BORDERS}. Received: border={border!r}")
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.border = border

    def build(self, volume_shape: Shape, grid_shape: Shape) -> None:
        if grid_shape[-1] != 3:
            raise ValueError(f"`grid` must have 3 components on its last axis. Received: grid.shape={grid_shape}")
        super().build(volume_shape)

    def call(self, volume: Tensor, grid: Tensor) -> Tensor:
        return sample_trilinear(volume, grid, border=self.border)

    def compute_output_shape(self, volume_shape: Shape, grid_shape: Shape) -> Shape:
        return (*grid_shape[:-1], volume_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "border": self.border}
