from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workspace import utc

from orchestrator.windows import Calendar, Days, Interval, Window

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
MICROSECOND = timedelta(microseconds=1)

zones = st.sampled_from(sorted(available_timezones() - {"localtime"})).map(ZoneInfo)
intervals = st.sampled_from(Interval)
moments = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    datetime(2037, 1, 1),  # noqa: DTZ001 - the same
    timezones=st.just(UTC),
)


def calendar(
    interval: Interval = Interval.DAILY, zone: ZoneInfo = AMSTERDAM, *, at: time = time(6)
) -> Calendar:
    return Calendar(interval, zone, at, timedelta(minutes=15))


def beginning_on(days: Calendar, day: date) -> list[Window]:
    """Return the windows that begin on a local day."""
    begin, end = days.bounds(Days(day, day))
    windows = days.tiles(days.first_from(begin))
    return list(takewhile(lambda window: window.start < end, windows))


@pytest.mark.parametrize(
    ("day", "start", "end", "hours"),
    [
        ("2026-06-01", "2026-05-31 22:00", "2026-06-01 22:00", 24),
        ("2026-03-29", "2026-03-28 23:00", "2026-03-29 22:00", 23),
        ("2026-10-25", "2026-10-24 22:00", "2026-10-25 23:00", 25),
    ],
)
def test_a_local_day_has_23_24_or_25_hours(day: str, start: str, end: str, hours: int) -> None:
    (window,) = beginning_on(calendar(), date.fromisoformat(day))
    assert window == Window(utc(start), utc(end))
    assert window.end - window.start == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        ("Africa/Cairo", "2026-04-24", "2026-04-23 22:00"),  # midnight is skipped
        (
            "America/Havana",
            "2026-11-01",
            "2026-11-01 04:00",
        ),  # midnight is repeated: the first counts
        ("Asia/Kathmandu", "2026-01-01", "2025-12-31 18:15"),
    ],
)
def test_a_day_begins_at_its_first_instant(zone: str, day: str, start: str) -> None:
    assert calendar(zone=ZoneInfo(zone)).start_of(date.fromisoformat(day)) == utc(start)


def test_a_skipped_calendar_day_has_no_window() -> None:
    samoa = calendar(zone=ZoneInfo("Pacific/Apia"))
    assert beginning_on(samoa, date(2011, 12, 30)) == []
    (before,) = beginning_on(samoa, date(2011, 12, 29))
    (after,) = beginning_on(samoa, date(2011, 12, 31))
    assert before.end == after.start


def test_windows_begin_at_the_boundaries_of_the_calendar() -> None:
    moment = utc("2026-11-19 10:37")
    starts = {
        interval: calendar(interval).containing(moment).start.astimezone(AMSTERDAM)
        for interval in Interval
    }
    assert {interval: start.strftime("%a %d %H:%M") for interval, start in starts.items()} == {
        Interval.QUARTER: "Thu 19 11:30",
        Interval.HALF_HOUR: "Thu 19 11:30",
        Interval.HOURLY: "Thu 19 11:00",
        Interval.DAILY: "Thu 19 00:00",
        Interval.WEEKLY: "Mon 16 00:00",
        Interval.MONTHLY: "Sun 01 00:00",
    }


@pytest.mark.parametrize(("day", "count"), [("2026-10-25", 25), ("2026-03-29", 23)])
def test_a_day_with_a_clock_change_has_23_or_25_hourly_windows(day: str, count: int) -> None:
    windows = beginning_on(calendar(Interval.HOURLY), date.fromisoformat(day))
    assert len(windows) == count
    assert {window.end - window.start for window in windows} == {timedelta(hours=1)}


@settings(max_examples=300, deadline=None)
@given(intervals, zones, moments)
def test_windows_tile_time(interval: Interval, zone: ZoneInfo, moment: datetime) -> None:
    days = calendar(interval, zone)
    window = days.containing(moment)
    assert window.start <= moment < window.end
    assert days.containing(window.end).start == window.end
    assert days.containing(window.end - MICROSECOND) == window
    assert days.containing(window.start - MICROSECOND).end == window.start


@settings(max_examples=100, deadline=None)
@given(intervals, zones, moments)
def test_windows_of_a_day_begin_on_that_day(
    interval: Interval, zone: ZoneInfo, moment: datetime
) -> None:
    days = calendar(interval, zone)
    window = days.containing(moment)
    day = window.start.astimezone(zone).date()
    found = beginning_on(days, day)
    assert window in found
    assert {each.start.astimezone(zone).date() for each in found} == {day}


def test_a_daily_window_is_due_at_its_local_time() -> None:
    days = calendar(at=time(6))
    (window,) = beginning_on(days, date(2026, 10, 25))
    assert days.due(window) == utc("2026-10-26 05:00")
    assert days.last_due(utc("2026-10-26 04:59")).end == window.start
    assert days.last_due(utc("2026-10-26 05:00")) == window


def test_settle_delays_a_window() -> None:
    hours = calendar(Interval.HOURLY, at=time(6))
    window = hours.containing(utc("2026-11-19 10:37"))
    assert hours.due(window) == utc("2026-11-19 11:15")
    midnight = calendar(at=time(0))
    (day,) = beginning_on(midnight, date(2026, 11, 19))
    assert midnight.due(day) == day.end + timedelta(minutes=15)


def test_tiles_are_cut_at_both_ends() -> None:
    days = calendar()
    found = list(days.tiles(utc("2026-11-10 12:00"), utc("2026-11-13 05:00")))
    assert [window.start.astimezone(AMSTERDAM).strftime("%d %H:%M") for window in found] == [
        "10 13:00",
        "11 00:00",
        "12 00:00",
        "13 00:00",
    ]
    assert found[-1].end == utc("2026-11-13 05:00")
    assert all(a.end == b.start for a, b in pairwise(found))


@cache
def changes(name: str) -> list[datetime]:
    """Return when the clocks of a zone change in this century, to the minute."""
    zone = ZoneInfo(name)

    def offset(hours: float) -> timedelta | None:
        return (start + timedelta(hours=hours)).astimezone(zone).utcoffset()

    start, week, found = utc("2000-01-01 00:00"), 7 * 24, []
    for begin in range(0, 37 * 52 * week, week):
        low, high = float(begin), float(begin + week)
        if offset(low) != offset(high):
            while high - low > 1 / 60:
                middle = (low + high) / 2
                low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
            found.append(start + timedelta(minutes=round(high * 60)))
    return found


awkward = st.sampled_from(
    [
        "Africa/Cairo",  # to 23:00 at midnight, from midnight to 01:00
        "Africa/Casablanca",  # Ramadan
        "America/Havana",  # midnight is repeated
        "America/St_Johns",  # until 2011 at 00:01
        "America/Nuuk",
        "Antarctica/Casey",  # by three hours, over midnight
        "Antarctica/Troll",  # by two hours
        "Asia/Kathmandu",
        "Asia/Pyongyang",  # by half an hour, for good
        "Australia/Lord_Howe",  # by half an hour
        "Europe/Amsterdam",
        "Pacific/Apia",  # without 30 December 2011
        "Pacific/Chatham",  # at 02:45 and 03:45
    ]
)


@settings(max_examples=300, deadline=None)
@given(intervals, awkward, st.integers(0, 10_000), st.integers(-300, 300))
def test_windows_tile_time_where_clocks_change(
    interval: Interval, name: str, index: int, minutes: int
) -> None:
    near = changes(name) or [utc("2026-11-19 00:00")]
    moment = near[index % len(near)] + timedelta(minutes=minutes)
    days = calendar(interval, ZoneInfo(name))
    window = days.containing(moment)
    assert window.start <= moment < window.end
    assert days.containing(window.start) == days.containing(window.end - MICROSECOND) == window
    assert days.containing(window.end).start == window.end
    assert days.containing(window.start - MICROSECOND).end == window.start
    assert days.first_from(moment) == (window.start if moment == window.start else window.end)
