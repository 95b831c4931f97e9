"""Text for the terminal and the log: colours, spinners, tables, escaping and log formats."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from orchestrator.errors import ExportError, escaped
from orchestrator.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console

_LENGTH = 2_000
"""Most characters of a line of a message: a server can send a text of any length."""


def apply_no_color() -> None:
    """Treat NO_COLOR (no-color.org) as TERM=dumb: print no escape codes.

    For NO_COLOR alone, rich omits only the colours. For a dumb terminal, rich assumes 80 columns
    unless both COLUMNS and LINES are set, so this function sets them to the real size.
    """
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"
    if not _is_dumb():
        return
    for stream in (sys.stderr, sys.stdout):
        with suppress(OSError):  # not a terminal
            size = os.get_terminal_size(stream.fileno())
            os.environ.setdefault("COLUMNS", str(size.columns or 80))
            os.environ.setdefault("LINES", str(size.lines or 25))


def is_fancy(stream: TextIO) -> bool:
    """Return whether a stream goes to a terminal that shows colours and moving text."""
    return stream.isatty() and not _is_dumb()


def _is_dumb() -> bool:
    return os.environ.get("TERM", "dumb").lower() in ("dumb", "unknown")


def styled(text: str, *, bold: bool = False, dim: bool = False) -> str:
    """Return a text for stdout, bold or dim if stdout is a terminal that can show it."""
    return typer.style(text, bold=bold or None, dim=dim or None) if is_fancy(sys.stdout) else text


def console(*, stderr: bool = False) -> "Console":
    """Return the console for tables and spinners; 80 columns if the width is not known."""
    from rich.console import Console  # noqa: PLC0415 - few commands need it

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


@contextmanager
def spinner() -> Iterator[Progress]:
    """Show a spinner on stderr; yield the callback that sets the step and its progress."""
    from rich.text import Text  # noqa: PLC0415 - only a terminal needs it

    class Step:
        def __init__(self, step: str, detail: Callable[[], str] | None) -> None:
            self._step = step
            self._detail = detail

        def __rich__(self) -> Text:
            """Return the current text; rich calls this at each refresh."""
            lines = [self._step, self._detail()] if self._detail else [self._step]
            return Text("\n".join(map(shown, lines)))

    terminal = console(stderr=True)

    class AboveSpinner:
        def write(self, text: str) -> None:
            terminal.print(Text(text), soft_wrap=True, end="")

        def flush(self) -> None:
            pass

    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
    ]
    stderr = sys.stderr
    with terminal.status("starting") as status:
        try:
            for handler in handlers:  # else messages begin in the middle of the spinner's line
                handler.setStream(AboveSpinner())
            yield lambda step, detail=None, /: status.update(Step(step, detail))
        finally:
            for handler in handlers:
                handler.setStream(stderr)


def print_rows(headings: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    """Print rows on stderr: as a table if it fits the terminal, otherwise as records."""
    from rich.cells import cell_len  # noqa: PLC0415 - few commands need it
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    heads = [escaped(heading) for heading in headings]
    cells = [["null" if text is None else escaped(text) for text in row] for row in rows]
    styles = [["dim" if text is None else "" for text in row] for row in rows]
    columns = [[head, *column] for head, *column in zip(heads, *cells, strict=True)]
    terminal = console(stderr=True)
    if sum(max(map(cell_len, column)) + 3 for column in columns) + 1 <= terminal.width:
        table = Table()
        for head in heads:
            table.add_column(Text(head))
        for texts, dim in zip(cells, styles, strict=True):
            table.add_row(*map(Text, texts, dim))
        terminal.print(table)
        return
    width = max(map(cell_len, heads))
    for number, (texts, dim) in enumerate(zip(cells, styles, strict=True), start=1):
        grid = Table(box=None, show_header=False, pad_edge=False, title_justify="left")
        grid.title = f"row {number}"
        grid.add_column(width=width, overflow="fold")
        grid.add_column(overflow="fold")
        for head, text, style in zip(heads, texts, dim, strict=True):
            grid.add_row(Text(head), Text(text, style))
        terminal.print(grid)


def shown(text: str) -> str:
    """Return a message that is safe to show: escaped, cut to a limit, later lines indented.

    The indent shows that a line continues the message and does not begin another one.
    """
    return "\n  ".join(escaped(line, _LENGTH) for line in text.split("\n"))


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON, with every unprintable character as a JSON escape sequence."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "\n".join(
        line
        if line.isprintable()
        else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)
        for line in text.split("\n")
    )


class LogFormat(StrEnum):
    """The format of the lines on stderr."""

    TEXT = "text"
    JSON = "json"

    def formatter(self) -> logging.Formatter:
        """Return the formatter of the log's handler."""
        return _JsonLines() if self is LogFormat.JSON else _TextLines()


class _Lines(logging.Formatter):
    """Formats tracebacks. Only the product's own errors are shown with their message.

    The message of a library's error may quote a value of a row.
    """

    def formatException(self, ei: Any) -> str:  # noqa: ANN401, N802 - logging's own
        found: BaseException | None = ei[1]
        lines: list[str] = []
        while found is not None:
            kind = f"{type(found).__module__}.{type(found).__qualname__}"
            message = f": {shown(str(found))}" if isinstance(found, ExportError) else ""
            lines[:0] = [*traceback.format_tb(found.__traceback__), f"{kind}{message}\n"]
            found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
        return "".join(lines).rstrip("\n")


class _TextLines(_Lines):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own
        text = shown(record.message)
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


class _JsonLines(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message = shown(record.getMessage())
        line = {"time": moment, "level": record.levelname.lower(), "message": message}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json_text(line)


def bug_report(error: BaseException) -> ExportError:
    """Return the error that reports a bug: the exception's type and place, not its message."""
    *_, place = traceback.extract_tb(error.__traceback__)
    found = ExportError(
        f"this is a bug of orchestrate: {type(error).__name__} at {Path(place.filename).name}:"
        f"{place.lineno}; report it with the output of -v"
    )
    found.__cause__ = error
    return found
