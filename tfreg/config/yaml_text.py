"""YAML as its version 1.2 has it: `NO`, `on` and `12:30` are words, 1e-5 is a number, and no key stands twice."""

import re
from typing import Any

import yaml

# Tags that YAML 1.1 gives to plain words, and that surprise: yes and no, 010 in base eight, 12:30 in base sixty, dates.
SURPRISING = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "timestamp", "value")}
NUMBERS = {
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    # A number that begins with a zero is a name, such as a subject's.
    "int": (r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
}


class _Loader(yaml.SafeLoader):
    """Reads plain words as YAML 1.2 does, and refuses a key that stands twice in a block."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in SURPRISING]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        lines = {}
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key, line = (key_node.tag, key_node.value), key_node.start_mark.line + 1
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge" and key in lines:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} stands on line {lines[key]} and on line {line}", None
                )
            if isinstance(key_node, yaml.ScalarNode):
                lines[key] = line
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 would take for anything but text."""


for _name, (_pattern, _first) in NUMBERS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})\\Z"), list(_first))


def read_yaml(text: str) -> Any:
    """What a YAML text says.

    Args:
        text: A string.

    Returns:
        Dictionaries, lists, texts, numbers, truth values and None.

    Raises:
        ValueError: If it is not one YAML document, or a key stands twice in a block; one line.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def write_yaml(content: Any) -> str:
    """The YAML text of nested dictionaries, which every reader of YAML 1.1 or 1.2 reads alike.

    Args:
        content: Dictionaries, lists, texts, numbers, truth values and None.

    Returns:
        A string.
    """
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False)
