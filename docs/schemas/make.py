"""Writes the JSON schema of every file that tfreg writes as JSON, one a record.

python docs/schemas/make.py
"""

import importlib
import json
import re
from pathlib import Path

import tfreg
from tfreg.io.json_files import Record

HERE = Path(__file__).parent
PACKAGE = Path(tfreg.__file__).parent


def records():
    """Every class of records, by the name of its schema's file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "(Record)" in path.read_text(encoding="utf-8"):
            importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
    ours = [record for record in Record.__subclasses__() if record.__module__.startswith("tfreg.")]
    classes = sorted(ours, key=lambda record: record.__name__)
    return {f"{re.sub('(?<=[a-z])(?=[A-Z])', '_', record.__name__).lower()}.json": record for record in classes}


def schema_text(record):
    """The text of a record's schema."""
    schema = record.model_json_schema(mode="serialization")
    schema["properties"]["format"] = {"const": record.FORMAT, "title": "Format", "type": "integer"}
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema, indent=2) + "\n"


def main():
    """Writes the files, and removes those of records that are no more."""
    written = records()
    for path in HERE.glob("*.json"):
        if path.name not in written:
            path.unlink()
    for name, record in written.items():
        (HERE / name).write_text(schema_text(record), encoding="utf-8")


if __name__ == "__main__":
    main()
