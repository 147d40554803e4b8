"""The transform in NumPy and SciPy, its Jacobian, and its ITK files."""
