"""Measures of agreement, deformation and chance."""
