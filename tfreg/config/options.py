"""Options of functions and commands, checked alike wherever they come from: one line with the name and the cure."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from tfreg.config.sections import AnySection, Count, Section, not_a_truth_value
from tfreg.errors import UserError
from tfreg.spelling import is_meant

# Of pydantic's errors by how their names start.
KINDS_OF_VALUES = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "yes or no",
    "string": "a text",
}


def words(*choices: str) -> BeforeValidator:
    """The check of an option that is one of some words, as in `Annotated[str, words("a", "b")]`.

    Args:
        choices: The words.

    Returns:
        A validator that refuses other values with the choices, and with the nearest.
    """

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            listed = " or ".join(choices) if len(choices) == 2 else ", ".join(choices)
            raise ValueError(f"choose {listed}{is_meant(value, choices)}")
        return str(value)

    return BeforeValidator(check)


class Processing(Section):
    """What a command may use of the machine, and its seed."""

    threads: Count | None = Field(None, description="Largest number of CPU threads, of each process.")
    seed: Annotated[int, Field(ge=0, lt=2**32), BeforeValidator(not_a_truth_value)] | None = Field(
        0, description="Seed of everything random."
    )
    device: Annotated[str, words("cpu", "gpu")] | None = Field(
        None, description="cpu or gpu; without it, what is there."
    )
    workers: Count = Field(1, description="Processes side by side.")


def checked(section: type[AnySection], **values: Any) -> AnySection:
    """Checks options.

    Args:
        section: A class of options, such as `Processing`.
        values: Some of its options; numbers may be NumPy's, or texts.

    Returns:
        An object of that class.

    Raises:
        UserError: If a value has another type or lies outside its range; names the option as the command line does.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise UserError(str(first["ctx"]["error"])) from error
        name = str(first["loc"][0])
        option = f"--{name.replace('_', '-')}"
        if first["type"] == "extra_forbidden":
            raise UserError(f"{option}: no such option{is_meant(name, section.model_fields)}; leave it out") from error
        # Of several words the one that is wrong.
        given = first["input"] if first["loc"][1:] and isinstance(first["input"], str) else values[name]
        given = given if isinstance(given, str) and given else repr(given)
        raise UserError(f"{option} {given}: {_cure(first)}") from error


def _cure(error):
    """What to give instead, from one of pydantic's errors."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "greater_than":
        return "give a positive number" if context["gt"] == 0 else f"give a number above {context['gt']}"
    if kind == "greater_than_equal":
        return f"give a number of at least {context['ge']}"
    if kind in ("less_than", "less_than_equal"):
        return f"give a number {'below' if kind == 'less_than' else 'of at most'} {next(iter(context.values()))}"
    for start, cure in KINDS_OF_VALUES.items():
        if kind.startswith(start):
            return f"give {cure}"
    return error["msg"].replace("Input should be", "give")
