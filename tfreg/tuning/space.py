"""What `tfreg tune` searches: keys of the config, and the values that they may take."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfreg.config import Config, SearchRange, config_with
from tfreg.errors import UserError

if TYPE_CHECKING:
    import keras_tuner

# Keys that decide on what, or for how long, trials are measured; what they say does not make a training better.
FORBIDDEN = {
    "pairs": "decides on what trials are measured",
    "phase": "decides on what trials are measured",
    "seed": "decides on what trials are measured",
    "training.validation_pairs": "decides on what trials are measured",
    "training.monitor": "follows from --objective",
    "search": "cannot be searched itself",
}
# Penalties of a branch that a network may lack.
WITHOUT_EFFECT = {"deformable": "loss.alpha", "linear": "loss.beta"}
DIGITS = 4  # that drawn numbers keep


def searched(config: Config) -> dict[str, SearchRange | tuple[Any, ...]]:
    """The keys that a search varies: those of the config, or α and β where the network has their branches.

    Args:
        config: Of the search.

    Returns:
        Dictionary of dotted key to a range or a tuple of choices.
    """
    if "search" in config.model_fields_set:
        return config.search
    return {key: values for key, values in config.search.items() if key != WITHOUT_EFFECT.get(config.model.transform)}


def check_space(config: Config, source: str) -> None:
    """Refuses a search in which any one value does not fit.

    Args:
        config: Of the search.
        source: What error messages call it.

    Raises:
        UserError: If a key is unknown or must stay, or an end of its range or one of its choices is not valid.
    """
    for key, values in searched(config).items():
        for forbidden, reason in FORBIDDEN.items():
            if key == forbidden or key.startswith(f"{forbidden}."):
                raise UserError(f"{source}: search: `{key}` {reason}; take it out")
        for value in (values.low, values.high) if isinstance(values, SearchRange) else values:
            # A count may not be 2.0, as the ends of ranges are.
            whole = isinstance(value, float) and value.is_integer()
            config_with(config, {key: int(value) if whole else value}, f"{source}: search")


def hyperparameters(config: Config) -> "keras_tuner.HyperParameters":
    """A search space as Keras Tuner wants it.

    Args:
        config: That `check_space` has passed.

    Returns:
        The space.
    """
    import keras_tuner

    space = keras_tuner.HyperParameters()
    for key, values in searched(config).items():
        if not isinstance(values, SearchRange):
            # Keras Tuner's own choices cannot be lists.
            space.Choice(key, [json.dumps(value) for value in values])
        elif _is_count(config, key):
            space.Int(key, int(values.low), int(values.high), sampling=values.scale)
        else:
            space.Float(key, values.low, values.high, sampling=values.scale)
    return space


def drawn_values(config: Config, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """What Keras Tuner drew, as values of the config.

    Args:
        config: Of the search.
        drawn: Name to value; other names than the searched keys are left out.

    Returns:
        Dictionary of dotted key to value.
    """
    values = {}
    for key, allowed in searched(config).items():
        value = drawn[key]
        if not isinstance(allowed, SearchRange):
            values[key] = json.loads(value)
        elif _is_count(config, key):
            values[key] = int(value)
        else:
            # A lab note is read by people; the ends stay reachable.
            values[key] = min(max(float(f"{value:.{DIGITS}g}"), allowed.low), allowed.high)
    return values


def _is_count(config, key):
    """Whether a key's present value is a whole number."""
    value = config
    for name in key.split("."):
        value = getattr(value, name, None)
    return isinstance(value, int) and not isinstance(value, bool)
