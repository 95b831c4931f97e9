"""Windows: the stretches of time that files cover.

A window is `[start, end)` in UTC. Its bounds are calendar bounds in an IANA time zone, so a local
day has 23 or 25 hours when the clocks change, and consecutive windows tile time.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


class Interval(StrEnum):
    """How much time one pair of files covers."""

    QUARTER = "15m"
    HALF_HOUR = "30m"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    @property
    def minutes(self) -> int | None:
        """The length of an interval shorter than a day, in minutes of the wall clock."""
        return {"15m": 15, "30m": 30, "hourly": 60}.get(self.value)


# The shortest a window of a kind can be, less a little: from its start the search for its end
# begins there. A local day has at least 23 hours, a month at least 28 days.
_SHORTEST = {
    Interval.QUARTER: timedelta(minutes=15),
    Interval.HALF_HOUR: timedelta(minutes=15),
    Interval.HOURLY: timedelta(minutes=15),
    Interval.DAILY: timedelta(hours=22),
    Interval.WEEKLY: timedelta(days=6, hours=22),
    Interval.MONTHLY: timedelta(days=27, hours=22),
}
# Clocks change by multiples of a quarter of an hour, so no bound is missed by this step.
_STEP = timedelta(minutes=15)


@dataclass(frozen=True, order=True)
class Window:
    """`[start, end)`, two instants in UTC."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        """Write it as an interval of ISO 8601."""
        return f"{self.start:%Y-%m-%dT%H:%M:%SZ}/{self.end:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Calendar:
    """The windows of one interval in one time zone, and when each is due.

    `at` is the local time of day from which a finished daily, weekly or monthly window is due,
    on the day it ended. `settle` holds every window back that long after its end.
    """

    interval: Interval
    timezone: ZoneInfo
    at: time
    settle: timedelta

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - a calendar is a value, few and small
    def containing(self, moment: datetime) -> Window:
        """Return the window that holds this instant."""
        start = self._floor(moment)
        probe = start + _SHORTEST[self.interval]
        while (end := self._floor(probe)) <= start:
            probe += _STEP
        return Window(start, end)

    def due(self, window: Window) -> datetime:
        """Return the instant from which this window may be delivered."""
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

    def between(self, first: datetime, now: datetime) -> Iterator[Window]:
        """Yield the windows from the one that holds `first` that are due at `now`, oldest first."""
        window = self.containing(first)
        while self.due(window) <= now:
            yield window
            window = self.containing(window.end)

    def starting_on(self, day: date) -> list[Window]:
        """Return the windows that begin on this local day, oldest first."""
        moment, end = self.start_of(day), self.start_of(day + timedelta(days=1))
        windows = []
        while moment < end:
            window = self.containing(moment)
            if window.start >= moment:
                windows.append(window)
            moment = window.end
        return windows

    def start_of(self, day: date) -> datetime:
        """Return the first instant of a local day."""
        return self._instant(datetime.combine(day, time()))

    def _instant(self, wall: datetime) -> datetime:
        # A wall time that the clocks skip becomes the instant of the change, for zoneinfo reads
        # it with the offset from before; one that comes twice is the first, unless fold says
        # otherwise (PEP 495).
        return wall.replace(tzinfo=self.timezone).astimezone(UTC)

    def _floor(self, moment: datetime) -> datetime:
        local = moment.astimezone(self.timezone)
        if minutes := self.interval.minutes:
            minute = local.minute - local.minute % minutes
            wall = local.replace(minute=minute, second=0, microsecond=0, tzinfo=None)
            return self._instant(wall)
        day = local.date()
        if self.interval is Interval.WEEKLY:
            day -= timedelta(days=day.weekday())
        elif self.interval is Interval.MONTHLY:
            day = day.replace(day=1)
        return self.start_of(day)
