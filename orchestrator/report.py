"""Reports: what a command tells people (stderr) and programs (stdout)."""

import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from orchestrator.errors import ExportError
from orchestrator.result import RunResult, Status, WindowResult

if TYPE_CHECKING:
    from orchestrator.loading import LoadResult

_log = logging.getLogger("orchestrate")


class LogFormat(StrEnum):
    """How lines on stderr are written."""

    TEXT = "text"
    JSON = "json"


@dataclasses.dataclass(frozen=True)
class Report:
    """Where and how a command reports."""

    as_json: bool = False
    log_format: LogFormat = LogFormat.TEXT
    verbose: bool = False

    def start(self) -> None:
        """Send the log to stderr."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonLines() if self.log_format is LogFormat.JSON else _TextLines())
        # asyncssh tells of every request at INFO.
        logging.getLogger("asyncssh").setLevel(logging.WARNING)
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        level = logging.DEBUG if self.verbose else logging.INFO
        for name in ("orchestrate", "orchestrator"):
            logging.getLogger(name).setLevel(level)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """Yield what shows the step at hand: a spinner on a terminal, else a line each."""
        if self.log_format is LogFormat.JSON or not sys.stderr.isatty():
            yield _log.info
            return
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it

        with Console(stderr=True).status("starting") as status:
            yield status.update

    def run(self, result: RunResult) -> None:
        """Report what a run did."""
        for window in result.windows:
            _log.log(_level(window.status), "%s", _line(window))
        if not result.windows:
            _log.info("nothing is due")
        self.document({**_plain(result), "exit_code": result.exit_code})

    def load(self, result: "LoadResult") -> None:
        """Report what a load did."""
        for table in result.tables:
            text = f"{table.table}: {table.rows:,} rows read, {table.added:,} added"
            if table.replaced:
                text += f", {table.replaced:,} replaced"
            if table.present:
                text += f", {table.present:,} there already"
            _log.info("%s", text)
            if table.reject_file:
                _log.warning(
                    "%s: %s rejected, with the reasons in %s",
                    table.table,
                    _count(table.rejected, ("row", "rows")),
                    table.reject_file,
                )
        self.document({**_plain(result), "exit_code": 3 if result.rejected else 0})

    def text(self, text: str) -> None:
        """Print text for a person on stdout, where no JSON document stands there."""
        if not self.as_json:
            print(text)  # noqa: T201 - data

    def document(self, document: Any) -> None:  # noqa: ANN401 - whatever JSON holds
        """Print one JSON document on stdout, where `--json` asks for it."""
        if self.as_json:
            print(json.dumps(_plain(document), indent=2, ensure_ascii=False))  # noqa: T201 - data

    def error(self, error: ExportError) -> None:
        """Report what stopped a command."""
        _log.error("%s", error, exc_info=error if self.verbose else None)
        self.document({"error": str(error), "exit_code": error.exit_code})


def _level(status: Status) -> int:
    return logging.ERROR if status in (Status.FAILED, Status.STOPPED) else logging.INFO


def _line(result: WindowResult) -> str:
    start = result.window.start.astimezone(ZoneInfo(result.timezone))
    form = "%Y-%m-%d" if start.strftime("%H%M") == "0000" else "%Y-%m-%d %H:%M%z"
    text = f"{result.status:<9} {result.export} {start:{form}}"
    if result.revision > 1:
        text += f" (revision {result.revision})"
    if result.files and all(file.rows is not None for file in result.files):
        text += ": " + ", ".join(_count(file.rows, _NOUNS[file.kind]) for file in result.files)
    elif result.files:
        text += ": " + ", ".join(file.path for file in result.files)
    if there := sorted({name for file in result.files for name in file.destinations}):
        text += f", at {', '.join(there)}"
    return f"{text}: {result.error}" if result.error else text


_NOUNS = {"activity": ("activity", "activities"), "broadcast": ("broadcast", "broadcasts")}


def _count(number: int | None, noun: tuple[str, str]) -> str:
    return f"{number:,} {noun[number != 1]}"


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
