"""The network that tells healthy from ill by the residual deformation."""

from collections.abc import Sequence

import keras

# Of the running averages: the paper's cohorts make a few batches an epoch, too few for Keras' own 0.99.
NORMALISATION_MOMENTUM = 0.9


def build_classifier(shape: Sequence[int], channels: int, filters: int, hidden_units: int) -> keras.Model:
    """Builds the untrained classifier: one down-sampling convolution, then a perceptron with one hidden layer.

    Args:
        shape: Three numbers of voxels, the lattice of the deformations.
        channels: 3 for the components of a displacement, 1 for the log Jacobian.
        filters: Of the convolution of 3x3x3, stride 2 and padding 1.
        hidden_units: Of the perceptron.

    Returns:
        A `keras.Model`. Input, by name: `deformation` `(batch, i, j, k, channels)`. Output, by name: `probability`
        `(batch, 1)` of being ill. Its output layer starts at zero: untrained it says 0.5.

    Raises:
        ValueError: If a number is not positive.

    Reference:
        Christodoulidis et al. 2018, section 3.3 and Figure 3.
    """
    if min(*shape, channels, filters, hidden_units) < 1:
        raise ValueError(
            "`shape`, `channels`, `filters` and `hidden_units` must be positive. "
            f"Received: shape={shape}, channels={channels}, filters={filters}, hidden_units={hidden_units}"
        )
    deformation = keras.Input((*shape, channels), name="deformation", dtype="float32")
    # Padding of one on both sides; Keras' "same" would leave it out at the low end of even sizes.
    layout = {"data_format": "channels_last"}
    padded = keras.layers.ZeroPadding3D(1, name="padding", **layout)(deformation)
    features = keras.layers.Conv3D(filters, 3, strides=2, use_bias=False, name="downsampling", **layout)(padded)
    features = _normalised(features, "downsampling_normalisation")
    features = keras.layers.Flatten(name="flat", **layout)(features)  # (batch, features)
    hidden = keras.layers.Dense(hidden_units, use_bias=False, name="hidden")(features)
    hidden = keras.layers.Activation("tanh", name="tanh")(_normalised(hidden, "hidden_normalisation"))
    probability = keras.layers.Dense(1, "sigmoid", kernel_initializer="zeros", name="probability")(hidden)
    return keras.Model({"deformation": deformation}, {"probability": probability}, name="classifier")


def _normalised(features, name):
    return keras.layers.BatchNormalization(momentum=NORMALISATION_MOMENTUM, name=name)(features)
