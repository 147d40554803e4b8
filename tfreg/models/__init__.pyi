from .registration_network import build_registration_network

__all__ = [
    "build_registration_network",
]
