"""exports.yml is edited over months: no waiting window is dropped without a message."""

import csv
import shutil
from collections import Counter
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import pytest
from forked_commands import orchestrate
from workspace import Workspace, utc

from orchestrator import config
from orchestrator.commands.status import read_status
from orchestrator.errors import LedgerError
from orchestrator.jobs import Request
from orchestrator.ledger import Ledger
from orchestrator.pipeline import RunResult, Status, retention
from orchestrator.windows import Days

DEFAULTS = "{additional_fields: {activities: [event_id]}}"
FIRST = datetime(2026, 11, 19, 1, tzinfo=UTC)
BOTH = "{there: {directory: there}, far: {directory: far}}"


@pytest.fixture
def busy(workspace: Workspace) -> Workspace:
    """Two brands; ACME has an open every four hours from 19 November on."""
    workspace.mailing("ZZ", "2026-11-01")
    workspace.mailing("ACME", "2026-11-01")
    for number in range(30):
        moment = FIRST + timedelta(hours=4 * number)
        workspace.opened("ACME", f"{moment:%F %T}", "ACME-1", event_id=f"{moment:%d %H}")
    return workspace


def arrived(workspace: Workspace, folder: str = "there") -> Counter[str]:
    """Return how often each event arrived, in files of any name."""
    found: Counter[str] = Counter()
    for path in (workspace.folder / folder).rglob("activity_ACME*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            found.update(row["Event ID"] for row in csv.DictReader(file))
    return found


def events(until: str) -> Counter[str]:
    """Return the events before a moment, each once."""
    moments = (FIRST + timedelta(hours=4 * number) for number in range(30))
    return Counter(name for name in (f"{moment:%d %H}" for moment in moments) if name < until)


def windows(result: RunResult) -> list[tuple[str, str, Status]]:
    return [(w.export, f"{w.window.start:%d %H}", w.status) for w in result.windows]


def warnings(workspace: Workspace, now: str) -> list[str]:
    """Return the warnings of `status`."""
    loaded = config.read(workspace.folder / "exports.yml")
    with closing(Ledger(loaded.state, read_only=True)) as ledger:
        moment = utc(now)
        return [*read_status(loaded, Request(), ledger, now=moment).warnings]


def break_destination(workspace: Workspace) -> None:
    """Put a file where the folder `there` was."""
    (workspace.folder / "there").rename(workspace.folder / "kept")
    (workspace.folder / "there").write_text("")


def restore_destination(workspace: Workspace) -> None:
    (workspace.folder / "there").unlink()
    (workspace.folder / "kept").rename(workspace.folder / "there")


def test_a_brand_moves_from_its_own_entry_to_every_brand(busy: Workspace) -> None:
    busy.configure("  - {brand: '*'}\n  - {brand: ACME, at: '23:00'}", defaults=DEFAULTS)
    busy.run("2026-11-20 23:30")
    busy.run("2026-11-21 06:30")  # `*` delivers the 20th, ACME is not due yet
    busy.configure("  - {brand: '*'}", defaults=DEFAULTS)
    found = windows(busy.run("2026-11-21 12:00"))
    assert found == [("ACME daily", "20 00", Status.DELIVERED)]
    busy.run("2026-11-22 06:30")
    assert arrived(busy) == events("22")
    assert busy.run("2026-11-22 06:30").windows == []


def test_waiting_windows_are_delivered_after_a_change_of_interval(busy: Workspace) -> None:
    busy.configure("  - {brand: ACME}", defaults=DEFAULTS)
    break_destination(busy)
    assert busy.run("2026-11-20 06:30").exit_code == 1
    restore_destination(busy)
    busy.configure("  - {brand: ACME, interval: hourly}", defaults=DEFAULTS)
    found = windows(busy.run("2026-11-20 02:30"))
    hourly = [("ACME hourly", f"20 {hour:02}", Status.DELIVERED) for hour in range(2)]
    assert found == [("ACME daily", "19 00", Status.DELIVERED), *hourly]
    busy.configure("  - {brand: ACME}", defaults=DEFAULTS)
    assert windows(busy.run("2026-11-21 06:30")) == [("ACME daily", "20 02", Status.DELIVERED)]
    assert arrived(busy) == events("21")


def test_waiting_windows_of_a_removed_entry_are_reported_until_they_are_given_up(
    busy: Workspace,
) -> None:
    busy.configure("  - {brand: ACME}\n  - {brand: ZZ}", defaults=DEFAULTS)
    break_destination(busy)
    busy.run("2026-11-20 06:30")
    restore_destination(busy)
    busy.configure("  - {brand: ZZ}", defaults=DEFAULTS)
    result = busy.run("2026-11-20 07:00")
    assert (windows(result), result.exit_code) == ([("ZZ daily", "19 00", Status.DELIVERED)], 3)
    (message,) = result.unsettled
    assert message.startswith("ACME daily: 1 windows wait, the oldest is 2026-11-19T00:00:00Z/")
    assert warnings(busy, "2026-11-20 07:00") == [message]
    assert message in orchestrate(busy.folder, "check").stdout
    orchestrate(busy.folder, "status", "--prometheus", "metrics.prom")
    sample = 'unsettled_windows{brand="",export="ACME daily",interval=""} 1.0'
    assert sample in (busy.folder / "metrics.prom").read_text(encoding="utf-8")
    # The problem is solved if the entry is restored, or if the windows are abandoned.
    shown = orchestrate(busy.folder, "prune", "--abandon", "--dry-run").stdout
    assert "given up: ACME daily 2026-11-19T00:00:00Z/2026-11-20T00:00:00Z" in shown
    assert orchestrate(busy.folder, "prune", "--abandon").stdout == shown
    again = busy.run("2026-11-20 08:00")
    assert (again.windows, again.exit_code, again.unsettled) == ([], 0, [])
    assert warnings(busy, "2026-11-20 08:00") == []
    assert not (busy.folder / "outbox/activity_ACME_20261119.csv").exists()
    assert arrived(busy) == Counter()


def test_a_brand_with_an_hourly_entry_has_no_daily_files_of_every_brand(busy: Workspace) -> None:
    busy.configure("  - {brand: '*'}", defaults=DEFAULTS)
    busy.run("2026-11-20 06:30")
    entries = "  - {brand: '*'}\n  - {brand: ACME, interval: hourly%s}"
    busy.configure(entries % "", defaults=DEFAULTS)
    result = busy.run("2026-11-20 01:30")
    (message,) = result.warnings
    assert message.startswith(
        "ACME daily: delivered until 2026-11-20 00:00. ACME has a separate entry now,"
    )
    assert (result.exit_code, warnings(busy, "2026-11-20 01:30")) == (0, [message])
    assert arrived(busy) == events("20 01")
    busy.configure(entries % ", start: 2026-11-20", defaults=DEFAULTS)
    assert busy.run("2026-11-20 01:40").warnings == []
    assert warnings(busy, "2026-11-20 01:40") == []


def test_a_day_that_another_interval_delivered_is_sent_with_a_warning(busy: Workspace) -> None:
    busy.configure("  - {brand: ACME, interval: hourly, start: 2026-11-20}", defaults=DEFAULTS)
    busy.run("2026-11-20 03:30")
    busy.configure("  - {brand: ACME}", defaults=DEFAULTS)
    days = Days(date(2026, 11, 19), date(2026, 11, 20))
    result = busy.run("2026-11-21 06:30", days=days)
    assert result.warnings == [
        (
            "ACME daily 2026-11-20T00:00:00Z/2026-11-21T00:00:00Z: rows of this time were "
            "delivered as ACME hourly before, so the receiver gets them a second time"
        )
    ]
    assert windows(result) == [("ACME daily", f"{day} 00", Status.DELIVERED) for day in (19, 20)]


def test_waiting_files_are_delivered_after_their_destination_is_renamed(busy: Workspace) -> None:
    busy.configure("  - {brand: ACME, destination: [there, far]}", destinations=BOTH)
    (busy.folder / "far").rmdir()
    (busy.folder / "far").write_text("")
    busy.run("2026-11-20 06:30")
    sent = busy.all_bytes()
    for name in sent:  # the receiver moves its files away
        (busy.folder / "there" / name).unlink()
    (busy.folder / "far").unlink()
    busy.configure(
        "  - {brand: ACME, destination: [here, other]}",
        destinations="{here: {directory: there}, other: {directory: other}}",
    )
    result = busy.run("2026-11-20 07:00")
    assert windows(result) == [("ACME daily", "19 00", Status.DELIVERED)]
    (message,) = result.warnings
    assert "its files waited for destination 'far', which the export no longer has" in message
    # The renamed destination has the same folder, so nothing is sent again. The other one is new.
    assert (busy.files(), busy.all_bytes("other")) == ([], sent)


def test_retention_continues_after_a_destination_is_renamed(busy: Workspace) -> None:
    destinations = "{%s: {directory: there, retention: 1d}}"
    busy.configure("  - {brand: ACME}", destinations=destinations % "old")
    busy.run("2026-11-20 06:30")
    busy.configure("  - {brand: ACME}", destinations=destinations % "new")
    busy.run("2026-11-21 06:30")
    names = busy.files()
    loaded = config.read(busy.folder / "exports.yml")
    result = retention.foresee(loaded, now=datetime.now(UTC) + timedelta(days=2))
    assert [(r.destination, r.path) for r in result.removals if r.destination] == [
        ("old", "activity_ACME_20261119.csv"),
        ("old", "broadcast_ACME_20261119.csv"),
    ]
    assert len(names) == 4
    busy.configure("  - {brand: ACME}", destinations="{elsewhere: {directory: elsewhere}}")
    assert "files were delivered to destination 'old'" in orchestrate(busy.folder, "check").stdout


def test_a_brand_known_only_by_its_events_has_files_every_day(workspace: Workspace) -> None:
    workspace.mailing("ZZ", "2026-11-01")
    workspace.opened("MAILER", "2026-11-18 12:00:00", "unknown", event_id="E1")
    workspace.add("customers", {"brand": "SHOP", "customer_id": "C1"})
    workspace.configure("  - {brand: '*', start: 2026-11-18}")
    workspace.run("2026-11-20 06:30")
    assert workspace.files() == [
        f"{kind}_{brand}_202611{day}.csv"
        for kind in ("activity", "broadcast")
        for brand in ("MAILER", "SHOP", "ZZ")
        for day in (18, 19)
    ]
    # A brand whose rows were all removed gets no files, and one warning reports it.
    workspace.query("delete from raw.email_opens where brand = 'MAILER'")
    (message,) = workspace.run("2026-11-21 06:30").warnings
    assert "the warehouse has no row of brand 'MAILER' any more" in message
    assert workspace.run("2026-11-22 06:30").warnings == []
    assert {name for name in workspace.files() if "20261120" in name} == {
        f"{kind}_{brand}_20261120.csv"
        for kind in ("activity", "broadcast")
        for brand in ("SHOP", "ZZ")
    }
    # Once the brand has rows again, it gets files again.
    workspace.opened("MAILER", "2026-11-22 12:00:00", "unknown", event_id="E2")
    assert workspace.run("2026-11-23 06:30").exit_code == 0
    assert "activity_MAILER_20261122.csv" in workspace.files()


def test_a_new_ledger_next_to_a_destination_with_files_is_refused(busy: Workspace) -> None:
    busy.configure("  - {brand: '*'}", defaults=DEFAULTS)
    busy.run("2026-11-20 06:30")
    before = busy.all_bytes()
    shutil.rmtree(busy.folder / "state")
    shutil.rmtree(busy.folder / "outbox")
    for moment in ("2026-11-20 07:00", "2026-11-20 08:00"):
        with pytest.raises(
            LedgerError, match=r"destination 'there' has activity_ACME_20261119\.csv"
        ):
            busy.run(moment)
    assert busy.all_bytes() == before
    busy.configure("  - {brand: '*', start: 2026-11-20}", defaults=DEFAULTS)
    assert busy.run("2026-11-20 08:00").windows == []
    assert len(windows(busy.run("2026-11-21 06:30"))) == 2
    assert arrived(busy) == events("21")


def test_hours_that_repeat_after_a_change_of_time_zone_get_other_names(busy: Workspace) -> None:
    busy.configure("  - {brand: ACME, interval: hourly, timezone: Europe/Amsterdam}")
    busy.run("2026-11-20 09:20")
    busy.configure("  - {brand: ACME, interval: hourly, completion: ready}")
    assert busy.run("2026-11-20 11:20").exit_code == 0
    assert [name for name in busy.files() if name.startswith("activity")] == [
        "activity_ACME_20261120_0900.csv",  # 08:00 to 09:00 UTC
        "activity_ACME_20261120_0900_0900Z.csv",
        "activity_ACME_20261120_0900_0900Z.csv.ready",
        "activity_ACME_20261120_1000.csv",
        "activity_ACME_20261120_1000.csv.ready",
    ]
