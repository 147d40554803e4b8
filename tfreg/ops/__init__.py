"""Functions of tensors on `keras.ops`."""
