"""Configs as files and texts: reading, checking, changing, writing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, overload

from pydantic import ValidationError

from tfreg.config.sections import AnySection, Section
from tfreg.config.training_run import Config
from tfreg.config.yaml_text import read_yaml, write_yaml
from tfreg.errors import UserError
from tfreg.spelling import is_meant, plain_spelling


@overload
def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config: ...


@overload
def load_config(path: str | Path, overrides: Sequence[str] = (), *, section: type[AnySection]) -> AnySection: ...


def load_config(path: str | Path, overrides: Sequence[str] = (), section: type[Section] = Config) -> Section:
    """Reads a YAML config.

    Args:
        path: The file.
        overrides: Strings such as "loss.beta=1e-5", which win over the file.
        section: What the file describes: `Config`, a run, or `Classification`.

    Returns:
        An object of that class.

    Raises:
        UserError: If the file cannot be read, or a key or value does not fit; names the key.

    Example:
        >>> config = tfreg.load_config("run/config.yaml", ["loss.similarity=lncc", "training.epochs=50"])
        >>> config.loss.similarity, config.training.epochs
        ('lncc', 50)
        >>> config.preprocessing.network_grid.shape
        (16, 16, 16)
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a YAML config such as configs/demo.yaml") from error
    try:
        content = read_yaml(text)
    except ValueError as error:
        raise UserError(f"{path}: is not YAML ({error}); mend that line") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold keys and values, as configs/demo.yaml does")
    keys = [override.partition("=")[0] for override in overrides]
    for key, override in zip(keys, overrides, strict=True):
        if keys.count(key) > 1:
            raise UserError(f"{override!r}: {key} is given {keys.count(key)} times; keep one of them")
        _apply(content, override)
    return parse_section(section, content, path)


@overload
def load_written_config(path: str | Path) -> Config: ...


@overload
def load_written_config(path: str | Path, section: type[AnySection]) -> AnySection: ...


def load_written_config(path: str | Path, section: type[Section] = Config) -> Section:
    """Reads a whole config as `dump_config` wrote it, beside a model that was trained with it.

    Args:
        path: The file.
        section: `Config` or `Classification`.

    Returns:
        An object of that class.

    Raises:
        UserError: As `load_config`, or if the file was cut short: what is missing must not become a default.
    """
    config = load_config(path, section=section)
    # The seed stands last, on a line of its own.
    if "seed" not in config.model_fields_set or not Path(path).read_text(encoding="utf-8").endswith("\n"):
        raise UserError(f"{path}: is cut short, or was not written beside this model; copy the folder again")
    return config


def parse_config(content: Any, source: str | Path = "config") -> Config:
    """Checks a nested dictionary against the schema of a run: `parse_section` for `Config`."""
    return parse_section(Config, content, source)


def config_with(config: Config, values: Mapping[str, Any], source: str | Path) -> Config:
    """A config with some keys changed.

    Args:
        config: A `Config`.
        values: Dictionary of dotted key, such as "loss.beta", to value.
        source: What error messages call it.

    Returns:
        Another `Config`.

    Raises:
        UserError: If a key or value does not fit; names the key.
    """
    content = config.model_dump(mode="json", exclude_unset=True)
    for key, value in values.items():
        _put(content, key, value, source)
    changed = parse_config(content, source)
    # What is searched is never dumped.
    return changed.model_copy(update={"search": config.search}) if "search" in config.model_fields_set else changed


def parse_section(section: type[AnySection], content: Any, source: str | Path) -> AnySection:
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
        errors = error.errors()
        first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
        *blocks, last = first["loc"] or ("config",)
        unknown = first["type"] == "extra_forbidden"
        key = ".".join(str(part) for part in (*blocks, last) if not _is_kind(part) or (unknown and part is last))
        if unknown:
            meant = _meant_key(section, first["loc"])
            cure = "see the keys in tfreg/config/ or configs/"
            raise UserError(f"{source}: unknown key `{key}`{meant}; {cure}") from error
        cure = "; put a text that looks like a number in quotes" if first["type"] == "string_type" else ""
        raise UserError(f"{source}: `{key}`: {first['msg']}. Received: {first['input']!r}{cure}") from error


def dump_config(config: Section) -> str:
    """The YAML text of a whole config, defaults included, but for how simulated pairs are made where none are."""
    unused = {"simulated"} if getattr(config, "pairs", "simulated") != "simulated" else set()
    return write_yaml(config.model_dump(mode="json", exclude=unused))


def _is_kind(part):
    """Whether a part of an error's place is no key but one of the kinds that a value may be, such as `PhasePair`."""
    return isinstance(part, str) and ("[" in part or part[:1].isupper())


def _meant_key(section, location):
    """The question which key was meant: one of the same block that is spelled alike, or one of another block."""
    block, name = section, str(location[-1])
    for part in location[:-1]:
        inside = _blocks(block.model_fields[part].annotation) if part in block.model_fields else []
        block = inside[0] if inside else block
    elsewhere = [key for key in _keys(section) if plain_spelling(key.split(".")[-1]) == plain_spelling(name)]
    return is_meant(name, block.model_fields) or "".join(f" (is `{key}` meant?)" for key in elsewhere[:1])


def _keys(section, begin=""):
    """All dotted keys of a part of the schema."""
    for name, field in section.model_fields.items():
        blocks = _blocks(field.annotation)
        yield f"{begin}{name}"
        for block in blocks:
            yield from _keys(block, f"{begin}{name}.")


def _blocks(annotation):
    """The blocks of keys that a value may be."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [block for part in get_args(annotation) for block in _blocks(part)]


def _apply(content, override):
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"{override!r}: an override is key=value, such as loss.beta=1e-5")
    try:
        value = read_yaml(text)
    except ValueError as error:
        raise UserError(f"{override!r}: the value is not YAML; quote it") from error
    _put(content, key, value, repr(override))


def _put(content, key, value, source):
    """Gives a dotted key of nested dictionaries a value."""
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise UserError(f"{source}: `{parent}` is not a block of keys")
    content[last] = value
