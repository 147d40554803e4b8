"""JSON files: read, written, and what they say as typed records with a format number."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from tfreg.errors import UserError


def read_json(path: str | Path, cure: str) -> Any:
    """What a JSON file says.

    Args:
        path: The file.
        cure: What to do where it is damaged, such as "register again".

    Returns:
        Nested dictionaries and lists.

    Raises:
        UserError: If the file cannot be read, or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: neither JSON nor UTF-8
        raise UserError(f"{path}: cannot be read, or is damaged; {cure}") from error


def json_text(value: Any) -> str:
    """The text of a JSON file; numbers that are not finite become null.

    Args:
        value: Nested dictionaries and lists.
    """
    return json.dumps(without_nan(value), indent=2) + "\n"


def without_nan(value: Any) -> Any:
    """What JSON can hold of nested dictionaries and lists: numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# A number that was measured; None where there is none, such as the median of nothing.
Measured = Annotated[float | None, BeforeValidator(without_nan)]


class Block(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Record(Block):
    """What one of tfreg's JSON files says; a subclass names its fields.

    Attributes:
        FORMAT: The number of the format that is written; it grows where a field is renamed or means something else.
        KIND: What a file is of, in words, where a message can say so.
        CURE: What to do where a file is of something else.
        AGAIN: What to do where a file cannot be read, if that is not `CURE`.
        format: The format of the file.
    """

    FORMAT: ClassVar[int] = 1
    KIND: ClassVar[str] = ""
    CURE: ClassVar[str] = "make it again with this version"
    AGAIN: ClassVar[str] = ""
    format: int = 0

    def model_post_init(self, _context: Any) -> None:
        """Stamps the record with its class' format."""
        object.__setattr__(self, "format", self.FORMAT)

    @classmethod
    def upgraded(cls, content: dict) -> dict:
        """A file's content as of today's format; subclasses that have changed say how.

        Args:
            content: What a file of an older format says.
        """
        return content

    @classmethod
    def parse(cls, content: Any, source: str | Path) -> Self:
        """The record that nested dictionaries make.

        Args:
            content: What a file says, of this or an older format.
            source: What error messages call it.

        Returns:
            A record.

        Raises:
            UserError: If something is missing or has another type, or the format is of a later version.
        """
        if not isinstance(content, dict):
            raise UserError(cls._something_else(source))
        number = content.get("format", 0)
        if isinstance(number, int) and number > cls.FORMAT:
            raise UserError(f"{source}: is of a later version of tfreg; update tfreg")
        try:
            return cls.model_validate(content if number == cls.FORMAT else cls.upgraded(dict(content)))
        except (ValidationError, KeyError, TypeError, AttributeError) as error:
            raise UserError(cls._something_else(source)) from error

    @classmethod
    def _something_else(cls, source):
        """What to say of a file that is no such record."""
        what = f"is not of {cls.KIND}" if cls.KIND else "is damaged, or something else"
        return f"{source}: {what}; {cls.CURE}"

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The record that a file holds; errors as of `parse`, and where it cannot be read."""
        return cls.parse(read_json(path, cls.AGAIN or cls.CURE), path)

    def text(self) -> str:
        """The text of its file."""
        return json_text(self.model_dump(mode="json"))

    def line(self) -> str:
        """The same in one line, for files of many records; what has its default is left out."""
        return json.dumps(without_nan(self.model_dump(mode="json", exclude_defaults=True)))

    def changed(self, **values: Any) -> Self:
        """The same with other values of some fields."""
        return self.model_copy(update=values)
