"""Which windows are due: those of each export that the ledger does not show as delivered."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from orchestrator.config import Config
from orchestrator.errors import UsageError
from orchestrator.jobs import ExportEntry, Exports, Job, Request
from orchestrator.jobs.continuity import Continuity
from orchestrator.ledger import PLANNED, WRITTEN, Entry, Ledger
from orchestrator.windows import Calendar, Days, Window

MOST_WINDOWS = 10_000
"""The most windows that one command builds; each takes about a second."""
_TURN = 96
"""Windows that an export gets before the next ones have their turn: a day of 15 minutes each."""
_MOST_OF_AN_EXPORT = 1_000
"""Windows of one export that a scheduled run builds: a week of 15 minutes each, and some more."""
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


def in_turns(jobs: Sequence[Job]) -> tuple[list[Job], list[str]]:
    """Return the jobs of a scheduled run in a fair order, and a warning for each that is too long.

    While a run is at work no other one is, so a backlog of years of one export would hold up all
    others. Each export gets 96 windows in turn, its oldest first, and 1,000 in one run; the next
    run continues. Within a turn the order is that of the windows, so exports that share windows
    still share their builds.
    """
    taken: Counter[str] = Counter()
    ranked: list[tuple[int, Job]] = []
    for job in jobs:
        ranked.append((taken[job.entry.export], job))
        taken[job.entry.export] += 1
    chosen = [(rank, job) for rank, job in ranked if rank < _MOST_OF_AN_EXPORT]
    chosen.sort(key=lambda item: item[0] // _TURN)  # a stable sort
    warnings = [
        f"{name}: {number:,} windows are due; this run builds the oldest {_MOST_OF_AN_EXPORT:,}, "
        "so that other exports are not held up; the next run continues there"
        for name, number in taken.items()
        if number > _MOST_OF_AN_EXPORT
    ]
    return [job for _, job in chosen], warnings


def future_warnings(config: Config, ledger: Ledger, request: Request, now: datetime) -> list[str]:
    """Return a warning for each export whose newest window in the ledger ends in the future."""
    exports = Exports(config, request)
    spans = ledger.spans(each.name for each in exports)
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
    continuity = Continuity(exports, ledger)
    lines = _lines(exports, continuity, now, apart=False)
    found = {}
    for line, _, to_come in _to_come(lines, ledger, continuity.spans):
        moments = map(line.each.export.calendar.due, to_come)
        found[line.name] = next(moment for moment in moments if moment > now)
    return found


@dataclass(frozen=True)
class _Line:
    """The windows of an entry from a moment on, or of one brand of `*` that has its own."""

    each: ExportEntry
    brand: str
    begin: datetime

    @property
    def name(self) -> str:
        return self.each.name_of(self.brand)


def _lines(
    exports: Exports, continuity: Continuity, now: datetime, *, apart: bool = True
) -> list[_Line]:
    found = []
    for each in exports:
        found.append(_Line(each, each.export.brand, continuity.begin(each, now)))
        if apart:
            found += [_Line(each, *line) for line in continuity.apart(each, now)]
    return found


def _scheduled(exports: Exports, ledger: Ledger, request: Request, now: datetime) -> Iterator[Job]:
    """Yield the unfinished windows of the ledger, and every due window since."""
    continuity = Continuity(exports, ledger)
    spans = continuity.spans
    waiting: set[tuple[str, Window]] = set()
    for entry in filter(is_wanted, ledger.open_entries()):
        owner = exports.owner(entry.export) or continuity.heir(entry.export)
        if owner and exports.requests(*owner):
            each, brand = owner
            waiting.add((entry.export, entry.window))
            yield each.job(entry, brand=brand, forced=request.force)
    for line, taken, to_come in _to_come(_lines(exports, continuity, now), ledger, spans):
        calendar = line.each.export.calendar
        windows = set()
        for window in to_come:
            if calendar.due(window) > now:
                break
            windows.add(window)
        if request.force and line.name in spans:
            windows |= {window for window in taken if window.end == spans[line.name].end}
        for window in windows:
            # A window of `*` that waits, waits for all its brands.
            if not waiting & {(line.name, window), (line.each.name, window)}:
                entry = Entry(line.name, window, 1)
                yield line.each.job(entry, brand=line.brand, forced=request.force)


def is_wanted(entry: Entry) -> bool:
    """Tell whether a run delivers an unfinished window by itself: it is due, or has files."""
    return entry.scheduled or entry.state == WRITTEN


def _to_come(
    lines: Sequence[_Line], ledger: Ledger, spans: Mapping[str, Window]
) -> Iterator[tuple[_Line, Sequence[Window], Iterator[Window]]]:
    """Yield each line, its newest windows in the ledger, and the endless windows after those."""
    if not lines:
        return
    begins = [line.begin for line in lines]
    since = min([*begins, *(spans[line.name].end for line in lines if line.name in spans)])
    known = _windows_in_ledger([line.name for line in lines], ledger, since)
    for line in lines:
        taken = known.get(line.name, [])
        yield line, taken, _tiled(line.each.export.calendar, line.begin, taken)


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
    spans = ledger.spans(each.name for each in exports)
    begins = [each.export.calendar.bounds(days)[0] for each in exports]
    names = [each.name for each in exports]
    known = _windows_in_ledger(names, ledger, min(begins)) if begins else {}
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


def _windows_in_ledger(
    names: Sequence[str], ledger: Ledger, since: datetime
) -> dict[str, list[Window]]:
    """Return, by export, the windows of the ledger that end at this moment or later.

    Requested windows that were never built are left out: their bounds do not bind the schedule.
    """
    found: dict[str, list[Window]] = {}
    entries = ledger.entries(since=since - _MOMENT, exports=names)
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
