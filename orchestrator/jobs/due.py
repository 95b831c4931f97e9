"""The windows that are due: finished windows that the ledger does not show as delivered."""

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
"""The windows of an export in one turn: a day of 15-minute windows."""
_MOST_OF_AN_EXPORT = 1_000
"""The most windows of one export that a scheduled run builds: ten days of 15-minute windows."""
_MOMENT = timedelta(microseconds=1)


def jobs(config: Config, ledger: Ledger, request: Request, now: datetime) -> list[Job]:
    """Return every job that is due, or requested and not delivered, oldest window first.

    Raises UsageError if exports.yml has no entry for a requested brand, or if no requested day has
    ended.
    """
    exports = Exports(config, request)
    if request.days:
        found = requested(exports, ledger, request.days, now=now, forced=request.force)
    else:
        # If the clock was ahead once, the ledger can contain windows that have not ended.
        found = [job for job in _scheduled(exports, ledger, request, now) if job.is_over(now)]
    since = min((job.entry.window.start for job in found), default=now)
    known = ledger.entries(since=since, exports=[job.entry.export for job in found])
    revised = (job.revised(known.get((job.entry.export, job.entry.window))) for job in found)
    return sorted(
        (job for job in revised if job), key=lambda job: (job.entry.window, job.entry.export)
    )


def in_turns(jobs: Sequence[Job]) -> tuple[list[Job], list[str]]:
    """Return the jobs of a scheduled run in a fair order, and a warning for each long backlog.

    Only one run can be active, so an export that is years behind would delay all others. Exports
    take turns of 96 windows, oldest first, and one run builds at most 1,000 windows of an export;
    the next run continues. Within a turn, jobs are ordered by window: exports that share a window
    still share its build.
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
        "so that other exports are not delayed; the next run continues"
        for name, number in taken.items()
        if number > _MOST_OF_AN_EXPORT
    ]
    return [job for _, job in chosen], warnings


def future_warnings(config: Config, ledger: Ledger, request: Request, now: datetime) -> list[str]:
    """Return a warning for each export whose newest window in the ledger ends in the future."""
    exports = Exports(config, request)
    spans = ledger.spans(each.name for each in exports)
    return [
        f"{each.name}: the ledger reaches to {end:%Y-%m-%d %H:%M}, which is after now, so nothing "
        "is due until then. If the clock was wrong, 'orchestrate backfill --from D --to D --force' "
        "rebuilds the windows of those days that have ended"
        for each in exports
        if each.name in spans
        and (end := spans[each.name].end.astimezone(each.export.timezone)) > now
    ]


def next_due(exports: Exports, ledger: Ledger, now: datetime) -> dict[str, datetime]:
    """Return, by export, the time at which its next window is due, after `now`."""
    continuity = Continuity(exports, ledger)
    timelines = [_timeline(entry, continuity, now) for entry in exports]
    found = {}
    for timeline, _, following in _following(timelines, ledger, continuity.spans):
        moments = map(timeline.entry.export.calendar.due, following)
        found[timeline.name] = next(moment for moment in moments if moment > now)
    return found


@dataclass(frozen=True)
class _Timeline:
    """Consecutive windows, from `begin` on, of an export or of one brand of `*` by itself."""

    entry: ExportEntry
    brand: str
    begin: datetime

    @property
    def name(self) -> str:
        return self.entry.name_of(self.brand)


def _timeline(entry: ExportEntry, continuity: Continuity, now: datetime) -> _Timeline:
    return _Timeline(entry, entry.export.brand, continuity.begin(entry, now))


def _timelines(exports: Exports, continuity: Continuity, now: datetime) -> Iterator[_Timeline]:
    for entry in exports:
        yield _timeline(entry, continuity, now)
        for brand, begin in continuity.separate(entry, now):
            yield _Timeline(entry, brand, begin)


def _scheduled(exports: Exports, ledger: Ledger, request: Request, now: datetime) -> Iterator[Job]:
    """Yield jobs for the unfinished windows in the ledger, and for the due windows after those."""
    continuity = Continuity(exports, ledger)
    spans = continuity.spans
    waiting: set[tuple[str, Window]] = set()
    for entry in filter(is_wanted, ledger.open_entries()):
        owner = exports.owner(entry.export) or continuity.heir(entry.export)
        if owner and exports.requests(*owner):
            export_entry, brand = owner
            waiting.add((entry.export, entry.window))
            yield export_entry.job(entry, brand=brand, forced=request.force)
    timelines = [*_timelines(exports, continuity, now)]
    for timeline, known, following in _following(timelines, ledger, spans):
        export_entry, name = timeline.entry, timeline.name
        windows = set()
        for window in following:
            if export_entry.export.calendar.due(window) > now:
                break
            windows.add(window)
        if request.force and name in spans:
            windows |= {window for window in known if window.end == spans[name].end}
        for window in windows:
            # A waiting window of `*` includes all its brands.
            if not waiting & {(name, window), (export_entry.name, window)}:
                entry = Entry(name, window, 1)
                yield export_entry.job(entry, brand=timeline.brand, forced=request.force)


def is_wanted(entry: Entry) -> bool:
    """Tell whether scheduled runs deliver an unfinished window: it was due once, or has files."""
    return entry.scheduled or entry.state == WRITTEN


def _following(
    timelines: Sequence[_Timeline], ledger: Ledger, spans: Mapping[str, Window]
) -> Iterator[tuple[_Timeline, Sequence[Window], Iterator[Window]]]:
    """Yield each timeline, its newest windows in the ledger, and its windows without an end.

    The ledger is read once for all timelines.
    """
    if not timelines:
        return
    begins = [each.begin for each in timelines]
    since = min([*begins, *(spans[each.name].end for each in timelines if each.name in spans)])
    known = _windows_in_ledger([each.name for each in timelines], ledger, since)
    for each in timelines:
        windows = known.get(each.name, [])
        yield each, windows, _tiled(each.entry.export.calendar, each.begin, windows)


def requested(
    exports: Exports, ledger: Ledger, days: Days, *, now: datetime, forced: bool = False
) -> list[Job]:
    """Return jobs for the windows that begin on these days and have ended, delivered or not.

    Raises UsageError if the last day is before the first, if no window begins on these days or
    has ended, or if there are too many windows.
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
        # If nothing was exported before, and `start` is not set, a request for the newest window
        # begins the schedule: scheduled runs continue after that window.
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
    """Return, by export, the windows in the ledger that end at `since` or later.

    Requested windows that were never built are omitted: the schedule need not fit around them.
    """
    found: dict[str, list[Window]] = {}
    entries = ledger.entries(since=since - _MOMENT, exports=names)
    for (name, window), entry in entries.items():
        if entry.scheduled or entry.state != PLANNED or entry.revision > 1:
            found.setdefault(name, []).append(window)
    return {name: sorted(windows) for name, windows in found.items()}


def _tiled(calendar: Calendar, begin: datetime, known: Sequence[Window]) -> Iterator[Window]:
    """Yield consecutive windows without end: the known ones, and the calendar's between them.

    After a change of the time zone, windows of the calendar are shortened to fit between known
    ones.
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
