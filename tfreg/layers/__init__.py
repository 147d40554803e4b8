"""Keras layers of the registration network, one file each, on `keras.ops` alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
