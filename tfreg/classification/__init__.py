"""Health told by deformations."""
