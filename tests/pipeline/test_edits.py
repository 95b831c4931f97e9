"""exports.yml is edited over months: no row is left out, and none comes twice."""

import csv
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from workspace import Workspace


DEFAULTS = "{additional_fields: {activities: [event_id]}}"
FIRST = datetime(2026, 11, 18, 1, tzinfo=UTC)
LAST = datetime(2026, 11, 24, 21, tzinfo=UTC)


@pytest.fixture
def busy(workspace: Workspace) -> Workspace:
    """Two brands; ACME has an open every four hours from 18 November on, for a week."""
    workspace.mailing("ZZ", "2026-11-01")
    workspace.mailing("ACME", "2026-11-01")
    moments = [FIRST + timedelta(hours=4 * n) for n in range(42)]
    workspace.add(
        "email_opens",
        *(
            {
                "brand": "ACME",
                "event_id": f"{moment:%d %H}",
                "broadcast_id": "ACME-1",
                "customer_id": "C1",
                "received_at": f"{moment:%F %T}",
            }
            for moment in moments
        ),
    )
    return workspace


def delivered(workspace: Workspace) -> Counter[str]:
    """Return how often each event arrived, in files of any name."""
    found: Counter[str] = Counter()
    for path in (workspace.folder / "there").rglob("activity_ACME*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            found.update(row["Event ID"] for row in csv.DictReader(file))
    return found


def check_complete(workspace: Workspace, until: str, *, since: str = "18 01") -> None:
    """Check that each event between two moments arrived once."""
    moments = [FIRST + timedelta(hours=4 * n) for n in range(42)]
    wanted = [name for name in (f"{moment:%d %H}" for moment in moments) if since <= name < until]
    found = delivered(workspace)
    assert [name for name in wanted if found[name] == 0] == [], "not delivered"
    assert [name for name in found if found[name] > 1] == [], "delivered more than once"


def configure(workspace: Workspace, *entries: str) -> None:
    """Write exports.yml with these entries."""
    workspace.configure("".join(f"  - {{{entry}}}\n" for entry in entries), defaults=DEFAULTS)


EVERY = "brand: '*'"
EDITS = {
    "later due": ("brand: ACME, at: '23:00'", EVERY, EVERY),
    "earlier due": ("brand: ACME, at: '01:00'", f"{EVERY}, at: '12:00'", f"{EVERY}, at: '12:00'"),
    "zone ahead": ("brand: ACME, timezone: Asia/Tokyo", EVERY, EVERY),
    "zone behind": ("brand: ACME, timezone: America/New_York", EVERY, EVERY),
    "from hourly": ("brand: ACME, interval: hourly", EVERY, EVERY),
    "to hourly": (EVERY, "brand: ACME, interval: hourly", "brand: ACME, interval: hourly"),
    "to another zone": (EVERY, "brand: ACME, timezone: Asia/Tokyo", EVERY),
    "daily, hourly, daily": ("brand: ACME", "brand: ACME, interval: hourly", "brand: ACME"),
    "hourly, daily, hourly": (
        "brand: ACME, interval: hourly",
        "brand: ACME",
        "brand: ACME, interval: hourly",
    ),
    "every brand by the hour": (EVERY, f"{EVERY}, interval: hourly", EVERY),
    "from weekly": ("brand: ACME, interval: weekly", EVERY, "brand: ACME, interval: weekly"),
    "no more every brand": (EVERY, "brand: ZZ", EVERY),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_brand_moves(busy: Workspace, edit: str) -> None:
    others = [] if EVERY in EDITS[edit][0] else [EVERY]
    first, second, third = EDITS[edit]
    moments = iter(("19 23:30", "20 23:30", "21 12:00", "22 06:30", "23 14:30", "24 06:30"))

    def run(entry: str) -> None:
        also = [] if entry.startswith(EVERY) else [f"{EVERY}, timezone: Europe/Amsterdam"]
        configure(busy, entry, *(also if others or entry != "brand: ZZ" else []))
        result = busy.run(f"2026-11-{next(moments)}")
        assert result.exit_code == 0, result

    for entry in (first, first, second, second, third, third):
        run(entry)
    busy.run("2026-12-01 07:00")
    since = min(delivered(busy))
    check_complete(busy, "25 00", since=since)
    assert since <= "19 01"
