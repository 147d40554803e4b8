"""Words that stand for a model where no run is named, and for an initial alignment that is chosen."""

from pathlib import Path

# No network: the refinement alone.
NO_NETWORK = "none"

# The weights that ship with the package.
SHIPPED_WEIGHTS = "weights"
# Their file, with the config beside it that says how to feed them.
SHIPPED = Path(__file__).parents[1] / "weights" / "zero_shot_v0.npz"

# The initial alignment that is chosen among those by headers, centres and moments, for each pair.
BEST = "best"

# What `tfreg register` and `tfreg.register` take where no model is named.
DEFAULT_MODEL = NO_NETWORK


def find_model(path: str | Path) -> Path:
    """The path that a model's name means: the file of the weights that ship for "weights", else the name itself."""
    return SHIPPED if str(path) == SHIPPED_WEIGHTS else Path(path)
