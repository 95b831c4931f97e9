"""A scheduled window waits until the warehouse was loaded past its end."""

from collections.abc import Sequence

import pytest
from workspace import Workspace, days

from orchestrator.pipeline.result import RunResult, Status

NOW = "2026-11-20 07:00"


@pytest.fixture
def acme(workspace: Workspace) -> Workspace:
    """A brand whose newest event came in on 19 November, before the end of that day."""
    workspace.mailing("ACME", "2026-11-19")
    workspace.configure("  - {brand: ACME}", defaults="{wait: 1d}")
    return workspace


def statuses(result: RunResult) -> Sequence[Status]:
    """Return the statuses of a run's windows."""
    return [window.status for window in result.windows]


def test_a_window_waits_for_the_first_event_after_it(acme: Workspace) -> None:
    held = acme.run(NOW)
    (window,) = held.windows
    assert (window.status, held.exit_code, acme.files()) == (Status.HELD, 0, [])
    assert window.hold
    assert window.hold.is_new
    assert f"{window.hold.since:%F %H:%M} {window.hold.until:%F %H:%M}" == (
        "2026-11-20 06:00 2026-11-21 06:00"
    )
    assert window.hold.reason == (
        "the newest event in the warehouse came in at 2026-11-19 11:00:00 UTC, 20:00:00 ago; "
        "see whether its loader runs"
    )
    (again,) = acme.run("2026-11-20 07:05").windows
    assert again.hold
    assert not again.hold.is_new
    # Any brand and any table shows that the loader came past the end.
    acme.opened("OTHER", "2026-11-20 00:00:00", "none", event_id="X")
    shipped = acme.run("2026-11-20 07:10")
    assert (statuses(shipped), shipped.exit_code, shipped.waited) == ([Status.DELIVERED], 0, [])
    assert acme.text("activity_ACME_20261119.csv").count("\n") == 2
    assert acme.run("2026-11-20 07:15").windows == []


def test_after_the_wait_a_window_ships_with_a_warning(acme: Workspace) -> None:
    assert statuses(acme.run(NOW)) == [Status.HELD]
    late = acme.run("2026-11-21 06:30")
    assert statuses(late) == [Status.HELD, Status.DELIVERED]
    assert late.exit_code == 3
    assert len(late.waited) == 1
    assert late.waited[0] in late.warnings
    assert "rows may be missing: the newest event in the warehouse came in at" in late.waited[0]
    assert acme.files() == ["activity_ACME_20261119.csv", "broadcast_ACME_20261119.csv"]


def test_windows_that_are_requested_by_date_do_not_wait(acme: Workspace) -> None:
    result = acme.run(NOW, days=days("2026-11-19"))
    assert (statuses(result), result.exit_code) == ([Status.DELIVERED], 0)
    (warning,) = result.warnings
    assert "rows may be missing: the newest event in the warehouse came in at" in warning


def test_a_brand_without_any_row_waits_and_then_fails(workspace: Workspace) -> None:
    workspace.mailing("ACME", "2026-11-18")
    workspace.opened("ACME", "2026-11-20 00:00:00", "ACME-1", event_id="later")
    entries = "  - {brand: ACME, start: 2026-11-19}\n  - {brand: ACNE}"
    workspace.configure(entries, defaults="{wait: 1d}")
    result = workspace.run(NOW)
    found = {window.brand: window for window in result.windows}
    # A day without rows is a day with rows for a brand that has any.
    assert found["ACME"].status == Status.DELIVERED
    assert found["ACNE"].status == Status.HELD
    assert found["ACNE"].hold
    assert "knows no brand 'ACNE'; did you mean ACME?" in found["ACNE"].hold.reason
    assert result.exit_code == 0
    assert workspace.files() == ["activity_ACME_20261119.csv", "broadcast_ACME_20261119.csv"]
    assert workspace.run("2026-11-21 06:00", brands=["ACNE"]).exit_code == 3


def test_what_shipped_incomplete_is_sent_again_when_the_rows_arrive(workspace: Workspace) -> None:
    workspace.mailing("ACME", "2026-11-14")
    settings = "{wait: 1d, start: 2026-11-15, late_rows: resend}"
    workspace.configure("  - {brand: ACME}", defaults=settings)
    outage = workspace.run(NOW)
    assert statuses(outage) == [Status.HELD, *[Status.DELIVERED] * 4]
    assert len(outage.waited) == 4
    # The loader is back.
    workspace.mailing("ACME", "2026-11-15", number=2)
    workspace.opened("ACME", "2026-11-20 00:00:00", "ACME-1", event_id="later")
    caught_up = workspace.run("2026-11-20 08:00")
    (late,) = caught_up.late
    assert (f"{late.window.start:%F}", late.delivered["activity"], late.now["activity"]) == (
        "2026-11-15",
        0,
        1,
    )
    found = {f"{w.window.start:%F}": (w.status, w.revision) for w in caught_up.windows}
    assert found == {"2026-11-19": (Status.DELIVERED, 1), "2026-11-15": (Status.DELIVERED, 2)}
    assert workspace.text("activity_ACME_20261115.csv").count("\n") == 2
