"""Words that stand for a model where no run is named, and for an initial alignment that is chosen."""

from pathlib import Path
from typing import Any

# No network: the refinement alone.
NO_NETWORK = "none"

# The weights that ship with the package.
SHIPPED_WEIGHTS = "weights"
# Their file, with the config beside it that says how to feed them.
SHIPPED = Path(__file__).parents[1] / "weights" / "zero_shot_v0.npz"

# The initial alignment that is chosen among those by headers, centres and moments, for each pair.
BEST = "best"

# Where no model is named: the weights that ship where a network alone is asked for; a refinement begins from nothing,
# which is as accurate.
DEFAULT_MODEL = "default"


def model_or_none(model: Any, refine: bool | None) -> Any:
    """The model that `tfreg register` and `tfreg.register` use.

    Args:
        model: A name, a path, or what predicts.
        refine: Whether a refinement is asked for; None where that is left open.

    Returns:
        The model; None to use no network.
    """
    if model == DEFAULT_MODEL:
        model = SHIPPED_WEIGHTS if refine is False else NO_NETWORK
    return None if model == NO_NETWORK else model


def find_model(path: str | Path) -> Path:
    """The path that a model's name means: the file of the weights that ship for "weights", else the name itself."""
    return SHIPPED if str(path) == SHIPPED_WEIGHTS else Path(path)
