"""The registration network of Christodoulidis et al. 2018."""

from collections.abc import Sequence

import keras

from tfreg.layers.axiswise_integration import AxiswiseIntegration
from tfreg.layers.composed_displacement import ComposedDisplacement
from tfreg.layers.composed_integration import ComposedIntegration
from tfreg.layers.convolution_block import ConvolutionBlock
from tfreg.layers.dilated_encoder import DilatedEncoder
from tfreg.layers.displacement import Displacement
from tfreg.layers.gradient_head import GradientHead
from tfreg.layers.linear_grid import LinearGrid
from tfreg.layers.linear_head import LinearHead
from tfreg.layers.pooled_pair import PooledPair
from tfreg.layers.squeeze_excitation import SqueezeExcitation
from tfreg.layers.trilinear_sampler import TrilinearSampler

TRANSFORMS = ("linear", "deformable", "both")
HEADS = ("gradients", "displacement")
INTEGRATIONS = {"axiswise": AxiswiseIntegration, "composed": ComposedIntegration}


def build_registration_network(
    shape: Sequence[int | None] = (None, None, None),
    *,
    transform: str = "both",
    head: str = "gradients",
    integration: str = "composed",
    anchor: str | None = None,
    stride: int = 2,
    encoder_filters: Sequence[int] = (32, 64, 128, 32, 32),
    encoder_dilations: Sequence[int] = (1, 1, 2, 3, 5),
    squeeze_ratio: int = 10,
    decoder_filters: Sequence[int] = (128, 64, 32, 32, 32),
    border: str = "edge",
    precision: str = "float32",
) -> keras.Model:
    """Builds the untrained network, which returns the moving image unchanged.

    Args:
        shape: Three spatial sizes; None accepts any size.
        transform: "linear", "deformable" or "both".
        head: What the deformable branch predicts: "gradients" (the paper's) or "displacement", with the expected error.
        integration: "composed" (cannot fold between voxels) or "axiswise" (the paper's, of gradients only).
        anchor: "centre" or "start", where each line of integrated gradients keeps its place; "mean", the only one with
            predicted displacements: each line keeps the mean that is predicted for it. None is the centre or the mean.
        stride: Voxels per trunk voxel along each axis.
        encoder_filters, encoder_dilations: One number a convolution of the encoder.
        squeeze_ratio: Channels per hidden unit of the squeeze-excitation block.
        decoder_filters: One number a convolution of the deformable branch.
        border: What the sampler reads outside the moving image, "edge" or "zero".
        precision: "float32", or "mixed_bfloat16" for the trunk; heads and coordinates stay float32.

    Returns:
        A `keras.Model`. Inputs, by name: `fixed` and `moving`, `(batch, i, j, k, 1)`. Outputs, by name:
        `warped` `(batch, i, j, k, 1)`, the moving image on the fixed grid; `displacement`
        `(batch, i, j, k, 3)` in voxels; `linear` `(batch, 3, 4)` about the volume's centre;
        `gradients` `(batch, i, j, k, 3)`, voxels per voxel; with `head="displacement"` also `log_error`
        `(batch, i, j, k, 1)`, the logarithm of the expected error in voxels. With `transform="linear"` there are no
        gradients and no error, with "deformable" no matrix: those outputs are left out.

    Raises:
        ValueError: If an option is unknown or does not go with the head, or Keras' own float type is not float32.

    Reference:
        Christodoulidis et al. 2018, section 2.2 and Figure 1.

    Example:
        >>> network = tfreg.models.build_registration_network(
        ...     (16, 16, 16), encoder_filters=(4, 4), encoder_dilations=(1, 2), squeeze_ratio=2, decoder_filters=(4,)
        ... )
        >>> sorted(network.output)
        ['displacement', 'gradients', 'linear', 'warped']
        >>> network.count_params()
        2326
    """
    if transform not in TRANSFORMS:
        raise ValueError(f"`transform` must be one of {TRANSFORMS}. Received: transform={transform!r}")
    if integration not in INTEGRATIONS:
        raise ValueError(f"`integration` must be one of {sorted(INTEGRATIONS)}. Received: integration={integration!r}")
    if head not in HEADS:
        raise ValueError(f"`head` must be one of {HEADS}. Received: head={head!r}")
    if head == "displacement" and integration != "composed":
        raise ValueError(f"`integration` must be 'composed' with predicted displacements. Received: {integration=!r}")
    if head == "displacement" and anchor not in (None, "mean"):
        raise ValueError(f"`anchor` must be 'mean' with predicted displacements. Received: {anchor=!r}")
    if keras.config.floatx() != "float32":
        raise ValueError(
            "Coordinates need Keras' float type to be float32: call keras.config.set_floatx('float32') first. "
            f"Received: keras.config.floatx()={keras.config.floatx()!r}"
        )
    fixed = keras.Input((*shape, 1), name="fixed", dtype="float32")
    moving = keras.Input((*shape, 1), name="moving", dtype="float32")
    pair = PooledPair(stride, name="pooled_pair", dtype=precision)(moving, fixed)
    features = DilatedEncoder(encoder_filters, encoder_dilations, name="encoder", dtype=precision)(pair)
    outputs = {}

    grid = None
    if transform != "deformable":
        outputs["linear"] = LinearHead(name="linear")(features)
        grid = LinearGrid(name="linear_grid")(outputs["linear"], fixed)
    if transform != "linear":
        decoded = SqueezeExcitation(squeeze_ratio, name="squeeze_excitation", dtype=precision)(features)
        for number, filters in enumerate(decoder_filters, 1):
            decoded = ConvolutionBlock(filters, name=f"decoder_{number}", dtype=precision)(decoded)
        if head == "gradients":
            logits = _last_convolution(3, "logits")(decoded)
            outputs["gradients"] = GradientHead(stride, name="gradients")(logits, fixed)
            integrated = INTEGRATIONS[integration](anchor or "centre", name="integration")
            grid = integrated(outputs["gradients"], grid)
        else:
            control = _last_convolution(4, "control")(decoded)
            mapped = ComposedDisplacement(stride, name="integration")(control, fixed, grid)
            outputs |= {name: mapped[name] for name in ("gradients", "log_error")}
            grid = mapped["grid"]

    outputs["displacement"] = Displacement(name="displacement")(grid)
    outputs["warped"] = TrilinearSampler(border, name="warped")(moving, grid)
    return keras.Model({"fixed": fixed, "moving": moving}, outputs, name="registration_network")


def _last_convolution(filters, name):
    """Of the deformable branch; starts at zero, the identity."""
    return keras.layers.Conv3D(
        filters,
        3,
        padding="same",
        data_format="channels_last",
        kernel_initializer="zeros",
        name=name,
        dtype="float32",
    )
