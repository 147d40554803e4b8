"""Volumes: an array and its place in the world, lattices, resampling, and what is padding."""
