from .axiswise_integration import AxiswiseIntegration
from .composed_displacement import ComposedDisplacement
from .composed_integration import ComposedIntegration
from .convolution_block import ConvolutionBlock
from .dilated_encoder import DilatedEncoder
from .displacement import Displacement
from .gradient_head import GradientHead
from .linear_grid import LinearGrid
from .linear_head import LinearHead
from .pooled_pair import PooledPair
from .squeeze_excitation import SqueezeExcitation
from .trilinear_sampler import TrilinearSampler

__all__ = [
    "AxiswiseIntegration",
    "ComposedDisplacement",
    "ComposedIntegration",
    "ConvolutionBlock",
    "DilatedEncoder",
    "Displacement",
    "GradientHead",
    "LinearGrid",
    "LinearHead",
    "PooledPair",
    "SqueezeExcitation",
    "TrilinearSampler",
]
