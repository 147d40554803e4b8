"""Similarities, regularisers and the Dice metric, on `keras.ops` alone."""
