"""Reconcile: deliveries that lost rows or files, or that differ from today's views."""

from datetime import date
from pathlib import Path

import pytest
from forked_commands import orchestrate
from workspace import Workspace, utc

from orchestrator import config
from orchestrator.commands import reconcile
from orchestrator.commands.reconcile import FileCheck, ReconcileResult, RowCheck
from orchestrator.jobs import Request
from orchestrator.warehouse import project
from orchestrator.windows import Days

NOW = "2026-11-21 07:00"
SUMMARY = (
    "2 windows compared: 0 as delivered, 2 with missing rows or files, 0 with other differences"
)


@pytest.fixture
def acme(workspace: Workspace) -> Workspace:
    """A brand with three opens on 19 November and one on the next day, delivered."""
    workspace.mailing("ACME", "2026-11-19")
    workspace.mailing("ACME", "2026-11-20", number=2)
    for number in (3, 4):
        workspace.opened("ACME", f"2026-11-19 1{number}:00:00", "ACME-1", event_id=f"E{number}")
    workspace.configure("  - {brand: ACME, start: 2026-11-19}")
    workspace.run(NOW)
    return workspace


def reconciled(workspace: Workspace, first: int = 19, last: int = 20) -> ReconcileResult:
    """Compare some days of November."""
    loaded = config.read(workspace.folder / "exports.yml")
    return reconcile.reconcile(
        loaded,
        project.find(workspace.folder, None),
        Request(days=Days(date(2026, 11, first), date(2026, 11, last))),
        now=utc(NOW),
    )


def rows(result: ReconcileResult) -> list[RowCheck]:
    """Return the rows that differ."""
    found = [row for window in result.windows for row in sorted(window.rows, key=_kind)]
    return [row for row in found if row.missing or row.gone or row.changed]


def _kind(row: RowCheck) -> str:
    return row.kind


def files(result: ReconcileResult) -> list[FileCheck]:
    """Return the files that differ."""
    return [file for window in result.windows for file in window.files]


def test_unchanged_deliveries_have_no_differences(acme: Workspace) -> None:
    ledger = (acme.folder / "state/ledger.db").read_bytes()
    result = reconciled(acme)
    assert [(window.export, window.is_alike) for window in result.windows] == [
        ("ACME daily", True)
    ] * 2
    assert (result.exit_code, result.warnings) == (0, [])
    assert (acme.folder / "state/ledger.db").read_bytes() == ledger


def test_missing_gone_and_changed_rows_are_counted_separately(acme: Workspace) -> None:
    acme.query("delete from raw.email_opens where event_id = 'E3'")
    acme.query("update raw.email_opens set email_address = null where event_id = 'E4'")
    acme.opened("ACME", "2026-11-19 18:00:00", "ACME-1", event_id="E5")
    acme.opened("ACME", "2026-11-19 08:00:00", "ACME-1", event_id="E6")
    result = reconciled(acme)
    assert rows(result) == [RowCheck("activity", 3, 4, missing=2, gone=1, changed=1)]
    assert result.exit_code == 3
    command = "orchestrate daily --date 2026-11-19 --brand ACME --force"
    assert [window.command for window in result.windows] == [command, None]


def test_rows_that_are_only_gone_or_changed_exit_with_0(acme: Workspace) -> None:
    acme.query("update raw.email_opens set email_address = 'x@example.org'")
    acme.query("update raw.broadcasts set subject = 'Other'")
    result = reconciled(acme)
    assert [(row.kind, row.changed, row.missing, row.gone) for row in rows(result)] == [
        *[("activity", 3, 0, 0), ("broadcast", 1, 0, 0)],
        *[("activity", 1, 0, 0), ("broadcast", 1, 0, 0)],
    ]
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "dialect",
    [
        "{compression: gzip}",
        "{compression: zstd, quoting: all, line_ending: crlf}",
        "{compression: zip, header: false, delimiter: '||', encoding: utf-16}",
    ],
)
def test_compressed_files_of_any_dialect_are_compared(workspace: Workspace, dialect: str) -> None:
    workspace.add(
        "broadcasts",
        {
            "brand": "ACME",
            "broadcast_id": 'A"||\n1',
            "subject": 'a\r\n"b"||,c',
            "sent_on": "2026-11-20 10:00:00",
            "received_at": "2026-11-20 10:00:00",
        },
    )
    workspace.mailing("ACME", "2026-11-20")
    workspace.configure("  - {brand: ACME}", defaults=dialect)
    workspace.run(NOW)
    assert rows(reconciled(workspace, 20)) == []
    workspace.query("update raw.broadcasts set description = 'new'")
    workspace.query("delete from raw.email_opens")
    assert rows(reconciled(workspace, 20)) == [
        RowCheck("activity", 1, 0, gone=1),
        RowCheck("broadcast", 2, 2, changed=2),
    ]


def test_without_the_delivered_file_the_counts_are_not_exact(acme: Workspace) -> None:
    for folder in ("outbox", "there"):
        (acme.folder / folder / "activity_ACME_20261119.csv").unlink()
    acme.query("delete from raw.email_opens where event_id = 'E3'")
    acme.opened("ACME", "2026-11-19 18:00:00", "ACME-1", event_id="E5")
    result = reconciled(acme)
    assert rows(result) == [RowCheck("activity", 3, 3, missing=1, gone=1, is_exact=False)]
    assert files(result) == [
        FileCheck("outbox", "activity_ACME_20261119.csv", "absent"),
        FileCheck("there", "activity_ACME_20261119.csv", "absent"),
    ]


def test_removed_or_changed_files_are_reported(acme: Workspace) -> None:
    (acme.folder / "there/activity_ACME_20261119.csv").unlink()
    path = acme.folder / "there/broadcast_ACME_20261120.csv"
    path.write_bytes(path.read_bytes()[:-1])
    result = reconciled(acme)
    assert files(result) == [
        FileCheck("there", "activity_ACME_20261119.csv", "absent"),
        FileCheck("there", "broadcast_ACME_20261120.csv", "different"),
    ]
    assert (rows(result), result.exit_code) == ([], 3)


def test_a_window_that_was_never_delivered_is_missing(acme: Workspace) -> None:
    acme.mailing("ACME", "2026-11-18", number=9)
    result = reconciled(acme, 18)
    window = result.windows[0]
    assert (window.delivered, window.command) == (
        False,
        "orchestrate daily --date 2026-11-18 --brand ACME",
    )
    assert [(row.kind, row.missing) for row in sorted(window.rows, key=_kind)] == [
        ("activity", 1),
        ("broadcast", 1),
    ]
    assert result.exit_code == 3


def test_a_window_that_the_ledger_lost_is_missing_for_a_brand_of_every_brand(
    workspace: Workspace,
) -> None:
    for brand in ("ALFA", "BETA"):
        workspace.mailing(brand, "2026-11-20")
    workspace.configure('  - {brand: "*"}')
    workspace.run(NOW)
    assert reconciled(workspace, 20).exit_code == 0
    _forget(workspace.folder / "state/ledger.db", "BETA daily")
    found = {window.export: window.delivered for window in reconciled(workspace, 20).windows}
    assert found == {"ALFA daily": True, "BETA daily": False}


def test_the_command_prints_what_differs(acme: Workspace) -> None:
    acme.opened("ACME", "2026-11-19 18:00:00", "ACME-1", event_id="E5")
    (acme.folder / "there/broadcast_ACME_20261120.csv").unlink()
    done = orchestrate(acme.folder, *["reconcile", "--from", "2026-11-19", "--to", "2026-11-20"])
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        "ACME daily 2026-11-19",
        "  activity  3 delivered, 4 now: 1 missing",
        "  deliver it with: orchestrate daily --date 2026-11-19 --brand ACME --force",
        "ACME daily 2026-11-20",
        "  absent in there: broadcast_ACME_20261120.csv",
        SUMMARY,
    ]


def _forget(ledger: Path, export: str) -> None:
    import sqlite3  # noqa: PLC0415 - only this helper needs it

    with sqlite3.connect(ledger) as connection:
        for table in ("windows", "deliveries", "recounts"):
            connection.execute(f"delete from {table} where export = ?", [export])
