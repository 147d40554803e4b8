"""The unit that encoder and decoder are built from."""

from typing import Any

import keras
from keras import ops

from tfreg.ops.acceleration import has_native_dilation, splits_dilations
from tfreg.ops.space_to_batch import convolve_by_batches
from tfreg.ops.tensor import Shape, Tensor


@keras.saving.register_keras_serializable(package="tfreg")
class DilatedConvolution(keras.layers.Conv3D):
    """`keras.layers.Conv3D` that runs dilations natively where TensorFlow can, and by space to batch on JAX with a GPU.

    Keras goes through space to batch on TensorFlow, and leaves dilations to XLA on JAX, whose gradient of them is slow
    on a GPU.
    """

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        if max(self.dilation_rate) == 1 or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)
        if splits_dilations() and self._keeps_size():
            kernel = ops.cast(ops.convert_to_tensor(kernel), inputs.dtype)
            return convolve_by_batches(inputs, kernel, self.dilation_rate[0])
        if not _dilates_natively(inputs):
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        return tf.nn.conv3d(
            inputs, kernel, [1, *self.strides, 1], self.padding.upper(), dilations=[1, *self.dilation_rate, 1]
        )

    def _keeps_size(self):
        """Whether it is one of those that `convolve_by_batches` computes."""
        return self.padding == "same" and max(self.strides) == 1 and len(set(self.dilation_rate)) == 1


def _dilates_natively(features):
    return has_native_dilation(keras.backend.standardize_dtype(features.dtype), getattr(features, "device", None) or "")


@keras.saving.register_keras_serializable(package="tfreg")
class ConvolutionBlock(keras.layers.Layer):
    """A 3x3x3 convolution, instance normalisation and LeakyReLU.

    Instance normalisation is `GroupNormalization(groups=-1)`: each channel of each volume has mean 0 and
    variance 1 before its learned scale and offset.

    Args:
        filters: Number of output channels.
        dilation: Voxels between the kernel's taps.
        slope: LeakyReLU's slope below zero.
        normalised: False leaves the normalisation out.

    Call arguments:
        features: `(batch, i, j, k, channels)`.

    Returns:
        `(batch, i, j, k, filters)`.

    Raises:
        ValueError: If filters or dilation are not positive integers.

    Reference:
        Christodoulidis et al. 2018, section 2.2.

    Example:
        >>> block = tfreg.layers.ConvolutionBlock(filters=8, dilation=2)
        >>> tuple(block(np.zeros((1, 6, 7, 8, 2), np.float32)).shape)
        (1, 6, 7, 8, 8)
    """

    def __init__(
        self, filters: int, dilation: int = 1, slope: float = 0.2, normalised: bool = True, **kwargs: Any
    ) -> None:
        for name, value in (("filters", filters), ("dilation", dilation)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}")
        super().__init__(**kwargs)
        self.filters = filters
        self.dilation = dilation
        self.slope = slope
        self.normalised = normalised

    def build(self, features_shape: Shape) -> None:
        self.convolution = DilatedConvolution(
            self.filters,
            3,
            padding="same",
            data_format="channels_last",
            dilation_rate=self.dilation,
            kernel_initializer="he_normal",
            use_bias=not self.normalised,  # the normalisation would subtract it
            name="convolution",
            dtype=self.dtype_policy,
        )
        self.convolution.build(features_shape)
        if self.normalised:
            self.normalisation = keras.layers.GroupNormalization(
                groups=-1, epsilon=1e-3, name="normalisation", dtype=self.dtype_policy
            )
            self.normalisation.build(self.compute_output_shape(features_shape))
        super().build(features_shape)

    def call(self, features: Tensor) -> Tensor:
        features = self.convolution(features)
        if self.normalised:
            features = self.normalisation(features)
        return ops.leaky_relu(features, negative_slope=self.slope)

    def compute_output_shape(self, features_shape: Shape) -> Shape:
        return (*features_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "dilation": self.dilation,
            "slope": self.slope,
            "normalised": self.normalised,
        }
