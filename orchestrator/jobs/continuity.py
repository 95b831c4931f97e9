"""Continuity: the window with which an export begins after exports.yml was edited.

The name of an export in the ledger is its brand and interval. After an edit, a brand can have
another name than before: its interval changed, or `*` exports it instead of a separate entry. The
export with the new name then continues where the one with the old name ended, so that a receiver
gets each row once. Exports of one brand that existed at the same time, such as a daily and a weekly
one, do not continue each other.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from orchestrator.config.exports import EVERY_BRAND
from orchestrator.jobs import ExportEntry, Exports, Job, Request, brand_of
from orchestrator.ledger import Ledger
from orchestrator.windows import Window

_MONTH = timedelta(days=32)
"""No window is longer. So at an edit, no export is further behind `*` than this."""


class Continuity:
    """The exports in the ledger, including those that exports.yml no longer has.

    Attributes:
        spans: by name of the export, the time from its first to its last scheduled window.

    """

    def __init__(self, exports: Exports, ledger: Ledger) -> None:
        """Read the spans of all exports."""
        self._exports = exports
        self._ledger = ledger
        self.spans = ledger.spans(ledger.exports())
        self._brands: dict[str, list[str]] = {}
        for name in self.spans:
            self._brands.setdefault(brand_of(name), []).append(name)

    def begin(self, entry: ExportEntry, now: datetime) -> datetime:
        """Return the begin of the first window that the ledger does not have yet."""
        calendar, span = entry.export.calendar, self.spans.get(entry.name)
        begin, start = span.end if span else None, _start(entry)
        if start and (span is None or start < span.start or start > span.end):
            begin = start
        return self._continued(entry, entry.export.brand, begin) or calendar.last_due(now).start

    def separate(self, entry: ExportEntry, now: datetime) -> Iterator[tuple[str, datetime]]:
        """Yield the brands of `*` that have other windows than `*`, each with their start.

        These brands had a separate entry before, and ended earlier or later than `*`. Once their
        windows have reached those of `*`, they share its windows.
        """
        if entry.export.brand != EVERY_BRAND:
            return
        star_span, star_begin = self.spans.get(entry.name), self.begin(entry, now)
        start = _start(entry)
        for brand in filter(self._exports.star_includes, self._brands):
            span = self.spans.get(entry.name_of(brand))
            begin = self._continued(entry, brand, span.end if span else None)
            # If `*` is more than a month ahead, the brand had no rows: it continues with `*`.
            if begin is None or (star_span and begin < star_span.end - _MONTH):
                continue
            begin = max(begin, start) if start else begin
            if begin != star_begin:
                yield brand, begin

    def brands(
        self, star: Job, brands: Iterable[str], taken: Collection[str], request: Request
    ) -> list[Job]:
        """Return the jobs of a window of `*`: one for each brand that it delivers in this window.

        `brands` are those that the warehouse has. `taken` are the exports, by name, that already
        have a job for this window. Brands that `*` delivered recently are added: a brand of which
        the warehouse has events only can have no row on some days, and then gets empty files.
        """
        star_entry, window = ExportEntry(star.export, star.ordinal), star.entry.window
        spans = {brand: self.spans.get(star_entry.name_of(brand)) for brand in self._brands}
        wanted = {*brands}
        for brand, span in spans.items():
            if span and span.start <= window.start <= span.end + _MONTH:
                wanted.add(brand)
        covered = self._covered(star_entry, window, requested=request.days is not None)
        known = self._ledger.entries(window=window)
        jobs = map(star.of_brand, filter(self._exports.star_includes, sorted(wanted)))
        found = (
            job.revised(known.get((job.entry.export, window)))
            for job in jobs
            if job.entry.export not in taken and job.entry.export not in covered
        )
        return [job for job in found if job]

    def heir(self, removed: str) -> tuple[ExportEntry, str] | None:
        """Return the entry and the brand that continue a removed export.

        The entry delivers the windows that wait under the old name. None if no entry continues it.
        """
        brand = brand_of(removed)
        for each in self._exports.of_brand(brand):
            name = each.name_of(brand)
            if name == removed or not self._were_together(name, removed):
                return each, brand
        return None

    def _covered(self, star: ExportEntry, window: Window, *, requested: bool) -> set[str]:
        """Return the names, under `*`, of brands that have other windows which overlap this one.

        Windows of a removed export count too, unless the window was requested by date.
        """
        under_star = {star.name_of(brand): brand for brand in self._brands}
        names = [name for names in self._brands.values() for name in names]
        found = self._ledger.overlapping(names, window)
        covered = {name for name in under_star if found.get(name, window) != window}
        for name, brand in under_star.items():
            if requested or name in found:
                continue
            removed = (other for other in self._removed(brand) if other in found)
            covered |= {name for other in removed if not self._were_together(name, other)}
        return covered

    def _continued(self, entry: ExportEntry, brand: str, begin: datetime | None) -> datetime | None:
        """Return `begin`, or the end of a removed export that this one continues, if later."""
        name = entry.name_of(brand)
        for removed in self._removed(brand):
            end = self.spans[removed].end
            if (begin is None or begin < end) and self._continues(name, removed, brand):
                begin = end
        return begin

    def _removed(self, brand: str) -> list[str]:
        """Return the exports of a brand that the ledger has and exports.yml no longer has."""
        names = self._brands.get(brand, ())
        listed = {each.name_of(brand) for each in self._exports.of_brand(brand)}
        return [name for name in names if name not in listed]

    def _continues(self, name: str, removed: str, brand: str) -> bool:
        if name in self.spans:
            return not self._were_together(name, removed)
        # A new export continues the export of the brand that was delivered last, if it was removed.
        end = self.spans[removed].end
        return all(self.spans[other].end <= end for other in self._brands[brand])

    def _were_together(self, name: str, removed: str) -> bool:
        """Tell whether the windows of two exports overlapped in the last month of both."""
        if name not in self.spans or removed not in self.spans:
            return False
        since = min(self.spans[name].end, self.spans[removed].end) - _MONTH
        entries = self._ledger.entries(since=since, exports=[name, removed])
        windows: dict[str, list[Window]] = {name: [], removed: []}
        for (export, window), entry in entries.items():
            if entry.scheduled:
                windows[export].append(window)
        return any(
            one.start < other.end and other.start < one.end
            for one in windows[name]
            for other in windows[removed]
        )


def _start(entry: ExportEntry) -> datetime | None:
    calendar, day = entry.export.calendar, entry.export.start
    return calendar.first_from(calendar.start_of(day)) if day else None
