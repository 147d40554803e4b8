"""The block `search:` of a config: what `tfreg tune` tries, and how the search goes."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from tfreg.config.options import words
from tfreg.config.sections import Count, Number, Section, not_a_truth_value


class SearchRange(Section):
    """The values between two ends that `tfreg tune` may give a key, drawn evenly on the scale."""

    low: Number
    high: Number
    scale: Literal["linear", "log"] = "linear"

    @model_validator(mode="after")
    def _ordered(self):
        if not self.low < self.high:
            raise ValueError("`low` must be smaller than `high`")
        if self.scale == "log" and self.low <= 0:
            raise ValueError("`low` must be above 0 on a log scale")
        return self


def _kind_of_search(value):
    if isinstance(value, dict | SearchRange):
        return "range"
    return "choices" if isinstance(value, list | tuple) else None


# Dotted keys of the config, such as loss.alpha, to what they may be.
SearchChoices = Annotated[tuple[Any, ...], Field(min_length=2)]
SearchSpace = Annotated[
    dict[
        str,
        Annotated[
            Annotated[SearchRange, Tag("range")] | Annotated[SearchChoices, Tag("choices")],
            Discriminator(
                _kind_of_search,
                custom_error_type="search",
                custom_error_message="give a range, such as {low: 1e-8, high: 1e-4, scale: log}, or a list of choices",
            ),
        ],
    ],
    Field(min_length=1),
]
# From without effect to stronger than the similarity, and around the paper's 1e-6.
DEFAULT_SEARCH: dict[str, SearchRange | tuple[Any, ...]] = {
    "loss.alpha": SearchRange(low=1e-7, high=1e-2, scale="log"),
    "loss.beta": SearchRange(low=1e-9, high=1e-5, scale="log"),
}


class TuningOptions(Section):
    """How a search goes.

    Example:
        >>> tfreg.TuningOptions(tuner="random", trials=10).objective
        'dice'
    """

    tuner: Annotated[str, words("random", "bayesian", "hyperband")] = Field(
        "bayesian", description="random, bayesian or hyperband."
    )
    trials: Count | None = Field(
        None, description="How many, 20 if not given; Hyperband's follow from training.epochs."
    )
    objective: Annotated[str, words("dice", "tre", "loss")] = Field(
        "dice",
        description="Of the validation pairs: dice, tre, or loss, which is the similarity alone: the whole loss, of "
        "training or validation, contains the penalties that alpha and beta weigh, and is least without them.",
    )


class DrawOptions(Section):
    """What a search draws by."""

    # Keras Tuner adds to it.
    seed: Annotated[int, Field(ge=0, lt=2**31), BeforeValidator(not_a_truth_value)] = Field(
        0, description="Seed of the draws; the trainings have the config's."
    )
