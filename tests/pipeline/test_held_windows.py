"""A scheduled window waits until the warehouse was loaded past its end."""

import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime

import pytest
import yaml
from workspace import ROOT, Workspace, days, utc

from orchestrator import config
from orchestrator.cli import metrics, report, status_page, status_text
from orchestrator.commands import status, status_history
from orchestrator.jobs import Request
from orchestrator.ledger import Ledger
from orchestrator.pipeline import RunResult, Status, run
from orchestrator.warehouse import project

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
        "check that its loader works"
    )
    (again,) = acme.run("2026-11-20 07:05").windows
    assert again.hold
    assert not again.hold.is_new
    # An event of any brand and table shows that the warehouse was loaded past the end.
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
    # A brand that has rows on other days gets files without rows for this day.
    assert found["ACME"].status == Status.DELIVERED
    assert found["ACNE"].status == Status.HELD
    assert found["ACNE"].hold
    assert "knows no brand 'ACNE'; did you mean ACME?" in found["ACNE"].hold.reason
    assert result.exit_code == 0
    assert workspace.files() == ["activity_ACME_20261119.csv", "broadcast_ACME_20261119.csv"]
    assert workspace.run("2026-11-21 06:00", brands=["ACNE"]).exit_code == 3


def test_incomplete_windows_are_sent_again_when_their_rows_arrive(workspace: Workspace) -> None:
    workspace.mailing("ACME", "2026-11-14")
    settings = "{wait: 1d, start: 2026-11-15, late_rows: resend}"
    workspace.configure("  - {brand: ACME}", defaults=settings)
    outage = workspace.run(NOW)
    assert statuses(outage) == [Status.HELD, *[Status.DELIVERED] * 4]
    assert len(outage.waited) == 4
    (warning,) = [text for text in outage.warnings if "rows may be missing" in text]
    assert warning.startswith("ACME daily 2026-11-15T00:00:00Z/2026-11-16T00:00:00Z and 3 more")
    # The loader works again.
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


def test_a_held_window_is_shown_by_dry_run_status_page_and_metrics(
    acme: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded, now = config.read(acme.folder / "exports.yml"), utc(NOW)
    foreseen = run.foresee(loaded, project.find(acme.folder, None), Request(), now=now)
    (line,) = report.dry_run_lines(foreseen)
    reason = "the newest event in the warehouse came in at 2026-11-19 11:00:00 UTC, 20:00:00 ago"
    assert line.startswith(f"held      ACME daily 2026-11-19: {reason}")
    assert not (acme.folder / "state").exists()
    acme.run(NOW)
    with closing(Ledger(loaded.state, read_only=True)) as ledger:
        found = status.read_status(loaded, Request(), ledger, now=now)
        history = status_history.read_history(loaded, Request(), ledger, now=now)
    (export,) = found.exports
    (problem,) = export.problems
    assert (problem.kind, export.held_windows, export.overdue_windows) == ("held", 1, 1)
    assert problem.text.startswith(reason)
    status_text.print_status(found)
    shown = capsys.readouterr().out
    assert "held        ACME daily: window 2026-11-19 is held, due since 2026-11-20 06:00" in shown
    page, samples = acme.folder / "status.html", acme.folder / "status.prom"
    status_page.write_page(found, history, page, config=loaded.source.path)
    assert f"is held, due since 2026-11-20 06:00 UTC: {reason}" in re.sub(
        "<[^>]*>", "", page.read_text()
    )
    metrics.write_metrics(found, samples)
    labels = 'brand="ACME",export="ACME daily",interval="daily"'
    assert f"event_based_export_held_windows{{{labels}}} 1.0" in samples.read_text()


def test_a_raw_table_past_its_freshness_holds_windows(workspace: Workspace) -> None:
    folder = workspace.folder / "dbt_project"
    shutil.copytree(ROOT / "dbt_project", folder, ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copytree(ROOT / "profiles", workspace.folder / "profiles")
    sources = folder / "models/staging/_sources.yml"

    def set_freshness(**limits: object) -> None:
        found = yaml.safe_load((ROOT / "dbt_project/models/staging/_sources.yml").read_text())
        tables = {table["name"]: table for table in found["sources"][0]["tables"]}
        table = tables["email_opens"].setdefault("config", {})
        table |= {"freshness": limits, "loaded_at_field": "loaded_at"}
        sources.write_text(yaml.safe_dump(found))

    day = {"count": 1, "period": "day"}
    old, fresh = "2020-01-01 00:00:00", f"{datetime.now(UTC):%F %T}"
    workspace.mailing("ACME", "2026-11-01")
    workspace.query("update raw.email_opens set loaded_at = null")
    workspace.opened("ACME", "2026-11-20 00:00:00", "ACME-1", event_id="E1", loaded_at=old)
    workspace.configure("  - {brand: ACME}", defaults="{wait: 1d}")
    set_freshness(error_after=day)
    (window,) = workspace.run(NOW).windows
    assert window.hold
    assert window.hold.reason == (
        "the raw table email_opens is past its freshness (error_after): its newest row was loaded "
        "at 2020-01-01 00:00:00 UTC"
    )
    set_freshness(warn_after=day)
    warned = workspace.run(NOW)
    assert statuses(warned) == [Status.DELIVERED]
    assert "is past its freshness (warn_after)" in warned.warnings[0]
    set_freshness(error_after=day)
    workspace.opened("ACME", "2026-11-21 00:00:00", "ACME-1", event_id="E2", loaded_at=fresh)
    loaded = workspace.run("2026-11-21 07:00")
    assert (statuses(loaded), loaded.warnings) == ([Status.DELIVERED], [])
