"""Keras models built from the layers and losses."""
