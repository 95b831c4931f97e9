"""Continuity: where an export goes on after exports.yml was edited.

The ledger knows an export by its brand and interval. After an edit a brand can be exported under
another name than before: by another interval, or by `*` in place of an entry of its own. A receiver
must not notice: what was exported before goes on where it ended, so no row is left out, and none
comes twice. Exports of one brand that existed at the same time, such as a daily and a weekly one,
do not continue each other.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from orchestrator.config.exports import EVERY_BRAND
from orchestrator.jobs import ExportEntry, Exports, Job, Request, brand_of
from orchestrator.ledger import Ledger
from orchestrator.windows import Window

_MONTH = timedelta(days=32)
"""No window is longer, so an export is never further behind `*` at the moment of an edit."""


class Continuity:
    """What the ledger knows of every export, also of those that exports.yml no longer has.

    Attributes:
        spans: by name, the time from the first scheduled window to the end of the last.

    """

    def __init__(self, exports: Exports, ledger: Ledger) -> None:
        """Read the spans."""
        self._exports = exports
        self._ledger = ledger
        self.spans = ledger.spans(ledger.exports())
        self._brands: dict[str, list[str]] = {}
        for name in self.spans:
            self._brands.setdefault(brand_of(name), []).append(name)

    def begin(self, each: ExportEntry, now: datetime) -> datetime:
        """Return the begin of the first window of an entry that the ledger does not know."""
        calendar, span = each.export.calendar, self.spans.get(each.name)
        begin, start = span.end if span else None, _start(each)
        if start and (span is None or start < span.start or start > span.end):
            begin = start
        return self._continued(each, each.export.brand, begin) or calendar.last_due(now).start

    def apart(self, each: ExportEntry, now: datetime) -> Iterator[tuple[str, datetime]]:
        """Yield the brands of `*` whose windows are not those of `*`, and where theirs begin.

        They were exported by an entry of their own until now: to a later or earlier moment than
        `*`. Once they have caught up, their windows are those of `*`.
        """
        if each.export.brand != EVERY_BRAND:
            return
        every, together = self.spans.get(each.name), self.begin(each, now)
        start = _start(each)
        for brand in filter(self._exports.star_includes, self._brands):
            span = self.spans.get(each.name_of(brand))
            begin = self._continued(each, brand, span.end if span else None)
            # `*` went on without this brand for long: it had no rows.
            if begin is None or (every and begin < every.end - _MONTH):
                continue
            begin = max(begin, start) if start else begin
            if begin != together:
                yield brand, begin

    def brands(
        self, every: Job, brands: Iterable[str], taken: Collection[str], request: Request
    ) -> list[Job]:
        """Return the jobs of a window of `*`: one for each brand that it delivers in this window.

        `brands` are those that the warehouse was found to have, `taken` the names that have a job
        for this window already. Brands that `*` delivered before are added: one of which only
        events are known has none on some days, and gets files with headers alone.
        """
        each, window = ExportEntry(every.export, every.ordinal), every.entry.window
        spans = {brand: self.spans.get(each.name_of(brand)) for brand in self._brands}
        wanted = {*brands}
        for brand, span in spans.items():
            if span and span.start <= window.start <= span.end + _MONTH:
                wanted.add(brand)
        covered = self._covered(each, window, requested=request.days is not None)
        known = self._ledger.entries(window=window)
        jobs = map(every.of_brand, filter(self._exports.star_includes, sorted(wanted)))
        found = (
            job.revised(known.get((job.entry.export, window)))
            for job in jobs
            if job.entry.export not in taken and job.entry.export not in covered
        )
        return [job for job in found if job]

    def heir(self, gone: str) -> tuple[ExportEntry, str] | None:
        """Return the entry and the brand that continue an export that exports.yml no longer has.

        The entry delivers the windows that wait under the old name. None if no entry continues it.
        """
        brand = brand_of(gone)
        for each in self._exports.of_brand(brand):
            name = each.name_of(brand)
            if name == gone or not self._were_together(name, gone):
                return each, brand
        return None

    def _covered(self, each: ExportEntry, window: Window, *, requested: bool) -> set[str]:
        """Return the names of brands of `*` that have other windows in the time of this one.

        Windows of an export that exports.yml no longer has count as well, unless the window was
        requested by date.
        """
        mine = {each.name_of(brand): brand for brand in self._brands}
        names = [name for names in self._brands.values() for name in names]
        found = self._ledger.overlapping(names, window)
        covered = {name for name in mine if found.get(name, window) != window}
        for name, brand in mine.items():
            if requested or name in found:
                continue
            gone = (other for other in self._gone(brand) if other in found)
            covered |= {name for other in gone if not self._were_together(name, other)}
        return covered

    def _continued(self, each: ExportEntry, brand: str, begin: datetime | None) -> datetime | None:
        """Return where the exports ended that this one continues, if that is later."""
        name = each.name_of(brand)
        for gone in self._gone(brand):
            end = self.spans[gone].end
            if (begin is None or begin < end) and self._continues(name, gone, brand):
                begin = end
        return begin

    def _gone(self, brand: str) -> list[str]:
        """Return the names of a brand's exports in the ledger that exports.yml no longer has."""
        names = self._brands.get(brand, ())
        listed = {each.name_of(brand) for each in self._exports.of_brand(brand)}
        return [name for name in names if name not in listed]

    def _continues(self, name: str, gone: str, brand: str) -> bool:
        if name in self.spans:
            return not self._were_together(name, gone)
        # A new export continues the one that was delivered last, if that is gone.
        end = self.spans[gone].end
        return all(self.spans[other].end <= end for other in self._brands[brand])

    def _were_together(self, name: str, gone: str) -> bool:
        """Tell whether two exports had windows in one time, of late."""
        if name not in self.spans or gone not in self.spans:
            return False
        since = min(self.spans[name].end, self.spans[gone].end) - _MONTH
        entries = self._ledger.entries(since=since, exports=[name, gone])
        windows: dict[str, list[Window]] = {name: [], gone: []}
        for (export, window), entry in entries.items():
            if entry.scheduled:
                windows[export].append(window)
        return any(
            one.start < other.end and other.start < one.end
            for one in windows[name]
            for other in windows[gone]
        )


def _start(each: ExportEntry) -> datetime | None:
    calendar, day = each.export.calendar, each.export.start
    return calendar.first_from(calendar.start_of(day)) if day else None
