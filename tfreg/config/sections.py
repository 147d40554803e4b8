"""What all blocks of a config share."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def not_a_truth_value(value: Any) -> Any:
    """Refuses `true` where a number is wanted, which Python takes for 1."""
    if isinstance(value, bool):
        raise ValueError("give a number")
    return value


def three_letters(orientation: str | None) -> str | None:
    """An orientation such as RAS in capitals, or None."""
    if orientation is None:
        return None
    letters = sorted("RLAPSI".find(letter) // 2 for letter in orientation.upper())
    if letters != [0, 1, 2]:
        raise ValueError("give three letters, one each of R or L, A or P, S or I")
    return orientation.upper()


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
Number = Annotated[float, BeforeValidator(not_a_truth_value)]
Positive = Annotated[float, Field(gt=0), BeforeValidator(not_a_truth_value)]
NotNegative = Annotated[float, Field(ge=0), BeforeValidator(not_a_truth_value)]
Share = Annotated[float, Field(gt=0, lt=1), BeforeValidator(not_a_truth_value)]
BelowOne = Annotated[float, Field(ge=0, lt=1), BeforeValidator(not_a_truth_value)]
Axis = Annotated[Literal[0, 1, 2], BeforeValidator(not_a_truth_value)]
Seed = Annotated[int, Field(ge=0), BeforeValidator(not_a_truth_value)]
Count = Annotated[int, Field(gt=0), BeforeValidator(not_a_truth_value)]


class Section(BaseModel):
    """A block of the config: no unknown keys, no infinite numbers.

    A number may come as text, because YAML takes 1e-5, without a point, for text.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, str_strip_whitespace=True, protected_namespaces=()
    )


# What a function makes of the class that it is given.
AnySection = TypeVar("AnySection", bound=Section)
