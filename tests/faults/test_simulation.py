"""Random outages of a loader, late, repeated and erased rows: no event is lost or sent twice.

At the end each event is once in the file of the window in which it was received, and in no other.
"""

import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from workspace import Workspace

TABLES = ("email_opens", "email_sends")
FIRST = datetime(2026, 11, 2, 7, tzinfo=UTC)
HOURS = (26, 9, 14, 1, 23)
PICKS = st.integers(0, 1000)


class Loader(RuleBasedStateMachine):
    """The platform, its loader, and `orchestrate run` now and then."""

    def __init__(self) -> None:
        """Create the workspace of one walk."""
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.folder = Path(tempfile.mkdtemp(prefix="simulation-"))
        self.workspace = Workspace(self.folder, self.patch)
        self.workspace.configure(
            "  - {brand: ACME, start: 2026-11-01, late_rows: resend, wait: 6h, quoting: minimal,"
            " additional_fields: {activities: [event_id]}}"
        )
        self.now = FIRST
        self.down: set[str] = set()
        self.waiting: dict[str, list[tuple[str, datetime]]] = {table: [] for table in TABLES}
        self.received: dict[str, datetime] = {}
        self.erased: set[str] = set()
        self.late = 0
        self.numbers = count(1)

    def teardown(self) -> None:
        """Load all waiting rows, run, and compare the files with the events."""
        try:
            self.down.clear()
            self.load()
            for _ in range(2):
                self.now = self.now.replace(hour=7) + timedelta(days=1)
                self.event("email_opens", "end")
                self.load()
                self.run()
            self.assert_complete()
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        """Send a mailing on the first day."""
        self.workspace.mailing("ACME", "2026-11-01")
        self.received["E1"] = datetime(2026, 11, 1, 11, tzinfo=UTC)

    @rule(hours=st.sampled_from(HOURS))
    def time_passes(self, hours: int) -> None:
        """Events come in, and reach the warehouse if their loader works; a run follows."""
        self.now += timedelta(hours=hours)
        for table in TABLES:
            self.event(table, str(next(self.numbers)))
        self.load()
        self.run()

    @rule(table=st.sampled_from(TABLES))
    def the_loader_stops(self, table: str) -> None:
        """The loader of one table stops, and its rows wait."""
        self.down.add(table)

    @rule()
    def the_loader_is_back(self) -> None:
        """All waiting rows reach the warehouse."""
        self.down.clear()
        self.load()

    @rule(pick=PICKS)
    def an_event_is_received_again(self, pick: int) -> None:
        """The platform sends an event again, within `dedupe_lookback_hours`.

        Not one that was erased: without its first row, nothing shows that it was received before.
        """
        recent = [
            name
            for name, at in self.received.items()
            if timedelta(0) < self.now - at < _LOOKBACK and name not in self.erased
        ]
        if recent:
            name = sorted(recent)[pick % len(recent)]
            self.waiting[self.table_of(name)].append((name, self.now))
            self.load()

    @rule(pick=PICKS)
    def a_row_is_erased(self, pick: int) -> None:
        """Somebody erases an event from the warehouse."""
        name = sorted(self.received)[pick % len(self.received)]
        if all(name != each for rows in self.waiting.values() for each, _ in rows):
            self.workspace.query(f"delete from raw.{self.table_of(name)} where event_id = '{name}'")
            self.erased.add(name)

    def run(self) -> None:
        """Call `orchestrate run`."""
        result = self.workspace.run(f"{self.now:%Y-%m-%d %H:%M}")
        assert not [window.error for window in result.windows if window.error]
        self.late += len(result.late)

    def event(self, table: str, name: str) -> None:
        """Receive an event now."""
        name = f"{table}-{name}-{self.now:%d%H%M%S}"
        self.received[name] = self.now
        self.waiting[table].append((name, self.now))

    def table_of(self, name: str) -> str:
        """Return the raw table of an event."""
        return next((table for table in TABLES if name.startswith(table)), "email_opens")

    def load(self) -> None:
        """Bring waiting rows to the warehouse, except for tables whose loader is down."""
        for table in set(TABLES) - self.down:
            for name, at in self.waiting[table]:
                row = {"brand": "ACME", "event_id": name, "broadcast_id": "ACME-1"}
                row |= {"customer_id": "C1", "email_address": "jan@example.com"}
                moments = {"received_at": f"{at:%F %T}", "loaded_at": self.now}
                self.workspace.add(table, row | moments)
            self.waiting[table].clear()

    def assert_complete(self) -> None:
        """Check that each event is once in its file, unless it was erased before the delivery."""
        found: list[tuple[str, str]] = []
        days = set()
        for path in (self.folder / "there").glob("activity_*.csv"):
            day = path.stem.rpartition("_")[2]
            days.add(day)
            lines = path.read_text().splitlines()[1:]
            found += [(line.rpartition(",")[2], day) for line in lines]
        assert len(days) == (self.now.date() - FIRST.date()).days + 1  # no window was left out
        assert len(found) == len(set(found))
        expected = {
            (name, f"{at:%Y%m%d}") for name, at in self.received.items() if f"{at:%Y%m%d}" in days
        }
        assert set(found) <= expected
        assert {name for name, _ in expected - set(found)} <= self.erased


_LOOKBACK = timedelta(hours=24)


@pytest.mark.parametrize(
    ("seed", "steps"), [(3, 15), *(pytest.param(n, 30, marks=pytest.mark.faults) for n in (1, 2))]
)
def test_a_random_walk_of_some_weeks_delivers_every_event_once(seed: int, steps: int) -> None:
    random = Random(seed)  # noqa: S311 - the same walk each time, nothing secret
    platform = Loader()
    platform.begin()
    kinds: tuple[Callable[[], None], ...] = (
        lambda: platform.time_passes(random.choice(HOURS)),
        lambda: platform.the_loader_stops(random.choice(TABLES)),
        platform.the_loader_is_back,
        lambda: platform.an_event_is_received_again(random.randrange(1000)),
        lambda: platform.a_row_is_erased(random.randrange(1000)),
    )
    for step in random.choices(kinds, weights=(10, 4, 2, 2, 1), k=steps):
        step()
    platform.teardown()
    assert platform.late  # a walk without late rows would prove little


@pytest.mark.faults
class TestLongWalks(Loader.TestCase):  # type: ignore[misc, valid-type] # built by hypothesis
    """Many more walks, of every kind."""

    settings = settings(max_examples=60, stateful_step_count=40, deadline=None, database=None)
