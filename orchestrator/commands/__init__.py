"""The commands that are not a run: check, preview, status, docs, schedule, init and demo."""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING

from orchestrator.errors import escaped

if TYPE_CHECKING:
    import jinja2


def asset(name: str) -> str:
    """Return the text of a file below `assets`."""
    return (files("orchestrator") / "assets" / name).read_text(encoding="utf-8")


def template(name: str, **filters: Callable[..., str]) -> "jinja2.Template":
    """Return a template below `assets`, with filters that quote for its format.

    In a page (`*.html`) every text is escaped twice: control characters, which could reorder a
    line, and then HTML. Texts of the type `Markup`, such as scripts, are not escaped.
    """
    import jinja2  # noqa: PLC0415 - slow, and few commands need it
    from markupsafe import Markup  # noqa: PLC0415 - the same

    is_page = name.endswith(".html")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=is_page,  # noqa: S701 - the other formats are not HTML
        finalize=lambda value: (
            escaped(value)
            if is_page and isinstance(value, str) and not isinstance(value, Markup)
            else value
        ),
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters |= {"json": json.dumps, **filters}
    return environment.from_string(asset(name))
