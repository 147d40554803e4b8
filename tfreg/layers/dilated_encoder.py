"""The encoder: dilated convolutions whose outputs are all kept."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfreg.layers.convolution_block import ConvolutionBlock
from tfreg.ops.tensor import Shape, Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class DilatedEncoder(keras.layers.Layer):
    """A chain of dilated 3x3x3 convolutions; its input and every output are concatenated.

    With the defaults and a pair of images: 2 + 32 + 64 + 128 + 32 + 32 = 290 features and a receptive
    field of 25x25x25.

    Args:
        filters: Output channels of each convolution.
        dilations: Dilation of each convolution.
        normalised: False leaves instance normalisation out.

    Call arguments:
        pair: `(batch, i, j, k, channels)`.

    Returns:
        `(batch, i, j, k, channels + sum(filters))`.

    Raises:
        ValueError: If filters and dilations have different lengths or are empty.

    Reference:
        Christodoulidis et al. 2018, section 2.2 and Figure 1.

    Example:
        >>> encoder = tfreg.layers.DilatedEncoder(filters=(4, 6), dilations=(1, 2))
        >>> tuple(encoder(np.zeros((1, 6, 7, 8, 2), np.float32)).shape)
        (1, 6, 7, 8, 12)
    """

    def __init__(
        self,
        filters: Sequence[int] = (32, 64, 128, 32, 32),
        dilations: Sequence[int] = (1, 1, 2, 3, 5),
        normalised: bool = True,
        **kwargs: Any,
    ) -> None:
        if len(filters) != len(dilations) or not filters:
            raise ValueError(
                "`filters` and `dilations` must have the same length, at least 1. "
                f"Received: filters={filters}, dilations={dilations}"
            )
        super().__init__(**kwargs)
        self.filters = tuple(filters)
        self.dilations = tuple(dilations)
        self.normalised = normalised
        self.blocks = [
            ConvolutionBlock(filters, dilation, normalised=normalised, name=f"block_{number}", dtype=self.dtype_policy)
            for number, (filters, dilation) in enumerate(zip(self.filters, self.dilations, strict=True), 1)
        ]

    def build(self, pair_shape: Shape) -> None:
        shape = pair_shape
        for block in self.blocks:
            block.build(shape)
            shape = block.compute_output_shape(shape)
        super().build(pair_shape)

    def call(self, pair: Tensor) -> Tensor:
        features = [pair]
        for block in self.blocks:
            features.append(block(features[-1]))
        return ops.concatenate(features, axis=-1)

    def compute_output_shape(self, pair_shape: Shape) -> Shape:
        return (*pair_shape[:-1], pair_shape[-1] + sum(self.filters))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "dilations": self.dilations,
            "normalised": self.normalised,
        }
