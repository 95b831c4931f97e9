"""The terminal: what it can show, and what its owner wants to see there."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from orchestrator.errors import on_one_line

if TYPE_CHECKING:
    from rich.console import Console


def obey() -> None:
    """Let NO_COLOR (no-color.org) mean what TERM=dumb does: not one escape code.

    Rich by itself leaves out the colours alone, and takes every dumb terminal to have 80 columns,
    unless both COLUMNS and LINES are set.
    """
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"
    if not _is_dumb():
        return
    for stream in (sys.stderr, sys.stdout):
        with suppress(OSError):  # no terminal
            size = os.get_terminal_size(stream.fileno())
            os.environ.setdefault("COLUMNS", str(size.columns or 80))
            os.environ.setdefault("LINES", str(size.lines or 25))


def is_fancy(stream: TextIO) -> bool:
    """Tell whether a stream goes to a terminal that takes colours and moving text."""
    return stream.isatty() and not _is_dumb()


def _is_dumb() -> bool:
    return os.environ.get("TERM", "dumb").lower() in ("dumb", "unknown")


def console() -> "Console":
    """Return what writes to people, on stderr."""
    from rich.console import Console  # noqa: PLC0415 - few commands need it

    return Console(stderr=True, highlight=False)


def table(headings: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    """Show people a table; what is null says so, and what would move the cursor is escaped."""
    from rich.table import Table  # noqa: PLC0415 - few commands need it
    from rich.text import Text  # noqa: PLC0415 - the same

    shown = Table()
    for heading in headings:
        shown.add_column(Text(on_one_line(heading)), overflow="fold")
    for row in rows:
        shown.add_row(
            *(Text("null", "dim") if cell is None else Text(on_one_line(cell)) for cell in row)
        )
    console().print(shown)
