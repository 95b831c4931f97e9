"""Asked: the windows that begin on days that somebody names."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from orchestrator.errors import UsageError
from orchestrator.jobs import Job, Line, Lines
from orchestrator.ledger import PLANNED, Entry, Ledger
from orchestrator.windows import Calendar, Days, Window

MOST = 10_000
"""Windows in one command: they take about a second each."""
_MOMENT = timedelta(microseconds=1)


def jobs(
    lines: Lines, ledger: Ledger, days: Days, *, now: datetime, forced: bool = False
) -> list[Job]:
    """Return the windows that begin on these days and are over, delivered or not.

    Raises UsageError where none is over, none begins there, they are too many, or the last day
    comes before the first.
    """
    if days.last < days.first:
        raise UsageError(f"--to {days.last} comes before --from {days.first}")
    found: list[Job] = []
    too_early: list[tuple[Line, datetime]] = []
    windows: set[Window] = set()
    spans = ledger.spans()
    begins = [line.export.calendar.bounds(days)[0] for line in lines]
    known = taken(ledger, min(begins)) if begins else {}
    for line in lines:
        export, calendar = line.export, line.export.calendar
        # The newest window, asked for before anything else was exported, is where the schedule
        # begins, unless `start` says where.
        newest = None if line.name in spans or export.start else calendar.last_due(now)
        for window in _beginning(calendar, days, known.get(line.name, [])):
            ready = window.end + export.settle
            if ready > now:
                too_early.append((line, ready))
                break
            entry = Entry(line.name, window, 1, scheduled=window == newest)
            found.append(line.job(entry, forced=forced))
            windows.add(window)
            if len(windows) > MOST:
                raise UsageError(f"{days}: more than {MOST:,} windows; ask for fewer days at once")
    if too_early and not found:
        line, ready = too_early[0]
        zone = line.export.timezone
        raise UsageError(
            f"{days.first} is not over for {line.export.brand} in {zone.key}: "
            f"its first window can be exported from {ready.astimezone(zone):%Y-%m-%d %H:%M}"
        )
    if not found:
        raise UsageError(f"no window of these exports begins on {days}")
    return found


def taken(ledger: Ledger, since: datetime) -> dict[str, list[Window]]:
    """Return, by export, the windows that end at this moment or later, as the ledger has them.

    What was asked for and could never be made is not among them: it may be asked for otherwise.
    """
    found: dict[str, list[Window]] = {}
    for (name, window), entry in ledger.entries(since=since - _MOMENT).items():
        if entry.scheduled or entry.state != PLANNED or entry.revision > 1:
            found.setdefault(name, []).append(window)
    return {name: sorted(windows) for name, windows in found.items()}


def filled(calendar: Calendar, begin: datetime, known: Sequence[Window]) -> Iterator[Window]:
    """Yield the windows from a moment on, without end: those known, and the calendar's between.

    They tile time: where the time zone was changed, those between are cut to fit.
    """
    for window in known:
        yield from calendar.tiles(begin, max(begin, window.start))
        if window.end > begin:
            yield window
            begin = window.end
    yield from calendar.tiles(begin)


def _beginning(calendar: Calendar, days: Days, known: Sequence[Window]) -> Iterator[Window]:
    begin, end = calendar.bounds(days)
    goes_on = any(window.start < begin <= window.end for window in known)
    first = begin if goes_on else calendar.first_from(begin)
    windows = filled(calendar, first, known)
    return (w for w in takewhile(lambda window: window.start < end, windows) if w.start >= begin)
