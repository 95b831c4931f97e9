"""What is due: the windows of each export that the ledger does not show as delivered."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from orchestrator import asked
from orchestrator.config import Config
from orchestrator.jobs import Job, Line, Lines, Request
from orchestrator.ledger import WRITTEN, Entry, Ledger
from orchestrator.windows import Window


def jobs(config: Config, ledger: Ledger, request: Request, now: datetime) -> list[Job]:
    """Return every job that is due, or asked for and not delivered, oldest window first.

    Raises UsageError for a brand that no export names, or days of which none is over.
    """
    lines = Lines(config, request)
    if request.days:
        found = asked.jobs(lines, ledger, request.days, now=now, forced=request.force)
    else:
        # A clock that was ahead may have left windows that are not over.
        found = [job for job in _scheduled(lines, ledger, request, now) if job.is_over(now)]
    known = ledger.entries(since=min((job.entry.window.start for job in found), default=now))
    revised = (job.revised(known.get((job.entry.export, job.entry.window))) for job in found)
    return sorted(
        (job for job in revised if job), key=lambda job: (job.entry.window, job.entry.export)
    )


def ahead(config: Config, ledger: Ledger, request: Request, now: datetime) -> list[str]:
    """Say of which exports the ledger has windows that end in the future: none of them is due."""
    spans = ledger.spans()
    return [
        f"{line.name}: the ledger reaches to {end:%Y-%m-%d %H:%M}, which is after now: nothing is "
        "due until then. Was the clock wrong? If so, 'orchestrate backfill --from D --to D --force'"
        " makes again what is over of the days since then"
        for line in Lines(config, request)
        if line.name in spans
        and (end := spans[line.name].end.astimezone(line.export.timezone)) > now
    ]


def coming(lines: Lines, ledger: Ledger, now: datetime) -> dict[str, datetime]:
    """Return, by export, when the next window comes due that is not due yet."""
    return {
        line.name: next(moment for moment in map(line.export.calendar.due, windows) if moment > now)
        for line, _, windows in _to_come(lines, ledger, ledger.spans(), now)
    }


def _scheduled(lines: Lines, ledger: Ledger, request: Request, now: datetime) -> Iterator[Job]:
    """Yield what waits in the ledger, and every window since."""
    spans = ledger.spans()
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
    lines: Lines, ledger: Ledger, spans: Mapping[str, Window], now: datetime
) -> Iterator[tuple[Line, Sequence[Window], Iterator[Window]]]:
    """Yield each export, the windows it has of late, and all from its last one on, without end."""
    begins = {line.name: _begin(line, spans.get(line.name), now) for line in lines}
    since = min([*begins.values(), *(spans[n].end for n in begins if n in spans)], default=now)
    known = asked.taken(ledger, since)
    for line in lines:
        taken = known.get(line.name, [])
        yield line, taken, asked.filled(line.export.calendar, begins[line.name], taken)


def _begin(line: Line, span: Window | None, now: datetime) -> datetime:
    """Return where the windows begin that are not in the ledger's span of this export."""
    calendar, day = line.export.calendar, line.export.start
    start = calendar.first_from(calendar.start_of(day)) if day else None
    if span is None:
        return start or calendar.last_due(now).start
    if start and (start < span.start or start > span.end):
        return start
    return span.end
