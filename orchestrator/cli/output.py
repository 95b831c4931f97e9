"""The terminal: what it can show, and what its owner wants to see there."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from orchestrator.errors import on_one_line

if TYPE_CHECKING:
    from rich.console import Console
import json
import logging
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.errors import ExportError


def apply_no_color() -> None:
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


class LogFormat(StrEnum):
    """How lines on stderr are written."""

    TEXT = "text"
    JSON = "json"

    def formatter(self) -> logging.Formatter:
        """Return what writes them."""
        return _JsonLines() if self is LogFormat.JSON else _TextLines()


class _Lines(logging.Formatter):
    """Shows a traceback's places; the words of no error but our own, which may quote a value."""

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 - logging's own
        found: BaseException | None = ei[1]
        lines: list[str] = []
        while found is not None:
            words = f": {found}" if isinstance(found, ExportError) else ""
            lines[:0] = [*traceback.format_tb(found.__traceback__), f"{_kind(found)}{words}\n"]
            found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
        return "".join(lines).rstrip("\n")


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


class _TextLines(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


class _JsonLines(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def bug_report(error: BaseException) -> ExportError:
    """Return an error of the program itself as one that tells its kind and place, not its words."""
    *_, place = traceback.extract_tb(error.__traceback__)
    found = ExportError(
        f"this is a fault of orchestrate: {type(error).__name__} at {Path(place.filename).name}:"
        f"{place.lineno}; report it with what -v shows"
    )
    found.__cause__ = error
    return found
