"""The JSON schemas in docs/schemas are those of the records that tfreg writes."""

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"


@pytest.fixture(scope="module")
def make():
    """The script that writes them."""
    spec = importlib.util.spec_from_file_location("make_schemas", FOLDER / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_are_up_to_date(make):
    expected = {name: make.schema_text(record) for name, record in make.records().items()}
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert written.keys() == expected.keys(), "run: python docs/schemas/make.py"
    for name, text in expected.items():
        assert json.loads(written[name]) == json.loads(text), f"{name} is of before: run python docs/schemas/make.py"


def test_every_field_is_explained(make):
    for record in make.records().values():
        for name in set(record.model_fields) - {"format"}:
            assert name in record.__doc__, f"{record.__name__}.{name} is not in its docstring"
