"""The schema of a run: every option of training, its type and its default."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tfreg.config.search import DEFAULT_SEARCH, SearchSpace
from tfreg.config.sections import (
    Axis,
    BelowOne,
    Count,
    NotNegative,
    Number,
    Positive,
    Section,
    Seed,
    Share,
    Similarity,
    not_a_truth_value,
    three_letters,
)
from tfreg.config.simulated_pairs import SimulatedPairs

# A label's value; 0 is the background.
Label = Annotated[int, Field(gt=0, lt=2**31), BeforeValidator(not_a_truth_value)]


class NetworkGrid(Section):
    """The lattice on which the network sees both volumes, centred on the fixed field of view."""

    orientation: str | None = None  # three letters such as RAS; None: the fixed volume's
    spacing: Positive | tuple[Positive, Positive, Positive] | None = None  # mm; None: the fixed volume's
    shape: tuple[Count, Count, Count] | None = None  # voxels; None: covers the fixed field of view
    voxels: Count | None = None  # cubes over the fixed field of view instead, about so many at most
    min_size: Count = 1  # with `voxels`: a thinner field of view is divided into so many voxels along an axis

    _three_axes = field_validator("orientation")(three_letters)

    @model_validator(mode="after")
    def _one_rule(self):
        if self.voxels is not None and (self.spacing, self.shape) != (None, None):
            raise ValueError("give `voxels`, or `spacing` and `shape`; the cubes' size follows from their number")
        if self.voxels is None and self.min_size != 1:
            raise ValueError("`min_size` goes with `voxels`; set these, or leave it out")
        return self


class Intensity(Section):
    """How intensities become [0, 1]: a fixed window, or percentiles of each volume."""

    window: tuple[Number, Number] | None = None
    percentiles: tuple[Number, Number] | None = None
    match_contrast: bool = False  # where a pair is registered: of images of opposite contrast one is inverted

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
    init: Literal["header", "centre", "moments", "best"] = "header"  # best: whichever makes a pair most alike


class Model(Section):
    """Arguments of `build_registration_network`."""

    transform: Literal["linear", "deformable", "both"] = "both"
    head: Literal["gradients", "displacement"] = "gradients"  # what the deformable branch predicts
    integration: Literal["composed", "axiswise"] = "composed"
    anchor: Literal["centre", "start", "mean"] = "centre"  # always the mean where displacements are predicted
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

    @model_validator(mode="after")
    def _head_and_lines(self):
        predicts_displacements = self.head == "displacement"
        if predicts_displacements and self.integration != "composed":
            raise ValueError("`head: displacement` needs `integration: composed`")
        if predicts_displacements and "anchor" not in self.model_fields_set:
            object.__setattr__(self, "anchor", "mean")
        if predicts_displacements != (self.anchor == "mean"):
            raise ValueError("`anchor: mean` goes with `head: displacement`, and with no other; leave `anchor` out")
        return self

    @property
    def deformation_array(self) -> str:
        """What a deformation is made of: the name of a layer's output, of what a server answers, and of an argument."""
        return "control" if self.head == "displacement" else "logits"

    @property
    def predicted_arrays(self) -> tuple[str, ...]:
        """What a transform is made of: the names of the matrix, of the deformation's array, or of both."""
        parts = {"linear": self.transform != "deformable", self.deformation_array: self.transform != "linear"}
        return tuple(name for name, predicted in parts.items() if predicted)


class Loss(Section):
    """similarity + alpha |A - I| + beta |Φ - 1| + smoothness |∇Φ|² + dice (1 - Dice), L1 norms summed over a volume."""

    similarity: Similarity = "mse"
    window: Count = 9  # side of the window of lncc, voxels, odd
    dice: NotNegative = 0.0  # weight of 1 - Dice of warped labels, of training pairs that have some
    dice_labels: tuple[Label, ...] | None = None  # their values; None: all of the training pairs', but 0
    alpha: NotNegative = 1e-6
    beta: NotNegative = 1e-6
    smoothness: NotNegative = 0.0

    @field_validator("window")
    @classmethod
    def _odd(cls, window):
        if window % 2 == 0:
            raise ValueError("give an odd number")
        return window


class ErrorCalibration(Section):
    """From the expected error that a network predicts, in voxels, to the median distance: scale * error ** power."""

    scale: Positive = 1.0
    power: Positive = 1.0


class Prediction(Section):
    """How often the network is run for one pair, each time on the moving image as warped so far."""

    passes: Count = 1  # in all
    coarser: tuple[Count, ...] = ()  # factors of coarser grids, such as [4, 2]: a pass on each, before those on its own
    least_size: Count = 28  # voxels along each axis: coarser grids with fewer are left out
    # Of one pass, two, ...; the last holds for more. Without any, what the network expects is not taken for an error.
    expected_error: tuple[ErrorCalibration, ...] = ()

    @field_validator("coarser")
    @classmethod
    def _falling(cls, coarser):
        if list(coarser) != sorted({*coarser} - {1}, reverse=True):
            raise ValueError("give falling numbers above 1, such as [4, 2]")
        return coarser


class PhasePair(Section):
    """Pairs within each subject: the phase that moves and the phase that is kept."""

    moving: str
    fixed: str

    @model_validator(mode="after")
    def _two_phases(self):
        if self.moving == self.fixed:
            raise ValueError("`moving` and `fixed` must be two phases")
        return self


class Augmentation(Section):
    """Random changes of each training pair; the same for fixed and moving unless said otherwise."""

    flip_axes: tuple[Axis, ...] = ()  # network grid axes that are flipped in half of the pairs
    rotation_degrees: NotNegative = 0.0  # largest rotation about each axis, both volumes alike
    scale: BelowOne = 0.0  # largest relative change of size, both volumes alike
    moving_rotation_degrees: NotNegative = 0.0  # further rotation of the moving volume alone
    moving_translation: NotNegative = 0.0  # further shift of the moving volume alone, voxels


class Training(Section):
    """Optimiser and schedule; an epoch is `steps_per_epoch` batches of random pairs."""

    batch_size: Count = 2
    steps_per_epoch: Count = 100
    epochs: Count = 1000
    learning_rate: Positive = 1e-3
    learning_rate_factor: Share = 0.1
    learning_rate_patience: Count = 50
    stop_patience: Count = 100
    monitor: Literal["val_loss", "val_dice"] = "val_loss"
    validation_pairs: Count = 20
    workers: Count = 2
    seconds: Positive | None = None  # a call ends after the epoch in which they are over; the next one goes on


class Config(Section):
    """A whole run.

    Example:
        >>> config = tfreg.Config(seed=3)
        >>> config.model.stride, config.training.epochs
        (2, 1000)
        >>> tfreg.Config.model_validate({"loss": {"similarity": "lncc", "window": 7}}).loss.window
        7
    """

    preprocessing: Preprocessing = Preprocessing()
    pairs: PhasePair | Literal["all", "images", "simulated"] = "all"
    phase: str | None = None  # with pairs `all`: only images of this phase
    model: Model = Model()
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    prediction: Prediction = Prediction()
    simulated: SimulatedPairs = SimulatedPairs()  # with pairs `simulated`
    seed: Seed = 0
    search: SearchSpace = Field(DEFAULT_SEARCH, exclude=True)  # only for `tfreg tune`: no run's config holds it

    @model_validator(mode="after")
    def _phase_counts(self):
        if self.phase is not None and isinstance(self.pairs, PhasePair):
            raise ValueError("`phase` goes with pairs `all` or `images`; two phases are named in `pairs` already")
        if self.phase is not None and self.pairs == "simulated":
            raise ValueError("`phase` goes with pairs `all` or `images`; simulated ones have none")
        return self

    @model_validator(mode="after")
    def _supervised_head(self):
        if self.pairs == "simulated" and (self.model.head, self.model.transform) != ("displacement", "deformable"):
            raise ValueError("pairs `simulated` need `model.head: displacement` and `model.transform: deformable`")
        return self
