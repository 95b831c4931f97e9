"""Reports: what a command tells people (stderr) and programs (stdout)."""

import dataclasses
import json
import logging
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import output
from orchestrator.cli.output import LogFormat
from orchestrator.cli.phrases import ROWS, count, late_line, line
from orchestrator.errors import ExportError
from orchestrator.pipeline.result import RunResult, Status

if TYPE_CHECKING:
    from orchestrator.commands.check import CheckResult
    from orchestrator.commands.preview import Head
    from orchestrator.loading import LoadResult
    from orchestrator.pipeline.retention import PruneResult

_log = logging.getLogger("orchestrate")


@dataclasses.dataclass(frozen=True)
class Report:
    """Where and how a command reports."""

    as_json: bool = False
    log_format: LogFormat = LogFormat.TEXT
    verbose: bool = False

    def start(self) -> None:
        """Send the log to stderr."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(self.log_format.formatter())
        # asyncssh tells of every request at INFO, psycopg of a lost connection that we tell of.
        logging.getLogger("asyncssh").setLevel(logging.WARNING)
        logging.getLogger("psycopg").setLevel(logging.ERROR)
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        level = logging.DEBUG if self.verbose else logging.INFO
        for name in ("orchestrate", "orchestrator"):
            logging.getLogger(name).setLevel(level)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """Yield what shows the step at hand: a spinner on a terminal, else a line each."""
        if self.log_format is LogFormat.JSON or not output.is_fancy(sys.stderr):
            yield _log.info
            return
        with output.console().status("starting") as status:
            yield status.update

    def run(self, result: RunResult) -> None:
        """Report what a run did."""
        for window in result.windows:
            _log.log(_level(window.status), "%s", line(window))
        for late in result.late:
            _log.warning("%s", late_line(late))
        if not result.windows:
            _log.info("nothing was made" if result.warnings else "nothing is due")
        self.document({**_plain(result), "exit_code": result.exit_code})

    def load(self, result: "LoadResult") -> None:
        """Report what a load did."""
        for table in result.tables:
            text = f"{table.table}: {count(table.rows, ROWS)} read, {table.added:,} added"
            if table.replaced:
                text += f", {table.replaced:,} replaced"
            if table.present:
                text += f", {table.present:,} there already"
            _log.info("%s", text)
            if table.reject_file:
                _log.warning(
                    "%s: %s rejected, with the reasons in %s",
                    table.table,
                    count(table.rejected, ROWS),
                    table.reject_file,
                )
        self.document({**_plain(result), "exit_code": 3 if result.rejected else 0})

    def prune(self, result: "PruneResult") -> None:
        """Report what retention did, or would do."""
        for removal in result.removals:
            if removal.outcome == "due":
                since = removal.delivered_at
                age = count((result.now - since).days, ("day", "days"))
                place = removal.destination or "outbox"
                _log.info("%s: %s, delivered %s ago, %s", place, removal.path, age, f"{since:%F}")
        if not result.removals and not result.warnings:
            _log.info("nothing is old enough to go")
        self.document({**_plain(result), "exit_code": result.exit_code})

    def check(self, result: "CheckResult") -> None:
        """Report what was found right, and what to do about the rest."""
        for finding in result.findings:
            if finding.ok:
                _log.info("ok %s: %s", finding.subject, finding.text)
            else:
                _log.error("%s: %s", finding.subject, finding.text)
        self.document({**_plain(result), "exit_code": result.exit_code})

    def preview(self, heads: Sequence["Head"]) -> None:
        """Show the heads of files: their bytes on stdout, and to people a table of their rows."""
        for head in heads:
            self.say(f"{head.path}: the first {len(head.first)} of {count(head.rows, ROWS)}")
            if self.as_json:
                continue
            if self.log_format is LogFormat.TEXT:  # in a log no row may stand
                output.table(head.headings, head.first)
            sys.stdout.buffer.write(head.head)
            sys.stdout.buffer.flush()
        self.document({"files": heads, "exit_code": 0})

    def say(self, text: str) -> None:
        """Tell people something, line by line."""
        for told in text.splitlines():
            _log.info("%s", told)

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


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else value
