"""Windows: the periods of time that files cover.

A window is `[start, end)` in UTC. It starts and ends at calendar boundaries of an IANA time zone,
so a local day on which the clocks change has 23 or 25 hours. There is no gap and no overlap between
consecutive windows.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


class Interval(StrEnum):
    """The period that one pair of files covers."""

    QUARTER = "15m"
    HALF_HOUR = "30m"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    @property
    def minutes(self) -> int | None:
        """Length in minutes on the clock; None for a day, a week or a month."""
        return {"15m": 15, "30m": 30, "hourly": 60}.get(self.value)


# Time zones change by multiples of 15 minutes, so steps of this size reach each boundary.
_STEP = timedelta(minutes=15)


@dataclass(frozen=True, order=True)
class Window:
    """The half-open interval `[start, end)`; both are instants in UTC."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        """Return the window as an ISO 8601 interval in UTC."""
        return f"{self.start:%Y-%m-%dT%H:%M:%SZ}/{self.end:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Days:
    """Local days from the first to the last, both included."""

    first: date
    last: date

    def __str__(self) -> str:
        """Return `2026-11-20` or `2026-11-20 to 2026-11-22`."""
        return f"{self.first}" + (f" to {self.last}" if self.last > self.first else "")


@dataclass(frozen=True)
class Calendar:
    """The windows of one interval in one time zone, and the time at which each window is due.

    A daily, weekly or monthly window is due at the local time `at` of the day on which it ended.
    No window is due earlier than `settle` after its end.
    """

    interval: Interval
    timezone: ZoneInfo
    at: time
    settle: timedelta

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - calendars are few and small
    def containing(self, moment: datetime) -> Window:
        """Return the window that contains this instant."""
        start = self._floor(moment)
        if not self.interval.minutes:
            local = start.astimezone(self.timezone)
            return Window(start, self._instant(self._next(self._wall_floor(local))))
        probe = start + _STEP
        while (end := self._floor(probe)) <= start:
            probe += _STEP
        return Window(start, end)

    def due(self, window: Window) -> datetime:
        """Return the instant from which this window is due."""
        settled = window.end + self.settle
        if self.interval.minutes:
            return settled
        day = window.end.astimezone(self.timezone).date()
        return max(settled, self._instant(datetime.combine(day, self.at)))

    def last_due(self, now: datetime) -> Window:
        """Return the newest window that is due at this instant."""
        window = self.containing(now)
        while self.due(window) > now:
            window = self.containing(window.start - timedelta(microseconds=1))
        return window

    def tiles(self, begin: datetime, end: datetime | None = None) -> Iterator[Window]:
        """Yield consecutive windows from `begin` to `end`, oldest first; without `end`, endlessly.

        If `begin` or `end` is not a boundary of the calendar, the first or the last window is
        shortened.
        """
        while end is None or begin < end:
            window = self.containing(begin)
            yield Window(begin, min(window.end, end or window.end))
            begin = window.end

    def first_from(self, moment: datetime) -> datetime:
        """Return the first boundary between two windows at or after this instant."""
        window = self.containing(moment)
        return moment if window.start == moment else window.end

    def bounds(self, days: Days) -> tuple[datetime, datetime]:
        """Return the first instant of the first day, and the first instant after the last day."""
        return self.start_of(days.first), self.start_of(days.last + timedelta(days=1))

    def start_of(self, day: date) -> datetime:
        """Return the first instant of a local day."""
        return self._instant(datetime.combine(day, time()))

    def _instant(self, wall: datetime) -> datetime:
        # PEP 495: for a local time that the clocks skip, zoneinfo uses the offset before the
        # change. A local time that occurs twice is its first occurrence, with fold=1 its second.
        return wall.replace(tzinfo=self.timezone).astimezone(UTC)

    def _bounds_at(self, wall: datetime) -> list[datetime]:
        """Return the instants of this local time at which a window begins.

        When the clocks are set back, there are two for intervals under a day. Longer intervals
        begin once: a midnight that occurs twice does not begin a second day.
        """
        first = self._instant(wall)
        again = self._instant(wall.replace(fold=1)) if self.interval.minutes else first
        return [first, again] if again > first else [first]

    def _floor(self, moment: datetime) -> datetime:
        wall = self._wall_floor(moment.astimezone(self.timezone))
        while (start := self._instant(wall)) > moment:  # the clocks skip this local time
            wall -= timedelta(minutes=self.interval.minutes or 24 * 60)
        # If the clocks are set back across a boundary, that boundary occurs twice.
        while (bounds := self._bounds_at(wall))[0] <= moment:
            start = max(bound for bound in (start, *bounds) if bound <= moment)
            wall = self._next(wall)
        return start

    def _wall_floor(self, local: datetime) -> datetime:
        if minutes := self.interval.minutes:
            minute = local.minute - local.minute % minutes
            return local.replace(minute=minute, second=0, microsecond=0, tzinfo=None, fold=0)
        day = local.date()
        if self.interval is Interval.WEEKLY:
            day -= timedelta(days=day.weekday())
        elif self.interval is Interval.MONTHLY:
            day = day.replace(day=1)
        return datetime.combine(day, time())

    def _next(self, wall: datetime) -> datetime:
        if minutes := self.interval.minutes:
            return wall + timedelta(minutes=minutes)
        days = {Interval.DAILY: 1, Interval.WEEKLY: 7, Interval.MONTHLY: 31}[self.interval]
        return self._wall_floor(wall + timedelta(days=days))
