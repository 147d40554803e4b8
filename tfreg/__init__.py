"""tfreg: linear and deformable registration of 3D medical volumes in one forward pass."""

import lazy_loader

__version__ = "0.1.0"

# Imported when first used: `import tfreg` and the command line stay quick. The stub beside this file names them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
