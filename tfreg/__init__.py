"""tfreg: linear and deformable registration of 3D medical volumes in one forward pass."""

__version__ = "0.1.0"
