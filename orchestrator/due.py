"""What is due: the windows of each export that the ledger does not show as delivered."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from orchestrator.config import Config
from orchestrator.errors import UsageError
from orchestrator.exports import EVERY_BRAND, Export
from orchestrator.ledger import DELIVERED, Entry, Ledger
from orchestrator.windows import Interval, Window


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
        entry = Entry(key(brand, self.export, self.ordinal), self.entry.window, 1)
        return replace(self, brand=brand, entry=replace(entry, scheduled=self.entry.scheduled))

    def revised(self, known: Entry | None, *, force: bool) -> "Job | None":
        """Return the job as the revision to make, or None where it is delivered already."""
        if known is None:
            return self
        if known.state != DELIVERED:
            return replace(self, entry=known)
        if not force:
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
    found: list[Job] = []
    unfinished: list[Export] = []
    for job in _lines(config, request, own):
        windows = list(_windows(job.export, job.entry.export, ledger, request, now))
        if request.day and not windows:
            unfinished.append(job.export)
        known = {entry.window: entry for entry in ledger.entries([job.entry.export])}
        for window, scheduled in windows:
            fresh = replace(job.entry, window=window, scheduled=scheduled)
            force = request.force
            if revised := replace(job, entry=fresh).revised(known.get(window), force=force):
                found.append(revised)
    if unfinished and not found and request.day:
        _refuse_unfinished(unfinished, request.day, now)
    return sorted(found, key=lambda job: (job.entry.window, job.entry.export))


def _lines(config: Config, request: Request, own: set[str]) -> Iterator[Job]:
    counts: dict[tuple[str, Interval], int] = {}
    nothing = Window(datetime.min, datetime.min)  # noqa: DTZ901 - replaced by each window
    for export in config.exports:
        ordinal = counts[export.brand, export.interval] = (
            counts.get((export.brand, export.interval), 0) + 1
        )
        if request.daily_only and export.interval is not Interval.DAILY:
            continue
        if request.brands:
            wanted = set(request.brands)
            if not (wanted - own if export.brand == EVERY_BRAND else export.brand in wanted):
                continue
        entry = Entry(key(export.brand, export, ordinal), nothing, 1)
        yield Job(export, export.brand, ordinal, entry, request.force)


def _windows(
    export: Export, name: str, ledger: Ledger, request: Request, now: datetime
) -> Iterator[tuple[Window, bool]]:
    """Yield each window to look at, and whether it is due by schedule."""
    calendar = export.calendar
    if request.day:
        for window in calendar.starting_on(request.day):
            if window.end + export.settle <= now:
                yield window, False
        return
    last = calendar.last_due(now)
    if export.start:
        first = calendar.start_of(export.start)
    else:
        first = ledger.first_scheduled(name) or last.start
    if request.force:
        # Not the whole past again: what is due, and the newest window.
        delivered = {e.window for e in ledger.entries([name]) if e.state == DELIVERED} - {last}
    else:
        delivered = set()
    for window in calendar.between(first, now):
        if window.start >= first and window not in delivered:
            yield window, True


def _refuse_unfinished(exports: Sequence[Export], day: date, now: datetime) -> None:
    for export in exports:
        windows = export.calendar.starting_on(day)
        if windows and windows[0].end + export.settle > now:
            end = (windows[0].end + export.settle).astimezone(export.timezone)
            raise UsageError(
                f"{day} is not over for {export.brand} in {export.timezone.key}: "
                f"its first window can be exported from {end:%Y-%m-%d %H:%M}"
            )
    raise UsageError(f"no window of these exports begins on {day}")
