"""What stands for a model where no run is named."""

# No network: the refinement alone.
NO_NETWORK = "none"

# The weights that ship with the package.
SHIPPED_WEIGHTS = "weights"

# What `tfreg register` and `tfreg.register` take where no model is named.
DEFAULT_MODEL = NO_NETWORK
