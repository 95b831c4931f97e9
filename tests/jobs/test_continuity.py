"""After edits of exports.yml, the windows of a brand still tile time, whatever entry exports it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise, product
from pathlib import Path

import pytest
from workspace import utc

from orchestrator import config
from orchestrator.config.ledger_url import parse
from orchestrator.jobs import Exports, Job, Request, due
from orchestrator.jobs.continuity import Continuity
from orchestrator.ledger import Ledger
from orchestrator.windows import Window

EVERY = "brand: '*'"
ACME = "brand: ACME"


class Months:
    """An exports.yml that is edited, a ledger, and runs that need no warehouse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(parse("sqlite:///ledger.db", folder))
        self.brands = ["ACME", "ZZ"]
        self.windows: dict[str, list[Window]] = {"ACME": [], "ZZ": []}

    def run(self, now: datetime, *entries: str, succeeds: bool = True) -> None:
        """Deliver the windows that are due with these entries, as a run does."""
        lines = "".join(f"  - {{{entry}}}\n" for entry in entries)
        path = self.folder / "exports.yml"
        path.write_text(f"destinations: {{there: {{directory: there}}}}\nexports:\n{lines}")
        loaded, request = config.read(path), Request()
        jobs = due.jobs(loaded, self.ledger, request, now)
        self.ledger.plan(job.entry for job in jobs)
        for job in jobs if succeeds else []:
            window = job.entry.window
            taken = [each.entry.export for each in jobs if each.entry.window == window]
            if job.brand == "*":
                continuity = Continuity(Exports(loaded, request), self.ledger)
                for each in continuity.brands(job, self.brands, taken, request):
                    self._deliver(each)
                self.ledger.finish([job.entry])
            else:
                self._deliver(job)

    def _deliver(self, job: Job) -> None:
        self.ledger.finish([job.entry])
        self.windows[job.brand].append(job.entry.window)

    def check(self, brand: str = "ACME") -> list[Window]:
        """Check that a brand's windows tile time, and return them."""
        windows = sorted(self.windows[brand])
        assert [(a, b) for a, b in pairwise(windows) if a.end > b.start] == [], "overlap"
        assert [(a, b) for a, b in pairwise(windows) if a.end < b.start] == [], "gap"
        return windows


@pytest.fixture
def months(tmp_path: Path) -> Iterator[Months]:
    """Two brands, and nothing delivered yet."""
    created = Months(tmp_path)
    yield created
    created.ledger.close()


SHAPES = {
    "every": (EVERY,),
    "late": (EVERY, f"{ACME}, at: '23:00'"),
    "early": (f"{EVERY}, at: '12:00'", f"{ACME}, at: '01:00'"),
    "Tokyo": (f"{EVERY}, timezone: Europe/Amsterdam", f"{ACME}, timezone: Asia/Tokyo"),
    "New York": (EVERY, f"{ACME}, timezone: America/New_York"),
    "hourly": (EVERY, f"{ACME}, interval: hourly"),
    "every hour": (f"{EVERY}, interval: hourly",),
    "weekly": (EVERY, f"{ACME}, interval: weekly"),
    "listed": ("brand: ZZ", ACME),
    "elsewhere": (f"{EVERY}, timezone: Asia/Kathmandu, directory: other",),
}


@pytest.mark.parametrize(("first", "second"), [*product(SHAPES, SHAPES)])
def test_windows_tile_time_over_an_edit_and_back(months: Months, first: str, second: str) -> None:
    now = utc("2026-11-18 05:30")
    for shape, hours in ((first, 80), (second, 55), (first, 61), (second, 250)):
        for _ in range(0, hours, 7):
            now += timedelta(hours=7)
            months.run(now, *SHAPES[shape], succeeds=now.hour % 5 > 0)
    months.run(now, *SHAPES[second])
    windows = months.check()
    assert windows[0].start <= utc("2026-11-18 12:30")
    longest = timedelta(days=8 if second == "weekly" else 2)
    assert windows[-1].end >= now - longest
    months.check("ZZ")


def test_a_waiting_window_of_every_brand_has_one_job(months: Months) -> None:
    months.run(utc("2026-11-20 07:00"), EVERY)
    months.run(utc("2026-11-21 07:00"), EVERY, succeeds=False)
    loaded = config.read(months.folder / "exports.yml")
    jobs = due.jobs(loaded, months.ledger, Request(), utc("2026-11-21 08:00"))
    assert [(job.entry.export, job.entry.window.start.day) for job in jobs] == [("* daily", 20)]
    months.run(utc("2026-11-22 07:00"), EVERY)
    assert len(months.check()) == len(months.check("ZZ")) == 3
