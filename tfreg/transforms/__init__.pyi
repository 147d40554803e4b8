from .certificate import Certificate, certify, digital_jacobian, folding_fraction
from .composed_passes import ComposedPasses
from .deformation import Deformation
from .displacement_deformation import DisplacementDeformation
from .jacobian import jacobian_determinant, log_jacobian
from .transform import InverseTransform, Transform

__all__ = [
    "Certificate",
    "ComposedPasses",
    "Deformation",
    "DisplacementDeformation",
    "InverseTransform",
    "Transform",
    "certify",
    "digital_jacobian",
    "folding_fraction",
    "jacobian_determinant",
    "log_jacobian",
]
