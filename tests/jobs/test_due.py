"""Due windows with a real ledger: each is delivered once."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workspace import days, utc

from orchestrator import config
from orchestrator.config import Config
from orchestrator.config.ledger_url import parse
from orchestrator.errors import UsageError
from orchestrator.jobs import Job, Request, due
from orchestrator.ledger import Ledger
from orchestrator.windows import Days, Interval, Window

ZONES = [
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Amsterdam",
    "Pacific/Apia",
    "Pacific/Chatham",
]
# Near these days the clocks of those zones change, and in Apia the calendar.
NEAR = ["2011-12-30", "2026-02-15", "2026-03-08", "2026-03-29", "2026-04-05", "2026-10-25"]
LENGTHS = {
    Interval.QUARTER: timedelta(minutes=15),
    Interval.HALF_HOUR: timedelta(minutes=30),
    Interval.HOURLY: timedelta(hours=1),
    Interval.DAILY: timedelta(days=1),
    Interval.WEEKLY: timedelta(days=7),
    Interval.MONTHLY: timedelta(days=30),
}


def every_other() -> Callable[[Job], bool]:
    numbers = count()
    return lambda _: next(numbers) % 2 == 0


class Runs:
    """An exports.yml and a ledger, and runs that need no warehouse."""

    def __init__(self, folder: Path, *exports: str) -> None:
        self.folder = folder
        self.ledger = Ledger(parse("sqlite:///ledger.db", folder))
        self.configure(*exports)

    def configure(self, *exports: str) -> None:
        lines = "".join(f"  - {{{export}}}\n" for export in exports)
        path = self.folder / "exports.yml"
        path.write_text(f"destinations: {{there: {{directory: there}}}}\nexports:\n{lines}")
        self.config: Config = config.read(path)

    def run(
        self,
        now: datetime,
        *,
        succeeds: Callable[[Job], bool] = lambda _: True,
        **request: Any,  # noqa: ANN401 - any of a request
    ) -> list[Window]:
        """Deliver the due windows for which `succeeds` is true, and return them."""
        jobs = due.jobs(self.config, self.ledger, Request(**request), now)
        assert all(a.entry.window <= b.entry.window for a, b in pairwise(jobs))
        assert len({(job.entry.export, job.entry.window) for job in jobs}) == len(jobs)
        assert all(job.entry.window.end + job.export.settle <= now for job in jobs)
        self.ledger.plan(job.entry for job in jobs)
        done = [job.entry for job in jobs if succeeds(job)]
        self.ledger.finish(done)
        return [entry.window for entry in done]


@pytest.fixture
def exports(tmp_path: Path) -> Iterator[Runs]:
    """One daily export of one brand."""
    created = Runs(tmp_path, "brand: ACME")
    yield created
    created.ledger.close()


@contextmanager
def runs_of(line: str) -> Iterator[Runs]:
    """Yield the runs of one export, in a separate folder."""
    with TemporaryDirectory() as folder:
        created = Runs(Path(folder), line)
        try:
            yield created
        finally:
            created.ledger.close()


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, Interval, date]:
    """Draw an export of exports.yml, its interval, and a day near which clocks may change."""
    interval = draw(st.sampled_from(Interval))
    day = date.fromisoformat(draw(st.sampled_from(NEAR)))
    line = f"brand: ACME, interval: {interval}, timezone: {draw(st.sampled_from(ZONES))}"
    line += f", settle: {draw(st.sampled_from(['0s', '15m', '7h']))}"
    if not interval.minutes:
        line += f", at: '{draw(st.sampled_from(['00:00', '02:30', '06:00', '23:59']))}'"
    if draw(st.booleans()):
        start = day - timedelta(days=draw(st.integers(0, 2)))
        line += f", start: {start}"
    return line, interval, day


# Times of runs, as numbers of windows before or after a day: the clock may stop or jump.
steps = st.lists(
    st.tuples(st.integers(-8, 16), st.integers(0, 59), st.sampled_from(["run", "fail", "request"])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(lines(), steps)
def test_windows_tile_time_whenever_runs_happen(
    of_line: tuple[str, Interval, date], moments: list[tuple[int, int, str]]
) -> None:
    line, interval, day = of_line
    middle = datetime.combine(day, datetime.min.time(), UTC)
    delivered: list[Window] = []
    with runs_of(line) as exports:
        last = middle
        for lengths, minutes, what in moments:
            now = middle + lengths * LENGTHS[interval] + timedelta(minutes=minutes)
            last = max(last, now)
            if what == "request":
                requested = now.date() - timedelta(days=1)
                with suppress(UsageError):  # no window begins on that day, or it is not over
                    delivered += exports.run(now, days=Days(requested, requested))
            elif what == "fail":  # every other window
                delivered += exports.run(now, succeeds=every_other())
            else:
                delivered += exports.run(now)
        delivered += exports.run(last)
        assert exports.run(last) == []
        spans = exports.ledger.spans([f"ACME {interval}"])
    delivered.sort()
    assert all(a.end <= b.start for a, b in pairwise(delivered))  # none twice, none overlaps
    if spans:
        span = spans[f"ACME {interval}"]
        scheduled = [w for w in delivered if span.start <= w.start and w.end <= span.end]
        assert (scheduled[0].start, scheduled[-1].end) == (span.start, span.end)
        assert all(a.end == b.start for a, b in pairwise(scheduled))


@settings(max_examples=25, deadline=None)
@given(lines(), st.lists(st.sampled_from(ZONES), min_size=1, max_size=4), st.booleans())
def test_windows_tile_time_when_the_time_zone_changes(
    of_line: tuple[str, Interval, date],
    zones: list[str],
    has_requests: bool,  # noqa: FBT001 - hypothesis passes it by position
) -> None:
    line, interval, day = of_line
    now = datetime.combine(day, datetime.min.time(), UTC)
    delivered: list[Window] = []
    with runs_of(line) as exports:
        delivered += exports.run(now)
        for zone in zones:
            other = line.split(", timezone: ")
            rest = other[1].partition(",")[2]
            exports.configure(f"{other[0]}, timezone: {zone},{rest}")
            now += 3 * LENGTHS[interval]
            if has_requests:
                back = timedelta(days=1 if interval.minutes else 40)
                some = Days(now.date() - back, now.date())
                with suppress(UsageError):  # no monthly window begins on these days
                    delivered += exports.run(now, days=some)
            delivered += exports.run(now)
    delivered.sort()
    assert all(a.end <= b.start for a, b in pairwise(delivered))
    if not has_requests:
        # In another zone `start` can be after the last window: then there is a gap on purpose.
        start = re.search(r"start: (\S+)", line)
        begins = {
            datetime.combine(date.fromisoformat(start[1]), datetime.min.time(), ZoneInfo(zone))
            for zone in zones
            if start
        }
        assert all(a.end == b.start or b.start in begins for a, b in pairwise(delivered))


def test_a_clock_that_was_far_ahead_gives_a_warning(exports: Runs) -> None:
    def ahead(now: str, **request: Any) -> list[str]:  # noqa: ANN401 - any of a request
        return due.future_warnings(exports.config, exports.ledger, Request(**request), utc(now))

    exports.run(utc("2026-11-20 07:00"))
    assert ahead("2026-11-20 07:00") == []
    exports.run(utc("2026-12-25 07:00"))
    assert exports.run(utc("2026-11-21 07:00")) == []
    (warning,) = ahead("2026-11-21 07:00")
    assert "ACME daily: the ledger reaches to 2026-12-25 00:00, which is after now" in warning
    assert "'orchestrate backfill --from D --to D --force'" in warning
    assert ahead("2026-11-21 07:00", daily_only=True) == [warning]
    # The command in the warning helps: it delivers the days that are over again.
    again = exports.run(utc("2026-11-22 07:00"), days=days("2026-11-20", "2026-11-25"), force=True)
    assert [window.start.day for window in again] == [20, 21]
    assert ahead("2026-12-25 07:00") == []


def test_windows_planned_by_a_clock_far_ahead_wait_until_they_are_over(exports: Runs) -> None:
    exports.run(utc("2026-11-20 07:00"))
    exports.run(utc("2026-11-24 07:00"), succeeds=lambda _: False)
    assert [w.start.day for w in exports.run(utc("2026-11-22 07:00"))] == [20, 21]
    assert [w.start.day for w in exports.run(utc("2026-11-25 07:00"))] == [22, 23, 24]


def test_requested_days_include_the_first_and_the_last(exports: Runs) -> None:
    exports.configure(
        "brand: ACME",
        "brand: ACME, interval: weekly, directory: weeks",
        "brand: BETA, interval: hourly, timezone: Europe/Amsterdam",
    )
    now = utc("2026-11-20 07:00")
    found = exports.run(now, days=days("2026-11-09", "2026-11-11"))
    assert len(found) == 3 + 1 + 72
    assert exports.run(now, days=days("2026-11-09", "2026-11-11")) == []
    assert len(exports.run(now, days=days("2026-11-11", "2026-11-12"))) == 1 + 24
    forced = exports.run(now, days=days("2026-11-09"), force=True, brands=["ACME"])
    assert [window.end - window.start for window in forced] == [timedelta(days=1), timedelta(7)]
    known = exports.ledger.entries(since=utc("2026-11-01 00:00"))
    assert {entry.revision for (name, _), entry in known.items() if name == "ACME weekly"} == {2}


def test_windows_that_are_not_over_are_left_out(exports: Runs) -> None:
    now = utc("2026-11-20 07:00")
    far = Days(date(2026, 11, 18), date(2999, 12, 31))
    assert [window.start.day for window in exports.run(now, days=far)] == [18, 19]
    with pytest.raises(UsageError, match=r"2026-11-20 is not over for ACME in UTC: .* 2026-11-21"):
        exports.run(now, days=days("2026-11-20", "2026-11-25"))


def test_invalid_ranges_of_days_are_refused(exports: Runs) -> None:
    now = utc("2026-11-20 07:00")
    with pytest.raises(UsageError, match="--to 2026-11-18 is before --from 2026-11-19"):
        exports.run(now, days=days("2026-11-19", "2026-11-18"))
    exports.configure("brand: ACME, interval: 15m")
    with pytest.raises(UsageError, match="1970-01-01 to 2026-11-19: more than 10,000 windows; ask"):
        exports.run(now, days=days("1970-01-01", "2026-11-19"))
    exports.configure("brand: ACME, interval: monthly")
    with pytest.raises(UsageError, match="no window of these exports begins on 2026-11-05 to 2026"):
        exports.run(now, days=days("2026-11-05", "2026-11-19"))
    assert exports.ledger.entries() == {}


def test_requested_days_after_a_change_of_time_zone_do_not_overlap(exports: Runs) -> None:
    exports.run(utc("2026-11-20 07:00"))
    exports.configure("brand: ACME, timezone: America/New_York")
    now = utc("2026-11-22 12:00")
    found = exports.run(now, days=days("2026-11-17", "2026-11-20"))
    assert [str(window) for window in found] == [
        "2026-11-17T05:00:00Z/2026-11-18T05:00:00Z",
        "2026-11-18T05:00:00Z/2026-11-19T00:00:00Z",  # until the begin of the window in UTC
        "2026-11-20T00:00:00Z/2026-11-20T05:00:00Z",  # from the end of that window
        "2026-11-20T05:00:00Z/2026-11-21T05:00:00Z",
    ]
    again = exports.run(now, days=days("2026-11-18", "2026-11-19"), force=True)
    assert [f"{window.start:%d %H}" for window in again] == ["18 05", "19 00", "20 00"]


def test_the_schedule_continues_after_requested_windows(exports: Runs) -> None:
    now = utc("2026-11-20 07:00")
    exports.run(now, days=days("2026-11-10", "2026-11-19"))
    found = exports.run(utc("2026-11-22 07:00"))
    assert [window.start.day for window in found] == [20, 21]


def test_a_delivered_brand_of_a_requested_window_is_not_built_again(exports: Runs) -> None:
    exports.configure("brand: '*'")
    now = utc("2026-11-20 07:00")
    request = Request(days=days("2026-11-18", "2026-11-19"))
    (first, second) = due.jobs(exports.config, exports.ledger, request, now)
    acme = first.of_brand("ACME")
    exports.ledger.finish([acme.entry, replace(second.entry)])
    (left,) = due.jobs(exports.config, exports.ledger, request, now)
    assert left == first
    assert (
        left.of_brand("ACME").revised(exports.ledger.entries()["ACME daily", left.entry.window])
        is None
    )


def test_the_maximum_number_of_windows_can_be_requested(exports: Runs) -> None:
    exports.configure("brand: ACME, interval: hourly")
    now = utc("2026-11-20 07:00")
    first = date(2026, 11, 19) - timedelta(days=due.MOST_WINDOWS // 24 - 1)
    request = Request(days=Days(first, date(2026, 11, 19)))
    found = due.jobs(exports.config, exports.ledger, request, now)
    assert len(found) == due.MOST_WINDOWS // 24 * 24


def test_a_long_backlog_of_one_export_does_not_delay_the_others(tmp_path: Path) -> None:
    now = utc("2026-11-20 12:00")
    exports = Runs(
        tmp_path,
        "brand: SLOW, interval: 15m, start: 2023-11-20",
        "brand: ACME",
        "brand: BETA, start: 2026-11-17",
        "brand: WEEK, interval: 15m, start: 2026-11-14",
    )
    jobs = due.jobs(exports.config, exports.ledger, Request(), now)
    chosen, warnings = due.in_turns(jobs)
    names = [job.brand for job in chosen]
    assert {name: names.count(name) for name in set(names)} == {
        "SLOW": 1_000,
        "ACME": 1,
        "BETA": 3,
        "WEEK": 623,
    }
    assert {*names[: 2 * 96 + 4]} == {"SLOW", "ACME", "BETA", "WEEK"}
    assert names[2 * 96 + 4 :].count("ACME") + names[2 * 96 + 4 :].count("BETA") == 0
    windows = [job.entry.window for job in chosen if job.brand == "SLOW"]
    assert windows[0].start == utc("2023-11-20 00:00")
    assert all(before.end == after.start for before, after in pairwise(windows))
    (warning,) = warnings
    assert warning.startswith("SLOW 15m: 105,263 windows are due; this run builds the oldest 1,000")
    # The next run continues there.
    exports.ledger.plan(job.entry for job in chosen)
    exports.ledger.finish(job.entry for job in chosen)
    following, _ = due.in_turns(due.jobs(exports.config, exports.ledger, Request(), now))
    assert following[0].entry.window.start == windows[-1].end


def test_exports_that_share_windows_still_share_their_builds(tmp_path: Path) -> None:
    start = "start: 2026-01-01"
    exports = Runs(tmp_path, *(f"brand: {brand}, {start}" for brand in ("A", "B", "C")))
    jobs = due.jobs(exports.config, exports.ledger, Request(), utc("2026-11-20 12:00"))
    assert due.in_turns(jobs) == (jobs, [])
