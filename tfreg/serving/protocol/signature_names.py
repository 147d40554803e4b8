"""What the signatures of an export, and the outputs of all passes, are called."""

from tfreg.config import Config

# By encoding: one pass of the network, of a pair on the network grid.
ONE_PASS = {"float32": "serving_default", "int16": "int16"}
# By encoding: all passes of its config's schedule, of a pair as it lies.
ALL_PASSES = {"float32": "passes", "int16": "passes_int16"}

NAMES = (*ONE_PASS.values(), "warp", "config")


def makes_all_passes(config: Config) -> bool:
    """Whether the export of a network holds all its passes: there are several, and they read the images linearly."""
    return config.prediction.passes > 1 and config.preprocessing.interpolation == "linear"


def signature_names(config: Config) -> tuple[str, ...]:
    """The signatures of a network's export."""
    return (*NAMES, *ALL_PASSES.values()) if makes_all_passes(config) else NAMES


def output_of_pass(name: str, number: int) -> str:
    """What an output of one pass, counted from 1, is called among those of all passes."""
    return f"{name}_{number}"
