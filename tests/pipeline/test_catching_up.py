"""Catching up, backfilling and sending again, by runs on a real warehouse."""

import json
from pathlib import Path

import pytest
from forked_commands import orchestrate
from workspace import Workspace, days

from orchestrator.errors import ExportError, UsageError
from orchestrator.pipeline import RunResult, Status

NOW = "2026-11-20 07:00"
BOTH = "{there: {directory: there}, far: {directory: far}}"


def windows(result: RunResult) -> list[tuple[str, str, int, Status]]:
    return [
        (window.export, f"{window.window.start:%d %H}", window.revision, window.status)
        for window in result.windows
    ]


def test_a_run_after_a_week_delivers_all_missed_windows(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME}\n  - {brand: '*', interval: weekly, directory: weeks}")
    acme.mailing("BETA", "2026-11-21")
    acme.run("2026-11-18 07:00")
    result = acme.run("2026-11-26 07:00")
    assert windows(result) == [
        ("BETA weekly", "16 00", 1, Status.DELIVERED),
        *(("ACME daily", f"{day} 00", 1, Status.DELIVERED) for day in range(18, 26)),
    ]
    assert acme.text("activity_ACME_20261119.csv").count("\n") == 2
    assert acme.run("2026-11-26 07:00").windows == []


def test_requested_days_are_delivered_oldest_first_and_once(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME}\n  - {brand: BETA, timezone: Asia/Kathmandu}")
    acme.run(NOW, brands=["ACME"])
    wanted = days("2026-11-18", "2026-11-19")
    assert windows(acme.run(NOW, days=wanted, deliver=False)) == [
        ("BETA daily", "17 18", 1, Status.WRITTEN),
        ("ACME daily", "18 00", 1, Status.WRITTEN),
        ("BETA daily", "18 18", 1, Status.WRITTEN),
    ]
    assert {status for *_, status in windows(acme.run(NOW, days=wanted))} == {Status.DELIVERED}
    assert acme.run(NOW, days=wanted).windows == []
    forced = windows(acme.run(NOW, days=wanted, force=True, brands=["ACME"]))
    assert forced == [
        ("ACME daily", "18 00", 2, Status.DELIVERED),
        ("ACME daily", "19 00", 2, Status.DELIVERED),
    ]


def test_resend_sends_the_same_bytes(acme: Workspace) -> None:
    acme.mailing("BETA", "2026-11-19")
    acme.configure("  - {brand: ACME}\n  - {brand: '*'}")
    acme.run(NOW)
    sent = acme.all_bytes()
    acme.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E2")
    again = days("2026-11-19")
    for name in sent:
        (acme.folder / "there" / name).unlink()
    assert windows(acme.run(NOW, days=again, resend=True)) == [
        ("ACME daily", "19 00", 1, Status.DELIVERED),
        ("BETA daily", "19 00", 1, Status.DELIVERED),
    ]
    assert acme.all_bytes() == sent
    assert acme.run(NOW).windows == []
    # Only the requested brand is sent, to the destinations that exports.yml has now.
    acme.configure(
        "  - {brand: ACME}\n  - {brand: '*'}", destinations=BOTH, defaults="{destination: far}"
    )
    result = acme.run(NOW, days=again, resend=True, brands=["BETA"])
    assert windows(result) == [("BETA daily", "19 00", 1, Status.DELIVERED)]
    assert acme.all_bytes("far") == {name: sent[name] for name in sent if "BETA" in name}
    with pytest.raises(UsageError, match="nothing was delivered of windows that begin on 2026-11"):
        acme.run(NOW, days=days("2026-11-18"), resend=True)


def test_a_failed_resend_is_completed_by_the_next_run(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, destination: [there, far]}", destinations=BOTH)
    acme.run(NOW)
    sent = acme.all_bytes()
    for name in sent:
        (acme.folder / "there" / name).unlink()
        (acme.folder / "far" / name).unlink()
    (acme.folder / "far").rmdir()
    (acme.folder / "far").write_text("a file where a folder should be")
    assert acme.run(NOW, days=days("2026-11-19"), resend=True).exit_code == 3
    for name in sent:
        (acme.folder / "there" / name).unlink()
    (acme.folder / "far").unlink()
    (acme.folder / "far").mkdir()
    assert windows(acme.run(NOW)) == [("ACME daily", "19 00", 1, Status.DELIVERED)]
    assert (acme.all_bytes("far"), acme.files()) == (sent, [])


def test_resend_refuses_files_that_are_no_longer_in_the_outbox(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, start: 2026-11-18}")
    acme.run(NOW)
    (acme.folder / "outbox/activity_ACME_20261119.csv").unlink()
    for name in acme.files():
        (acme.folder / "there" / name).unlink()
    with pytest.raises(ExportError) as caught:
        acme.run(NOW, days=days("2026-11-18", "2026-11-19"), resend=True)
    message = str(caught.value)
    assert "activity_ACME_20261119.csv is no longer in the outbox as it was delivered" in message
    assert message.endswith("orchestrate daily --date 2026-11-19 --brand ACME --force")
    assert acme.run(NOW).windows == []  # no window was marked for sending
    assert acme.files() == []


def test_resend_drops_a_revision_that_could_not_be_built(acme: Workspace) -> None:
    acme.run(NOW)
    sent = acme.all_bytes()
    good = acme.warehouse.read_bytes()
    acme.query("drop table raw.email_opens")
    assert acme.run(NOW, force=True).exit_code == 4
    result = acme.run(NOW, days=days("2026-11-19"), resend=True)
    assert windows(result) == [("ACME daily", "19 00", 1, Status.DELIVERED)]
    assert (
        "revision 2, which was requested and could not be built, is dropped" in (result.warnings[0])
    )
    acme.warehouse.write_bytes(good)
    assert acme.run(NOW).windows == []
    assert acme.all_bytes() == sent


def test_the_commands_backfill_and_resend(acme: Workspace) -> None:
    span = ("backfill", "--from", "2026-11-18", "--to", "2026-11-19")
    seen = orchestrate(acme.folder, *span, "--dry-run")
    assert seen.returncode == 0
    assert [line.split(":")[0] for line in seen.stdout.splitlines()] == [
        "due       ACME daily 2026-11-18",
        "due       ACME daily 2026-11-19",
    ]
    ran = orchestrate(acme.folder, *span, "--json")
    assert [window["status"] for window in json.loads(ran.stdout)["windows"]] == ["delivered"] * 2
    assert "nothing is due" in orchestrate(acme.folder, *span).stderr
    for name in acme.files():
        Path(acme.folder / "there" / name).unlink()
    resend = ("resend", "--date", "2026-11-19")
    assert (
        "due       ACME daily 2026-11-19" in orchestrate(acme.folder, *resend, "--dry-run").stdout
    )
    assert acme.files() == []
    assert orchestrate(acme.folder, *resend).returncode == 0
    assert acme.files() == ["activity_ACME_20261119.csv", "broadcast_ACME_20261119.csv"]
    wrong = orchestrate(acme.folder, "backfill", "--from", "2026-11-19", "--to", "2026-11-18")
    assert wrong.returncode == 2
    assert "--to 2026-11-18 is before --from 2026-11-19" in wrong.stderr
