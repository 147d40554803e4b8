"""Keras layers of the registration network, one file each, on `keras.ops` alone."""
