"""Options of a command that are the fields of a class: name, default, limits and help stand there alone."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from tfreg.config import checked
from tfreg.config.sections import Section

SIMPLE = (bool, int, float, str, Path)


@dataclasses.dataclass(frozen=True)
class Fields:
    """Which fields of a `Section` a command has, beside the class in an `Annotated` type.

    Args:
        without: Names of those that it does not have; they keep their defaults.
        flags: Dictionary of a field's name to the names of its option, where they are not the field's own.
        helps: Dictionary of a field's name to the command's own help.
    """

    without: tuple[str, ...] = ()
    flags: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    helps: dict[str, str] = dataclasses.field(default_factory=dict)


def grouped(command: Callable) -> Callable:
    """Gives a command one option for each field of its parameters' classes.

    A parameter whose type is a `Section`, or `Annotated[Section, Fields(...)]`, is checked as a whole. One whose type
    is a dataclass gets the fields' own types, which say what Typer needs.

    Args:
        command: A function for Typer.

    Returns:
        A function with the options as parameters, which calls `command` with the objects.
    """
    groups, plain = {}, []
    for parameter in inspect.signature(command).parameters.values():
        kind, choice = _group(parameter.annotation)
        if kind is None:
            plain.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        fields = _fields_of(kind, choice)
        groups[parameter.name] = kind, [field.name for field in fields]
        plain.extend(fields)

    @functools.wraps(command)
    def called(**values: Any) -> Any:
        for name, (kind, fields) in groups.items():
            content = {field: values.pop(field) for field in fields}
            if issubclass(kind, Section):
                values[name] = checked(kind, **_without_defaults(kind, content))
            else:
                values[name] = kind(**content)
        return command(**values)

    # Typer shows options in the order of the signature.
    required = [parameter for parameter in plain if parameter.default is inspect.Parameter.empty]
    optional = [parameter for parameter in plain if parameter.default is not inspect.Parameter.empty]
    made: Any = called
    made.__signature__ = inspect.Signature([*required, *optional])
    made.__annotations__ = {parameter.name: parameter.annotation for parameter in plain}
    del made.__wrapped__
    return made


def _group(annotation):
    """The class of options that a parameter is, and its `Fields`; None and None for an option of its own."""
    kind, choice = annotation, Fields()
    if get_origin(annotation) is Annotated:
        kind, *rest = get_args(annotation)
        choice = next((one for one in rest if isinstance(one, Fields)), choice)
    if isinstance(kind, type) and (issubclass(kind, Section) or dataclasses.is_dataclass(kind)):
        return kind, choice
    return None, None


def _fields_of(kind, choice):
    """A class' fields as parameters."""
    if not issubclass(kind, Section):
        return [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(kind).parameters.values()
        ]
    made = []
    for name, field in kind.model_fields.items():
        if name in choice.without:
            continue
        default = inspect.Parameter.empty if field.is_required() else field.default
        type_, optional = _simple(field.annotation)
        flags = choice.flags.get(name, _flags(name, type_, default))
        option = typer.Option(*flags, help=choice.helps.get(name, field.description))
        if get_origin(type_) is list:
            default, optional = default or None, True
        annotation = Annotated[type_ | None if optional else type_, option]
        made.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    return made


def _flags(name, type_, default):
    """One flag for what is off, and two for what may be either; Typer makes the others itself."""
    option = f"--{name.replace('_', '-')}"
    return (option,) if type_ is bool and default is False else ()


def _simple(annotation):
    """What Typer reads for a field, and whether it may be left out."""
    if get_origin(annotation) is Annotated:
        return _simple(get_args(annotation)[0])
    parts = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        simple = [_simple(part)[0] for part in parts if part is not NoneType]
        return simple[0], NoneType in parts
    if get_origin(annotation) is tuple:
        inside = _simple(parts[0])[0]
        return (list[inside] if parts[-1] is Ellipsis else tuple[(inside,) * len(parts)]), False
    return (annotation if annotation in SIMPLE else str), False


def _without_defaults(kind, content):
    """What was asked for: a list that was not given keeps the field's default."""
    lists = {name for name, field in kind.model_fields.items() if get_origin(_simple(field.annotation)[0]) is list}
    return {name: value for name, value in content.items() if not (name in lists and not value)}
