"""What is due: the windows of each export that the ledger does not show as delivered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from orchestrator.config import Config
from orchestrator.errors import UsageError
from orchestrator.exports import EVERY_BRAND, Export
from orchestrator.ledger import DELIVERED, WRITTEN, Entry, Ledger
from orchestrator.windows import Interval, Window

_MOMENT = timedelta(microseconds=1)
_NO_WINDOW = Window(datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC))


@dataclass(frozen=True)
class Request:
    """What a command asks for."""

    daily_only: bool = False
    brands: Sequence[str] = ()
    day: date | None = None
    force: bool = False
    deliver: bool = True


@dataclass(frozen=True)
class Job:
    """One export's window to be made and delivered, as the revision in `entry`.

    The brand is `*` until the stage tells which brands there are.
    """

    export: Export
    brand: str
    ordinal: int
    entry: Entry
    forced: bool = False

    def of_brand(self, brand: str) -> "Job":
        """Return the job of one of the brands that `*` stands for."""
        name, every = key(brand, self.export, self.ordinal), self.entry
        entry = Entry(name, every.window, 1, scheduled=every.scheduled)
        return replace(self, brand=brand, entry=entry)

    def revised(self, known: Entry | None) -> "Job | None":
        """Return the job as the revision to make, or None where it is delivered already."""
        if known is None:
            return self
        if known.state != DELIVERED:
            scheduled = known.scheduled or self.entry.scheduled
            return replace(self, entry=replace(known, scheduled=scheduled))
        if not self.forced:
            return None
        entry = Entry(known.export, known.window, known.revision + 1, scheduled=known.scheduled)
        return replace(self, entry=entry)


def key(brand: str, export: Export, ordinal: int) -> str:
    """Return the name under which the ledger keeps an export.

    It does not change with directories, names or dialects, so that a changed export goes on where
    it stopped. A second line of the same brand and interval gets a number.
    """
    return f"{brand} {export.interval}" + (f" {ordinal}" if ordinal > 1 else "")


def jobs(config: Config, ledger: Ledger, request: Request, now: datetime) -> list[Job]:
    """Return every job that is due, oldest window first.

    Raises UsageError for a brand that no export names, or a day that is not over.
    """
    own = {export.brand for export in config.exports}
    for brand in request.brands:
        if brand not in own and EVERY_BRAND not in own:
            names = ", ".join(sorted(own))
            raise UsageError(f"{config.source.path}: no export of brand '{brand}'; valid: {names}")
    lines = list(_lines(config, request, own))
    day = request.day
    if day:
        entries = _asked(lines, day, ledger.spans(), now)
    else:
        waiting = [e for e in ledger.open_entries() if e.scheduled or e.state == WRITTEN]
        entries = _scheduled(lines, ledger, waiting, now)
        entries += _left_over(lines, waiting, request, own)
    known = ledger.entries(since=min((entry.window.start for _, entry in entries), default=now))
    found = (
        replace(line, entry=entry).revised(known.get((entry.export, entry.window)))
        for line, entry in entries
    )
    return sorted(
        (job for job in found if job), key=lambda job: (job.entry.window, job.entry.export)
    )


def _lines(config: Config, request: Request, own: set[str]) -> Iterator[Job]:
    """Yield each export that the request is about, its window still open."""
    counts: dict[tuple[str, Interval], int] = {}
    for export in config.exports:
        ordinal = counts.get((export.brand, export.interval), 0) + 1
        counts[export.brand, export.interval] = ordinal
        if request.daily_only and export.interval is not Interval.DAILY:
            continue
        if request.brands:
            wanted = set(request.brands)
            if not (wanted - own if export.brand == EVERY_BRAND else export.brand in wanted):
                continue
        entry = Entry(key(export.brand, export, ordinal), _NO_WINDOW, 1)
        yield Job(export, export.brand, ordinal, entry, request.force)


def _asked(
    lines: Sequence[Job], day: date, spans: dict[str, Window], now: datetime
) -> list[tuple[Job, Entry]]:
    """Return the windows that begin on a day; raise UsageError where none is over.

    The newest window, asked for before anything else was exported, is where the schedule begins.
    """
    found: list[tuple[Job, Entry]] = []
    waiting: list[tuple[Job, Entry]] = []
    for line in lines:
        calendar = line.export.calendar
        newest = None if line.entry.export in spans else calendar.last_due(now)
        for window in calendar.starting_on(day):
            entry = replace(line.entry, window=window, scheduled=window == newest)
            over = window.end + line.export.settle <= now
            (found if over else waiting).append((line, entry))
    if waiting and not found:
        line, entry = waiting[0]
        export = line.export
        end = (entry.window.end + export.settle).astimezone(export.timezone)
        raise UsageError(
            f"{day} is not over for {export.brand} in {export.timezone.key}: "
            f"its first window can be exported from {end:%Y-%m-%d %H:%M}"
        )
    if not found:
        raise UsageError(f"no window of these exports begins on {day}")
    return found


def _scheduled(
    lines: Sequence[Job], ledger: Ledger, waiting: Sequence[Entry], now: datetime
) -> list[tuple[Job, Entry]]:
    """Return what waits in the ledger, and every window since."""
    spans = ledger.spans()
    by_name: dict[str, list[Entry]] = {}
    for entry in waiting:
        by_name.setdefault(entry.export, []).append(entry)
    found = []
    for line in lines:
        name = line.entry.export
        entries = {entry.window: entry for entry in by_name.get(name, [])}
        for window in _windows(line.export, spans.get(name), now):
            entries.setdefault(window, replace(line.entry, window=window))
        if line.forced and name in spans:
            last = ledger.entries(since=spans[name].end - _MOMENT)
            entries |= {e.window: e for (export, _), e in last.items() if export == name}
        found += [(line, entry) for entry in entries.values()]
    return found


def _left_over(
    lines: Sequence[Job], waiting: Sequence[Entry], request: Request, own: set[str]
) -> list[tuple[Job, Entry]]:
    """Return what waits in the ledger of single brands that `*` stands for."""
    found = []
    for line in lines:
        if line.brand != EVERY_BRAND:
            continue
        suffix = key("", line.export, line.ordinal)
        for entry in waiting:
            brand = entry.export.removesuffix(suffix)
            ours = entry.export.endswith(suffix) and brand not in own and brand != EVERY_BRAND
            wanted = not request.brands or brand in request.brands
            if ours and wanted:
                found.append((replace(line, brand=brand), entry))
    return found


def _windows(export: Export, span: Window | None, now: datetime) -> Iterator[Window]:
    """Yield the windows that are due and not in the ledger's span of this export.

    They tile time with those of the span: where the time zone was changed, the first begins where
    the span ends.
    """
    calendar = export.calendar
    start = calendar.start_of(export.start) if export.start else None
    if span is None:
        first = start or calendar.last_due(now).start
    else:
        if start and start < span.start:
            for window in calendar.between(start, now):
                if window.start >= span.start:
                    break
                if window.start >= start:
                    yield Window(window.start, min(window.end, span.start))
        first = max(span.end, start or span.end)
    for window in calendar.between(first, now):
        if window.start >= first:
            yield window
        elif span and first == span.end:
            yield Window(first, window.end)
