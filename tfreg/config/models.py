"""Words that stand for a model where no run is named, and for an initial alignment that is chosen."""

# No network: the refinement alone.
NO_NETWORK = "none"

# The weights that ship with the package.
SHIPPED_WEIGHTS = "weights"

# The initial alignment that is chosen among those by headers, centres and moments, for each pair.
BEST = "best"

# What `tfreg register` and `tfreg.register` take where no model is named.
DEFAULT_MODEL = NO_NETWORK
