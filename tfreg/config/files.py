"""Configs as files and texts: reading, checking, changing, writing."""

import difflib
from pathlib import Path

import yaml
from pydantic import ValidationError

from tfreg.config.run import Config
from tfreg.errors import UserError


def load_config(path, overrides=(), section=Config):
    """Reads a YAML config.

    Args:
        path: The file.
        overrides: Strings such as "loss.beta=1e-5", which win over the file.
        section: What the file describes: `Config`, a run, or `Classification`.

    Returns:
        An object of that class.

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
    return parse_section(section, content, path)


def load_written_config(path, section=Config):
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


def parse_config(content, source="config"):
    """Checks a nested dictionary against the schema of a run: `parse_section` for `Config`."""
    return parse_section(Config, content, source)


def config_with(config, values, source):
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
            near = _nearest(section, first["loc"])
            raise UserError(
                f"{source}: unknown key `{key}`; see the keys in tfreg/config/ or configs/{near}"
            ) from error
        raise UserError(f"{source}: `{key}`: {first['msg']}. Received: {first['input']!r}") from error


def _nearest(section, place):
    """Which key is meant by an unknown one, in words, where one is spelt much like it."""
    for name in place[:-1]:
        field = section.model_fields.get(name) if isinstance(section, type) else None
        section = None if field is None else field.annotation
    known = getattr(section, "model_fields", ())
    near = difflib.get_close_matches(str(place[-1]), known, 1)
    return f"; did you mean `{near[0]}`?" if near else ""


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
    _put(content, key, value, repr(override))


def _put(content, key, value, source):
    """Gives a dotted key of nested dictionaries a value."""
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise UserError(f"{source}: `{parent}` is not a block of keys")
    content[last] = value
