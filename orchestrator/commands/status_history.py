"""History of exports for `status --html`: recent windows, and rows and lags by day."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from orchestrator.commands.status import late_windows
from orchestrator.config import Config
from orchestrator.jobs import ExportEntry, Exports, Request
from orchestrator.ledger import DELIVERED, Failure, Ledger
from orchestrator.windows import Window

PERIOD = timedelta(days=42)
"""The time that the plots cover."""
RECENT = 30
"""The number of windows of each export that the page shows one by one."""
_MOST_AHEAD = timedelta(hours=14)
"""The largest offset from UTC: a local day begins earliest in that time zone."""


@dataclass(frozen=True)
class HistoryDay:
    """Activity rows, and lags in seconds, of an export's windows that begin on one local day."""

    rows: Counter[str] = field(default_factory=Counter)
    lags: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class StatusHistory:
    """The days of each export by ISO date, from `since` on, and the failures, newest first.

    `recent` has the last windows of each export, oldest first, each with its state: delivered,
    late (rows arrived after the delivery), failed, stopped or waiting.
    """

    since: datetime
    days: Mapping[str, Mapping[str, HistoryDay]]
    failures: Sequence[Failure]
    recent: Mapping[str, Sequence[tuple[Window, str]]] = field(default_factory=dict)


def read_history(
    config: Config, request: Request, ledger: Ledger, *, now: datetime
) -> StatusHistory:
    """Return the history of the exports of a request. Raises LedgerError."""
    history, entries = ledger.history, Exports(config, request)
    since = datetime.combine(now - PERIOD, time(), UTC)
    earlier = since - timedelta(days=1)  # in some time zones the first day begins before `since`

    @cache
    def owner(name: str) -> ExportEntry | None:
        found = entries.owner(name)
        return found[0] if found else None

    days: dict[str, dict[str, HistoryDay]] = defaultdict(lambda: defaultdict(HistoryDay))
    for name, start, rows in history.rows(earlier):
        if entry := owner(name):
            days[name][_date(entry.export.timezone, start)].rows.update(rows)
    for name, window, at in history.completions(earlier):
        if entry := owner(name):
            lag = at - entry.export.calendar.due(window)
            days[name][_date(entry.export.timezone, window.start)].lags.append(
                max(lag.total_seconds(), 0)
            )
    # Days in the future are left out: a clock that was wrong may have put them into the ledger.
    first, last = since.date().isoformat(), (now + _MOST_AHEAD).date().isoformat()
    shown = {
        name: {d: day for d, day in found.items() if first <= d <= last}
        for name, found in days.items()
    }
    failures = [
        failure
        for failure in ledger.failures.since(since)
        if owner(failure.export) and failure.status in ("failed", "stopped")
    ]
    return StatusHistory(since, shown, failures, _recent(entries, ledger, since))


def _recent(
    entries: Exports, ledger: Ledger, since: datetime
) -> dict[str, list[tuple[Window, str]]]:
    late = {
        (name, counted.window)
        for name, found in late_windows(entries, ledger).items()
        for _, counted in found
    }
    failing = {
        (failure.export, failure.window): failure.status for failure in ledger.failures.failing()
    }
    recent: dict[str, list[tuple[Window, str]]] = defaultdict(list)
    for entry in ledger.history.recent(since, most=RECENT):
        key = entry.export, entry.window
        state = "late" if key in late else "delivered" if entry.state == DELIVERED else "waiting"
        recent[entry.export].append((entry.window, failing.get(key, state)))
    return recent


@cache
def _date(zone: ZoneInfo, start: datetime) -> str:
    """Return the local day. Cached: a thousand exports have windows with the same start."""
    return start.astimezone(zone).date().isoformat()
