"""The schema of a run: every option of training, its type and its default.

This is the only place with defaults. A config file names only what it changes; an unknown key or a
wrong type is one clear error.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from tfreg.errors import UserError


def _not_a_truth_value(value):
    if isinstance(value, bool):
        raise ValueError("give a number")
    return value


SIMILARITIES = ("mse", "lncc", "ncc", "mi", "dwm", "mind")


def _weighted_names(text):
    """A similarity's name, or a sum of several with weights, without spaces."""
    text = "".join(text.split())
    for term in text.split("+"):
        weight, times, name = term.rpartition("*")
        try:
            valid = name in SIMILARITIES and (not times or 0 < float(weight) < float("inf"))
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"give {', '.join(SIMILARITIES)}, or a weighted sum such as lncc+0.5*mi")
    return text


Similarity = Annotated[str, AfterValidator(_weighted_names)]
Positive = Annotated[float, Field(gt=0), BeforeValidator(_not_a_truth_value)]
NotNegative = Annotated[float, Field(ge=0), BeforeValidator(_not_a_truth_value)]
Count = Annotated[int, Field(gt=0), BeforeValidator(_not_a_truth_value)]


class Section(BaseModel):
    """A block of the config: no unknown keys, no infinite numbers.

    A number may come as text, because YAML takes 1e-5, without a point, for text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, str_strip_whitespace=True)


class NetworkGrid(Section):
    """The lattice on which the network sees both volumes, centred on the fixed field of view."""

    orientation: str | None = None  # three letters such as RAS; None: the fixed volume's
    spacing: Positive | tuple[Positive, Positive, Positive] | None = None  # mm; None: the fixed volume's
    shape: tuple[Count, Count, Count] | None = None  # voxels; None: covers the fixed field of view

    @field_validator("orientation")
    @classmethod
    def _three_axes(cls, orientation):
        if orientation is None:
            return None
        letters = sorted("RLAPSI".find(letter) // 2 for letter in orientation.upper())
        if letters != [0, 1, 2]:
            raise ValueError("give three letters, one each of R or L, A or P, S or I")
        return orientation.upper()


class Intensity(Section):
    """How intensities become [0, 1]: a fixed window, or percentiles of each volume."""

    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _one_rule(self):
        if self.window is not None and self.percentiles is not None:
            raise ValueError("give `window` or `percentiles`, not both")
        low, high = self.window or self.percentiles or (0.5, 99.5)
        if not low < high:
            raise ValueError("the first number must be smaller than the second")
        if self.window is None and (low < 0 or high > 100):
            raise ValueError("percentiles lie between 0 and 100")
        if self.window is None and self.percentiles is None:
            object.__setattr__(self, "percentiles", (0.5, 99.5))
        return self


class Preprocessing(Section):
    """From the volumes as they are to the network's input."""

    network_grid: NetworkGrid = NetworkGrid()
    intensity: Intensity = Intensity()
    interpolation: Literal["linear", "cubic"] = "linear"
    init: Literal["header", "centre", "moments"] = "header"


class Model(Section):
    """Arguments of `build_registration_network`."""

    transform: Literal["linear", "deformable", "both"] = "both"
    integration: Literal["composed", "axiswise"] = "composed"
    anchor: Literal["centre", "start"] = "centre"
    stride: Count = 2
    encoder_filters: Annotated[tuple[Count, ...], Field(min_length=1)] = (32, 64, 128, 32, 32)
    encoder_dilations: tuple[Count, ...] = (1, 1, 2, 3, 5)
    squeeze_ratio: Count = 10
    decoder_filters: tuple[Count, ...] = (128, 64, 32, 32, 32)
    border: Literal["edge", "zero"] = "edge"
    precision: Literal["float32", "mixed_bfloat16"] = "float32"

    @model_validator(mode="after")
    def _same_length(self):
        if len(self.encoder_filters) != len(self.encoder_dilations):
            raise ValueError("`encoder_filters` and `encoder_dilations` must have the same length")
        return self


class Loss(Section):
    """similarity + alpha |A - I| + beta |Φ - 1| + smoothness |∇Φ|², the L1 norms summed over a volume."""

    similarity: Similarity = "mse"
    window: Count = 9  # side of the window of lncc, voxels, odd
    alpha: NotNegative = 1e-6
    beta: NotNegative = 1e-6
    smoothness: NotNegative = 0.0

    @field_validator("window")
    @classmethod
    def _odd(cls, window):
        if window % 2 == 0:
            raise ValueError("give an odd number")
        return window


class PhasePair(Section):
    """Pairs within each subject: the phase that moves and the phase that is kept."""

    moving: str
    fixed: str


class Augmentation(Section):
    """Random changes of each training pair; the same for fixed and moving unless said otherwise."""

    flip_axes: tuple[Literal[0, 1, 2], ...] = ()  # network grid axes that are flipped in half of the pairs
    rotation_degrees: NotNegative = 0.0  # largest rotation about each axis, both volumes alike
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0  # largest relative change of size, both volumes alike
    moving_rotation_degrees: NotNegative = 0.0  # further rotation of the moving volume alone
    moving_translation: NotNegative = 0.0  # further shift of the moving volume alone, voxels


class Training(Section):
    """Optimiser and schedule; an epoch is `steps_per_epoch` batches of random pairs."""

    batch_size: Count = 2
    steps_per_epoch: Count = 100
    epochs: Count = 1000
    learning_rate: Positive = 1e-3
    learning_rate_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    learning_rate_patience: Count = 50
    stop_patience: Count = 100
    monitor: Literal["val_loss", "val_dice"] = "val_loss"
    validation_pairs: Count = 20
    workers: Count = 2


class Refinement(Section):
    """Optimisation for one pair of similarity + smoothness times the mean squared slope of the displacement."""

    similarity: Similarity = "lncc"
    window: Count = 7  # side of the window of lncc, voxels, odd
    smoothness: NotNegative = 0.25
    steps: Annotated[tuple[Count, ...], Field(min_length=1)] = (60, 60, 20)  # most steps a level, coarse to fine
    learning_rate: Positive = 0.3  # voxels a step
    tolerance: NotNegative = 2e-5  # a level stops when a step improves the loss by less
    most_voxels: Count = 4_000_000  # beyond, the finest level is coarser than the fixed image


# Trade-offs of time and accuracy, by name.
PRESETS = {"quality": Refinement(), "fast": Refinement(steps=(40, 30, 6))}


class Config(Section):
    """A whole run."""

    preprocessing: Preprocessing = Preprocessing()
    pairs: PhasePair | Literal["all", "images"] = "all"
    phase: str | None = None  # with pairs `all`: only images of this phase
    model: Model = Model()
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    seed: Annotated[int, Field(ge=0)] = 0


def load_config(path, overrides=()):
    """Reads a YAML config.

    Args:
        path: The file.
        overrides: Strings such as "loss.beta=1e-5", which win over the file.

    Returns:
        A `Config`.

    Raises:
        UserError: If the file cannot be read, or a key or value does not fit; names the key.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a YAML config such as configs/demo.yaml") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML ({' '.join(str(error).split())}); mend that line") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold keys and values, as configs/demo.yaml does")
    for override in overrides:
        _apply(content, override)
    return parse_config(content, path)


def parse_config(content, source="config"):
    """Checks a nested dictionary against the schema of a run: `parse_section` for `Config`."""
    return parse_section(Config, content, source)


def parse_section(section, content, source):
    """Checks a nested dictionary against a part of the schema.

    Args:
        section: `Config` or one of its blocks.
        content: Nested dictionary, as YAML or JSON gives it.
        source: What error messages call it.

    Returns:
        The section's object.

    Raises:
        UserError: If a key or value does not fit; names the key.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "config"
        if first["type"] == "extra_forbidden":
            raise UserError(f"{source}: unknown key `{key}`; see the keys in tfreg/config.py or configs/") from error
        raise UserError(f"{source}: `{key}`: {first['msg']}. Received: {first['input']!r}") from error


def dump_config(config):
    """The YAML text of a whole config, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _apply(content, override):
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"{override!r}: an override is key=value, such as loss.beta=1e-5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{override!r}: the value is not YAML; quote it") from error
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise UserError(f"{override!r}: `{parent}` is not a block of keys")
    content[last] = value
