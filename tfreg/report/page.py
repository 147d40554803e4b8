"""HTML pages that need no other file and no network."""

import base64
from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **content: Any) -> str:
    """Fills a template; every text is escaped, and a name that is missing is an error.

    Args:
        template: The file's name in `templates/`.
        content: What the template names.

    Returns:
        HTML, a string.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)


def data_uri(png: bytes) -> str:
    """The address of a picture that is part of the page, from a PNG's bytes."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
