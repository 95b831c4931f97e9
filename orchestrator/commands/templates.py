"""Templates of files that people and programs read: Jinja over text of our own."""

from collections.abc import Callable
from importlib.resources import files

import jinja2


def plain(name: str, **filters: Callable[..., str]) -> jinja2.Template:
    """Return a template below `assets`; each filter quotes in the way of its format."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - no HTML
    )
    environment.filters |= filters
    source = files("orchestrator") / "assets" / name
    return environment.from_string(source.read_text(encoding="utf-8"))
