"""The glossary and the code agree."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^\| (?!word|---)(.+?) \| .+ \| (.+?) \|$", GLOSSARY, re.MULTILINE)
RETIRED = frozenset(re.search(r"mean several things: (.+?)\.", GLOSSARY, re.DOTALL)[1].replace("\n", " ").split(", "))


def names_in(tree):
    """(name, line) of whatever a file of Python gives a name to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno


def retired(tree):
    """The names with a retired word in them."""
    return [(name, line) for name, line in names_in(tree) if RETIRED & set(name.lower().split("_"))]


def named(path):
    """What a dotted name stands for: a module's attribute, or a class' field or method."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            fields = getattr(value, "model_fields", {}) | getattr(value, "__dataclass_fields__", {})
            value = fields[part] if part in fields else getattr(value, part)
        return value
    raise AttributeError(path)


def test_the_check_sees_names():
    tree = ast.parse(
        "found = 1\nself.way_back = 2\ndef f(told): pass\nfor ways in (): pass\nclass Trust: pass\nx.get(way)"
    )
    assert sorted(name for name, _ in retired(tree)) == ["Trust", "found", "told", "way_back", "ways"]
    assert len(ENTRIES) > 25


@pytest.mark.parametrize(("word", "places"), ENTRIES, ids=[word for word, _ in ENTRIES])
def test_words_are_the_codes(word, places):
    for place in re.findall(r"`(.+?)`", places):
        named(place)


@pytest.mark.parametrize("path", sorted((ROOT / "tfreg").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_retired_words_name_nothing(path):
    assert not retired(ast.parse(path.read_text(encoding="utf-8")))
