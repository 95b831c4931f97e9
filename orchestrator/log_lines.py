"""Lines of the log, as text or JSON; no traceback tells a value."""

import json
import logging
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from orchestrator.errors import ExportError


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
