"""What is due: the windows of each export that the ledger does not show as delivered."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from orchestrator.config import Config
from orchestrator.errors import UsageError
from orchestrator.jobs.job import ExportEntry, Exports, Job, Request
from orchestrator.ledger import PLANNED, WRITTEN, Entry, Ledger
from orchestrator.windows import Calendar, Days, Window

MOST_WINDOWS = 10_000
"""Windows of one command, each of which takes about a second."""
_MOMENT = timedelta(microseconds=1)


def jobs(config: Config, ledger: Ledger, request: Request, now: datetime) -> list[Job]:
    """Return every job that is due, or asked for and not delivered, oldest window first.

    Raises UsageError for a brand that no export names, or days of which none is over.
    """
    lines = Exports(config, request)
    if request.days:
        found = requested(lines, ledger, request.days, now=now, forced=request.force)
    else:
        # A clock that was ahead may have left windows that are not over.
        found = [job for job in _scheduled(lines, ledger, request, now) if job.is_over(now)]
    since = min((job.entry.window.start for job in found), default=now)
    known = ledger.entries(since=since, exports=[job.entry.export for job in found])
    revised = (job.revised(known.get((job.entry.export, job.entry.window))) for job in found)
    return sorted(
        (job for job in revised if job), key=lambda job: (job.entry.window, job.entry.export)
    )


def ahead(config: Config, ledger: Ledger, request: Request, now: datetime) -> list[str]:
    """Say of which exports the ledger has windows that end in the future: none of them is due."""
    lines = Exports(config, request)
    spans = _spans(lines, ledger)
    return [
        f"{line.name}: the ledger reaches to {end:%Y-%m-%d %H:%M}, which is after now: nothing is "
        "due until then. Was the clock wrong? If so, 'orchestrate backfill --from D --to D --force'"
        " makes again what is over of the days since then"
        for line in lines
        if line.name in spans
        and (end := spans[line.name].end.astimezone(line.export.timezone)) > now
    ]


def coming(lines: Exports, ledger: Ledger, now: datetime) -> dict[str, datetime]:
    """Return, by export, when the next window comes due that is not due yet."""
    return {
        line.name: next(moment for moment in map(line.export.calendar.due, windows) if moment > now)
        for line, _, windows in _to_come(lines, ledger, _spans(lines, ledger), now)
    }


def _scheduled(lines: Exports, ledger: Ledger, request: Request, now: datetime) -> Iterator[Job]:
    """Yield what waits in the ledger, and every window since."""
    spans = _spans(lines, ledger)
    waiting: set[tuple[str, Window]] = set()
    for entry in ledger.open_entries():
        owner = lines.owner(entry) if entry.scheduled or entry.state == WRITTEN else None
        if owner:
            line, brand = owner
            waiting.add((entry.export, entry.window))
            yield line.job(entry, brand=brand, forced=request.force)
    for line, taken, to_come in _to_come(lines, ledger, spans, now):
        calendar = line.export.calendar
        windows = set()
        for window in to_come:
            if calendar.due(window) > now:
                break
            windows.add(window)
        if request.force and line.name in spans:
            windows |= {window for window in taken if window.end == spans[line.name].end}
        for window in windows:
            if (line.name, window) not in waiting:
                yield line.job(Entry(line.name, window, 1), forced=request.force)


def _to_come(
    lines: Exports, ledger: Ledger, spans: Mapping[str, Window], now: datetime
) -> Iterator[tuple[ExportEntry, Sequence[Window], Iterator[Window]]]:
    """Yield each export, the windows it has of late, and all from its last one on, without end."""
    begins = {line.name: _begin(line, spans.get(line.name), now) for line in lines}
    since = min([*begins.values(), *(spans[n].end for n in begins if n in spans)], default=now)
    known = known_windows(lines, ledger, since)
    for line in lines:
        taken = known.get(line.name, [])
        yield line, taken, filled(line.export.calendar, begins[line.name], taken)


def _begin(line: ExportEntry, span: Window | None, now: datetime) -> datetime:
    """Return where the windows begin that are not in the ledger's span of this export."""
    calendar, day = line.export.calendar, line.export.start
    start = calendar.first_from(calendar.start_of(day)) if day else None
    if span is None:
        return start or calendar.last_due(now).start
    if start and (start < span.start or start > span.end):
        return start
    return span.end


def requested(
    lines: Exports, ledger: Ledger, days: Days, *, now: datetime, forced: bool = False
) -> list[Job]:
    """Return the windows that begin on these days and are over, delivered or not.

    Raises UsageError where none is over, none begins there, they are too many, or the last day
    comes before the first.
    """
    if days.last < days.first:
        raise UsageError(f"--to {days.last} comes before --from {days.first}")
    found: list[Job] = []
    too_early: list[tuple[ExportEntry, datetime]] = []
    windows: set[Window] = set()
    spans = _spans(lines, ledger)
    begins = [line.export.calendar.bounds(days)[0] for line in lines]
    known = known_windows(lines, ledger, min(begins)) if begins else {}
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
            if len(windows) > MOST_WINDOWS:
                raise UsageError(
                    f"{days}: more than {MOST_WINDOWS:,} windows; ask for fewer days at once"
                )
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


def _spans(lines: Exports, ledger: Ledger) -> dict[str, Window]:
    return ledger.spans(line.name for line in lines)


def known_windows(lines: Exports, ledger: Ledger, since: datetime) -> dict[str, list[Window]]:
    """Return, by export, the windows that end at this moment or later, as the ledger has them.

    What was asked for and could never be made is not among them: it may be asked for otherwise.
    """
    found: dict[str, list[Window]] = {}
    entries = ledger.entries(since=since - _MOMENT, exports=[line.name for line in lines])
    for (name, window), entry in entries.items():
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
