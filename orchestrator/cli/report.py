"""Reports of commands: the result on stdout, as text or as a JSON document, and the log on stderr.

Progress, warnings and errors go to the log.
"""

import dataclasses
import logging
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol
from zoneinfo import ZoneInfo

import typer

from orchestrator.cli import output
from orchestrator.cli.output import LogFormat
from orchestrator.config.exports import EVERY_BRAND
from orchestrator.errors import ExportError, escaped
from orchestrator.jobs import Subject
from orchestrator.pipeline import LateRows, RunResult, Status, WindowResult
from orchestrator.progress import ROWS, WINDOWS, Progress, count
from orchestrator.windows import Window

if TYPE_CHECKING:
    from orchestrator.commands.check import CheckResult
    from orchestrator.commands.preview import Head
    from orchestrator.commands.reconcile import ReconcileResult
    from orchestrator.loading import LoadResult
    from orchestrator.pipeline.retention import PruneResult

NOUNS = {"activity": ("activity", "activities"), "broadcast": ("broadcast", "broadcasts")}
"""The noun for a row of each kind of file: singular and plural."""
_NAMES = 20
"""Most windows that a message names if several have the same error; `--json` has all of them."""
_PART_OF_A_DAY = timedelta(hours=12)
"""Every longer window is a day or more. The limit is not 24 hours: a local day may have 23."""
_log = logging.getLogger("orchestrate")


class Result(Protocol):
    """The result of a command: a frozen dataclass whose fields become the JSON document."""

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Writes the result and the log of a command in the requested formats."""

    as_json: bool = False
    log_format: LogFormat = LogFormat.TEXT
    verbose: bool = False

    def start(self) -> None:
        """Send the log to stderr, and with it the warnings of libraries."""
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(self.log_format.formatter())
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        logging.captureWarnings(capture=True)
        level = logging.DEBUG if self.verbose else logging.INFO
        for name, least in {
            "orchestrate": level,
            "orchestrator": level,
            "asyncio": logging.ERROR,  # it warns of each write to a lost connection
            "asyncssh": logging.WARNING,  # it logs every request as INFO
            "psycopg": logging.ERROR,  # it warns of lost connections, which are reported anyway
            "py.warnings": logging.WARNING if self.verbose else logging.ERROR,  # for developers
        }.items():
            logging.getLogger(name).setLevel(least)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Yield the callback that reports steps: with a spinner on a terminal, else in the log."""
        if self.log_format is LogFormat.JSON or not output.is_fancy(sys.stderr):
            yield lambda step, _=None, /: self.log(step)
        else:
            with output.spinner() as progress:
                yield progress

    def log(self, text: str, level: int = logging.INFO) -> None:
        """Write a message to the log."""
        _log.log(level, "%s", text)

    def show(self, text: str) -> None:
        """Print a text of several lines on stdout, unless stdout is for a JSON document."""
        if not self.as_json:
            print("\n".join(map(escaped, text.split("\n"))))  # noqa: T201 - the result

    def finish(self, result: Result, lines: Iterable[str] = ()) -> NoReturn:
        """Print the result, as JSON or as `lines`, and exit with its exit code."""
        if not self.as_json:
            for line in lines:
                print(output.shown(line))  # noqa: T201 - the result
        else:
            document = {**_plain(result), "exit_code": result.exit_code}
            print(output.json_text(document, indent=2))  # noqa: T201 - the result
        raise typer.Exit(result.exit_code)

    def error(self, error: ExportError) -> None:
        """Report the error that stopped a command."""
        _log.error("%s", error, exc_info=error if self.verbose else None)
        if self.as_json:
            document = {"error": str(error), "exit_code": error.exit_code}
            print(output.json_text(document, indent=2))  # noqa: T201 - the result

    def log_run(self, result: RunResult) -> None:
        """Log what a run did: windows, one message for each error, and late rows."""
        for window in result.windows:
            if window.status not in FAILURES:
                self.log(window_line(window))
        for line in failure_lines(result.windows):
            self.log(line, logging.ERROR)
        for late in result.late:
            self.log(late_line(late), logging.WARNING)
        if not result.windows:
            self.log("nothing was delivered" if result.warnings else "nothing is due")

    def log_rejects(self, result: "LoadResult") -> None:
        """Warn of the rows that a load rejected."""
        for table in result.tables:
            if table.reject_file and (reason := table.most_frequent_reason):
                rejected, most = count(table.rejected, ROWS), count(reason.rows, ROWS)
                text = f"{table.table}: {rejected} rejected, with the reasons in"
                text += f" {table.reject_file}; most frequent: {reason.text} ({most})"
                self.log(text, logging.WARNING)

    def preview(self, heads: Sequence["Head"]) -> None:
        """Show the heads of files: their bytes on stdout, and their rows as a table on stderr."""
        for head in heads:
            self.log(f"{head.path}: the first {len(head.first)} of {count(head.rows, ROWS)}")
            if self.as_json:
                continue
            if self.log_format is LogFormat.TEXT:  # no value of a row belongs in a log
                output.print_rows(head.headings, head.first)
            if sys.stdout.isatty():  # escaped: a terminal would execute escape sequences
                self.show(head.head.decode(head.encoding, "backslashreplace").rstrip("\r\n"))
            else:
                sys.stdout.buffer.write(head.head)
                sys.stdout.buffer.flush()


FAILURES = (Status.FAILED, Status.STOPPED)


def dry_run_lines(result: RunResult) -> list[str]:
    """Return a line for each window that a run would deliver or hold."""
    return [*map(window_line, result.windows)] or ["nothing is due"]


def load_lines(result: "LoadResult") -> Iterator[str]:
    """Yield a text for each table: its rows, and the first and last time of their receipt."""
    for table in result.tables:
        text = f"{table.table}: {count(table.rows, ROWS)} read, {table.added:,} added"
        if table.replaced:
            text += f", {table.replaced:,} replaced"
        if table.present:
            text += f", {table.present:,} loaded before"
        if table.reject_file:
            text += f", {table.rejected:,} rejected"
        if table.first_received_at and table.last_received_at:
            first, last = table.first_received_at, table.last_received_at
            text += f"\nreceived from {first:%F %T} to {last:%F %T} UTC"
        yield text


def prune_lines(result: "PruneResult") -> Iterator[str]:
    """Yield a line for each file that retention removes, with the file's age."""
    for removal in result.removals:
        if removal.outcome == "due":
            since = removal.delivered_at.astimezone(UTC)
            age = count((result.now - since).days, ("day", "days"))
            place = removal.destination or "outbox"
            yield f"{place}: {removal.path}, delivered {age} ago, {since:%F %H:%M} UTC"
    for name, windows in result.abandoned.items():
        for window in windows:
            yield f"given up: {name} {window}"
    if not (result.removals or result.warnings or result.abandoned):
        yield "no file is old enough to be removed"


def reconcile_lines(result: "ReconcileResult") -> Iterator[str]:
    """Yield the windows that differ from what was delivered, and what to do; then the totals."""
    for window in result.windows:
        if window.is_alike:
            continue
        yield _name(window) + ("" if window.delivered else ": never delivered")
        for row in window.rows:
            parts = [("missing", row.missing), ("gone", row.gone), ("changed", row.changed)]
            differ = ", ".join(f"{number:,} {what}" for what, number in parts if number)
            if differ or not window.delivered:
                least = "" if row.is_exact else "at least "
                found = f": {least}{differ}" if differ else ""
                yield f"  {row.kind:<10}{row.delivered:,} delivered, {row.now:,} now{found}"
        for file in window.files:
            yield f"  {file.state} in {file.place}: {file.path}"
        if window.command:
            yield f"  deliver it with: {window.command}"
    alike = sum(1 for window in result.windows if window.is_alike)
    missing = sum(1 for window in result.windows if window.is_missing)
    yield (
        f"{count(len(result.windows), WINDOWS)} compared: {alike:,} as delivered, "
        f"{missing:,} with missing rows or files, {len(result.windows) - alike - missing:,} with "
        "other differences"
    )


def check_lines(result: "CheckResult") -> Iterator[str]:
    """Yield a line for each check; a failed one says what to do."""
    for finding in result.findings:
        yield f"{'ok' if finding.ok else 'FAILED':<6} {finding.subject}: {finding.text}"
    failed = sum(1 for finding in result.findings if not finding.ok)
    if failed:
        yield f"{count(failed, ('check', 'checks'))} failed: correct each of them, and check again"
    else:
        yield "A run has everything that it needs. See what it would do: orchestrate run --dry-run"


def window_line(result: WindowResult) -> str:
    """Return one line about what happened to a window."""
    text = f"{result.status:<9} {_name(result)}"
    if result.revision > 1:
        text += f" (revision {result.revision})"
    counts = [(file.rows, NOUNS[file.kind]) for file in result.files if file.rows is not None]
    if counts:
        text += ": " + ", ".join(count(*rows) for rows in counts)
    elif result.files:
        text += ": " + ", ".join(file.path for file in result.files)
    at = ", ".join(sorted({name for file in result.files for name in file.destinations}))
    if result.hold:
        return f"{text}: {result.hold.reason}; it waits until {result.hold.until:%F %H:%M} UTC"
    if result.error:
        return f"{text}: {result.error}" + (f"; already at {at}" if at else "")
    return f"{text}, at {at}" if at else text


def failure_lines(results: Iterable[WindowResult]) -> Iterator[str]:
    """Yield a message for each error that failed or stopped windows, with their names."""
    alike: dict[tuple[Status, str | None], list[WindowResult]] = {}
    for result in results:
        if result.status in FAILURES:
            alike.setdefault((result.status, result.error), []).append(result)
    for (status, error), windows in alike.items():
        if len(windows) == 1:
            yield window_line(windows[0])
            continue
        names = ", ".join(map(_name, windows[:_NAMES]))
        more = f" and {len(windows) - _NAMES:,} more" if len(windows) > _NAMES else ""
        yield f"{status:<9} {len(windows):,} windows: {error}\n{names}{more}"


def late_line(late: LateRows) -> str:
    """Return one line about the late rows of a window, and what to do about them."""
    counts = [
        f"{count(late.now[kind], NOUNS[kind])}, {late.delivered[kind]:,} delivered"
        for kind in late.now
        if late.now[kind] > late.delivered[kind]
    ]
    if not counts:
        counts = ["the rows are not those that were delivered"]
    remedy = f"send that window again with: {late.command}" if late.command else "sent again"
    return f"late rows in {_name(late)}: {'; '.join(counts)}; {remedy}"


def window_start(window: Window, timezone: str) -> str:
    """Return the local day on which a window begins, with the time unless it is complete days."""
    start = window.start.astimezone(ZoneInfo(timezone))
    is_day = start.strftime("%H%M") == "0000" and window.end - window.start > _PART_OF_A_DAY
    return f"{start:%Y-%m-%d}" if is_day else f"{start:%Y-%m-%d %H:%M%z}"


def export_name(export: str, brand: str) -> str:
    """Return the name of an export for people; `*` stands for every brand without an entry."""
    return f"every other brand ({export})" if brand == EVERY_BRAND else export


def _name(of: Subject) -> str:
    return f"{export_name(of.export, of.brand)} {window_start(of.window, of.timezone)}"


def _plain(value: Any) -> Any:  # noqa: ANN401 - anything that JSON can express
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
