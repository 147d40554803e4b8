"""Volumes: array and affine, file formats, manifests, preprocessing and the simulated chest."""
