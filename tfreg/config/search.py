"""The block `search:` of a config: what `tfreg tune` tries."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from tfreg.config.sections import Number, Section


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
DEFAULT_SEARCH = {
    "loss.alpha": SearchRange(low=1e-7, high=1e-2, scale="log"),
    "loss.beta": SearchRange(low=1e-9, high=1e-5, scale="log"),
}
