"""Which windows are due: those of each export that the ledger does not show as delivered."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from orchestrator.config import Config
from orchestrator.errors import UsageError
from orchestrator.jobs import ExportEntry, Exports, Job, Request
from orchestrator.ledger import PLANNED, WRITTEN, Entry, Ledger
from orchestrator.windows import Calendar, Days, Window

MOST_WINDOWS = 10_000
"""The most windows that one command builds; each takes about a second."""
_MOMENT = timedelta(microseconds=1)


def jobs(config: Config, ledger: Ledger, request: Request, now: datetime) -> list[Job]:
    """Return every job that is due, or requested and not delivered, oldest window first.

    Raises UsageError for a brand that no export names, or days of which none has ended.
    """
    exports = Exports(config, request)
    if request.days:
        found = requested(exports, ledger, request.days, now=now, forced=request.force)
    else:
        # A clock that was ahead may have put windows into the ledger that have not ended.
        found = [job for job in _scheduled(exports, ledger, request, now) if job.is_over(now)]
    since = min((job.entry.window.start for job in found), default=now)
    known = ledger.entries(since=since, exports=[job.entry.export for job in found])
    revised = (job.revised(known.get((job.entry.export, job.entry.window))) for job in found)
    return sorted(
        (job for job in revised if job), key=lambda job: (job.entry.window, job.entry.export)
    )


def future_warnings(config: Config, ledger: Ledger, request: Request, now: datetime) -> list[str]:
    """Return a warning for each export whose newest window in the ledger ends in the future."""
    exports = Exports(config, request)
    spans = _spans(exports, ledger)
    return [
        f"{each.name}: the ledger reaches to {end:%Y-%m-%d %H:%M}, which is after now: nothing is "
        "due until then. If the clock was wrong, 'orchestrate backfill --from D --to D --force'"
        " rebuilds the windows of those days that have ended"
        for each in exports
        if each.name in spans
        and (end := spans[each.name].end.astimezone(each.export.timezone)) > now
    ]


def next_due(exports: Exports, ledger: Ledger, now: datetime) -> dict[str, datetime]:
    """Return, by export, when its next window is due that is not due yet."""
    return {
        each.name: next(moment for moment in map(each.export.calendar.due, windows) if moment > now)
        for each, _, windows in _to_come(exports, ledger, _spans(exports, ledger), now)
    }


def _scheduled(exports: Exports, ledger: Ledger, request: Request, now: datetime) -> Iterator[Job]:
    """Yield the unfinished windows of the ledger, and every due window since."""
    spans = _spans(exports, ledger)
    waiting: set[tuple[str, Window]] = set()
    for entry in ledger.open_entries():
        owner = exports.owner(entry) if entry.scheduled or entry.state == WRITTEN else None
        if owner:
            each, brand = owner
            waiting.add((entry.export, entry.window))
            yield each.job(entry, brand=brand, forced=request.force)
    for each, taken, to_come in _to_come(exports, ledger, spans, now):
        calendar = each.export.calendar
        windows = set()
        for window in to_come:
            if calendar.due(window) > now:
                break
            windows.add(window)
        if request.force and each.name in spans:
            windows |= {window for window in taken if window.end == spans[each.name].end}
        for window in windows:
            if (each.name, window) not in waiting:
                yield each.job(Entry(each.name, window, 1), forced=request.force)


def _to_come(
    exports: Exports, ledger: Ledger, spans: Mapping[str, Window], now: datetime
) -> Iterator[tuple[ExportEntry, Sequence[Window], Iterator[Window]]]:
    """Yield each export, its newest windows in the ledger, and the endless windows after those."""
    begins = {each.name: _begin(each, spans.get(each.name), now) for each in exports}
    since = min([*begins.values(), *(spans[n].end for n in begins if n in spans)], default=now)
    known = _windows_in_ledger(exports, ledger, since)
    for each in exports:
        taken = known.get(each.name, [])
        yield each, taken, _tiled(each.export.calendar, begins[each.name], taken)


def _begin(each: ExportEntry, span: Window | None, now: datetime) -> datetime:
    """Return the begin of the first window that is not in the ledger's span of this export."""
    calendar, day = each.export.calendar, each.export.start
    start = calendar.first_from(calendar.start_of(day)) if day else None
    if span is None:
        return start or calendar.last_due(now).start
    if start and (start < span.start or start > span.end):
        return start
    return span.end


def requested(
    exports: Exports, ledger: Ledger, days: Days, *, now: datetime, forced: bool = False
) -> list[Job]:
    """Return the windows that begin on these days and have ended, delivered or not.

    Raises UsageError where none has ended, none begins on these days, they are too many, or the
    last day is before the first.
    """
    if days.last < days.first:
        raise UsageError(f"--to {days.last} is before --from {days.first}")
    found: list[Job] = []
    too_early: list[tuple[ExportEntry, datetime]] = []
    windows: set[Window] = set()
    spans = _spans(exports, ledger)
    begins = [each.export.calendar.bounds(days)[0] for each in exports]
    known = _windows_in_ledger(exports, ledger, min(begins)) if begins else {}
    for each in exports:
        export, calendar = each.export, each.export.calendar
        # A request for the newest window, before anything else was exported, begins the schedule
        # there, unless `start` says where it begins.
        newest = None if each.name in spans or export.start else calendar.last_due(now)
        for window in _beginning(calendar, days, known.get(each.name, [])):
            ready = window.end + export.settle
            if ready > now:
                too_early.append((each, ready))
                break
            entry = Entry(each.name, window, 1, scheduled=window == newest)
            found.append(each.job(entry, forced=forced))
            windows.add(window)
            if len(windows) > MOST_WINDOWS:
                raise UsageError(
                    f"{days}: more than {MOST_WINDOWS:,} windows; ask for fewer days at once"
                )
    if too_early and not found:
        each, ready = too_early[0]
        zone = each.export.timezone
        raise UsageError(
            f"{days.first} is not over for {each.export.brand} in {zone.key}: "
            f"its first window can be exported from {ready.astimezone(zone):%Y-%m-%d %H:%M}"
        )
    if not found:
        raise UsageError(f"no window of these exports begins on {days}")
    return found


def _spans(exports: Exports, ledger: Ledger) -> dict[str, Window]:
    return ledger.spans(each.name for each in exports)


def _windows_in_ledger(
    exports: Exports, ledger: Ledger, since: datetime
) -> dict[str, list[Window]]:
    """Return, by export, the windows of the ledger that end at this moment or later.

    Requested windows that were never built are left out: their bounds do not bind the schedule.
    """
    found: dict[str, list[Window]] = {}
    entries = ledger.entries(since=since - _MOMENT, exports=[each.name for each in exports])
    for (name, window), entry in entries.items():
        if entry.scheduled or entry.state != PLANNED or entry.revision > 1:
            found.setdefault(name, []).append(window)
    return {name: sorted(windows) for name, windows in found.items()}


def _tiled(calendar: Calendar, begin: datetime, known: Sequence[Window]) -> Iterator[Window]:
    """Yield endless windows from a moment on: those known, and the calendar's between them.

    They tile time. After a change of the time zone, windows of the calendar are cut to fit.
    """
    for window in known:
        yield from calendar.tiles(begin, max(begin, window.start))
        if window.end > begin:
            yield window
            begin = window.end
    yield from calendar.tiles(begin)


def _beginning(calendar: Calendar, days: Days, known: Sequence[Window]) -> Iterator[Window]:
    begin, end = calendar.bounds(days)
    continues = any(window.start < begin <= window.end for window in known)
    first = begin if continues else calendar.first_from(begin)
    windows = _tiled(calendar, first, known)
    return (w for w in takewhile(lambda window: window.start < end, windows) if w.start >= begin)
