"""Runs on a real warehouse, dbt and ledger: which files arrive, and what a second run does."""

import fcntl
import hashlib
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sshd import Sshd
from workspace import ROOT, Steps, Workspace, days

from orchestrator import config
from orchestrator.cli import report
from orchestrator.errors import ConfigError, ExportError, LockedError, UsageError
from orchestrator.ledger import DeliveryKey, Ledger
from orchestrator.pipeline import RunResult, Status
from orchestrator.pipeline.holding import NO_BRANDS

ACTIVITY = "activity_ACME_20261119.csv"
BROADCAST = "broadcast_ACME_20261119.csv"
NOW = "2026-11-20 07:00"
BOTH = "{there: {directory: there}, far: {directory: /dev/null/nowhere}}"


def statuses(result: RunResult) -> dict[str, Status]:
    return {window.export: window.status for window in result.windows}


def starts(result: RunResult) -> list[str]:
    return [window.window.start.strftime("%m-%d %H:%M") for window in result.windows]


def test_a_run_reports_its_steps_with_files_rows_and_bytes(acme: Workspace) -> None:
    steps = Steps()
    window = "2026-11-19T00:00:00Z/2026-11-20T00:00:00Z"
    acme.run(NOW, progress=steps)
    sizes = [len(acme.all_bytes()[name]) for name in (ACTIVITY, BROADCAST)]
    assert steps.names == [
        "opening the warehouse",
        "asking the warehouse which rows arrived",
        f"{window}: building and testing the views",
        f"{window}: writing 2 files, 2 rows",
        f"delivering 2 files, {sum(sizes)} bytes",
        "looking for late rows",
    ]
    rows = sum(map(len, acme.text(ACTIVITY).splitlines(keepends=True)[1:]))
    rows += sum(map(len, acme.text(BROADCAST).splitlines(keepends=True)[1:]))
    assert steps.details() == [
        f"2 files, 2 rows, {rows} bytes written",
        f"2 files, {sum(sizes)} bytes sent",
    ]


def test_the_two_files_of_a_day_arrive_once(acme: Workspace) -> None:
    result = acme.run(NOW)
    assert statuses(result) == {"ACME daily": Status.DELIVERED}
    assert result.exit_code == 0
    assert acme.text(ACTIVITY) == (
        "Broadcast ID,Customer ID,External customer number,E-mail address,Activity,Activity date,"
        "Description of activity\n"
        "ACME-1,C1,,jan@example.com,Opens,2026-11-19 11:00:00,\n"
    )
    assert acme.text(BROADCAST) == (
        "Broadcast ID,Broadcast type,Description,Subject,Sent on\n"
        "ACME-1,SINGLE,Newsletter,News,2026-11-19 10:00:00\n"
    )
    assert acme.files("outbox") == [".lock", ACTIVITY, BROADCAST]
    assert acme.run(NOW).windows == []
    assert acme.run("2026-11-21 05:00").windows == []


def test_a_lost_ledger_is_refused_while_the_outbox_has_files(acme: Workspace) -> None:
    acme.run(NOW)
    state, away = acme.folder / "state", acme.folder / "away"
    state.rename(away)
    for _ in range(2):
        with pytest.raises(ExportError, match="is empty, but the outbox has files"):
            acme.run("2026-11-21 07:00")
    shutil.rmtree(state)
    away.rename(state)  # restored
    assert starts(acme.run("2026-11-21 07:00")) == ["11-20 00:00"]
    shutil.rmtree(state)
    (acme.folder / "outbox").rename(acme.folder / "kept")  # the user accepts the loss
    assert starts(acme.run("2026-11-22 07:00")) == ["11-21 00:00"]


def test_a_rename_that_was_announced_for_another_folder_is_ignored(acme: Workspace) -> None:
    acme.run(NOW, deliver=False)
    loaded = config.read(acme.folder / "exports.yml")
    with closing(Ledger(loaded.state)) as ledger:  # as a run that is killed at the rename leaves it
        (entry,) = ledger.open_entries()
        keys = [DeliveryKey(entry, "there", item.file.path) for item in ledger.deliveries(entry)]
        ledger.announce(keys, places={"there": str(acme.folder / "there")})
    acme.configure("  - {brand: ACME}", destinations="{there: {directory: moved}}")
    assert statuses(acme.run(NOW)) == {"ACME daily": Status.DELIVERED}
    assert acme.files("moved") == [ACTIVITY, BROADCAST]


def test_no_file_replaces_that_of_another_brand(workspace: Workspace) -> None:
    workspace.mailing("X", "2026-11-19")
    workspace.mailing("X_BROADCAST", "2026-11-19")
    patterns = "activity_file: '{brand}_{window_start:%Y%m%d}', "
    patterns += "broadcast_file: '{brand}_broadcast_{window_start:%Y%m%d}'"
    workspace.configure("  - {brand: '*'}", defaults=f"{{{patterns}}}")
    for _ in range(2):  # the second run finds the files of the first
        result = workspace.run(NOW)
        (failed,) = (window for window in result.windows if window.error)
        assert "change 'directory' or the file name patterns" in str(failed.error)
    assert len(workspace.files()) == 2
    assert len({name.casefold() for name in workspace.files("outbox")}) == 3


def test_a_machine_that_was_off_catches_up_oldest_first(acme: Workspace) -> None:
    acme.run(NOW)
    acme.mailing("ACME", "2026-11-22", number=2)
    result = acme.run("2026-11-24 12:00")
    assert starts(result) == ["11-20 00:00", "11-21 00:00", "11-22 00:00", "11-23 00:00"]
    assert len(acme.files()) == 10
    assert acme.text("broadcast_ACME_20261122.csv").count("\n") == 2


def test_a_first_run_that_failed_is_caught_up(acme: Workspace) -> None:
    good = acme.warehouse.read_bytes()
    with duckdb.connect(str(acme.warehouse)) as connection:
        connection.execute("drop table raw.email_opens")
    result = acme.run(NOW)
    assert result.exit_code == 4
    assert str(result.windows[0].error).startswith("raw.email_opens is missing\n")
    acme.warehouse.write_bytes(good)
    assert starts(acme.run("2026-11-22 07:00")) == ["11-19 00:00", "11-20 00:00", "11-21 00:00"]


def test_start_is_the_first_window(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, start: 2026-11-18}")
    assert starts(acme.run(NOW)) == ["11-18 00:00", "11-19 00:00"]


def test_an_earlier_start_is_caught_up(acme: Workspace) -> None:
    acme.run(NOW)
    acme.configure("  - {brand: ACME, start: 2026-11-17}")
    assert starts(acme.run(NOW)) == ["11-17 00:00", "11-18 00:00"]


def test_another_time_zone_continues_where_the_last_window_ended(acme: Workspace) -> None:
    acme.run(NOW)
    acme.configure("  - {brand: ACME, timezone: America/New_York}")
    result = acme.run("2026-11-22 12:00")
    assert [str(window.window) for window in result.windows] == [
        "2026-11-20T00:00:00Z/2026-11-20T05:00:00Z",
        "2026-11-20T05:00:00Z/2026-11-21T05:00:00Z",
        "2026-11-21T05:00:00Z/2026-11-22T05:00:00Z",
    ]
    assert acme.files()[:4] == [
        ACTIVITY,
        "activity_ACME_20261119_1900.csv",
        "activity_ACME_20261120.csv",
        "activity_ACME_20261121.csv",
    ]


def test_a_requested_date_delivers_only_that_day(acme: Workspace) -> None:
    assert starts(acme.run(NOW, days=days("2026-11-10"))) == ["11-10 00:00"]
    # A window that was requested by date does not change where the schedule continues.
    assert starts(acme.run(NOW)) == ["11-19 00:00"]
    assert acme.run(NOW, days=days("2026-11-10")).windows == []
    with pytest.raises(UsageError, match="2026-11-20 is not over for ACME in UTC"):
        acme.run(NOW, days=days("2026-11-20"))


def test_force_builds_the_next_revision(acme: Workspace) -> None:
    acme.run(NOW)
    acme.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E2")
    assert acme.run(NOW).windows == []
    result = acme.run(NOW, force=True)
    assert [window.revision for window in result.windows] == [2]
    assert acme.text(ACTIVITY).count("\n") == 3
    again = acme.run(NOW, force=True, days=days("2026-11-19"))
    assert [window.revision for window in again.windows] == [3]


def test_a_requested_date_that_failed_is_delivered_once_it_is_due(acme: Workspace) -> None:
    acme.run("2026-11-19 07:00")
    good = acme.warehouse.read_bytes()
    with duckdb.connect(str(acme.warehouse)) as connection:
        connection.execute("drop table raw.email_opens")
    assert acme.run("2026-11-20 02:00", days=days("2026-11-19")).exit_code == 4
    assert acme.run(NOW).exit_code == 4
    acme.warehouse.write_bytes(good)
    assert starts(acme.run("2026-11-21 07:00")) == ["11-19 00:00", "11-20 00:00"]


def test_other_bytes_of_a_partly_delivered_window_are_the_next_revision(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, destination: [far, there]}", destinations=BOTH)
    assert acme.run(NOW).exit_code == 3
    acme.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E2")
    destinations = "{there: {directory: there}, far: {directory: far}}"
    acme.configure("  - {brand: ACME, destination: [far, there]}", destinations=destinations)
    result = acme.run(NOW, force=True)
    assert [(window.revision, window.status) for window in result.windows] == [
        (2, Status.DELIVERED)
    ]
    assert acme.all_bytes("far") == acme.all_bytes()
    assert acme.text(ACTIVITY).count("\n") == 3
    assert acme.run(NOW).windows == []


def test_waiting_files_go_to_the_destinations_that_are_configured_now(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, destination: [far, there]}", destinations=BOTH)
    assert acme.run(NOW).exit_code == 3
    sent = acme.all_bytes()
    for name in sent:
        (acme.folder / "there" / name).unlink()
    acme.configure(
        "  - {brand: ACME, destination: [new, there]}",
        destinations="{there: {directory: there}, new: {directory: new}}",
    )
    assert acme.run(NOW).exit_code == 0
    assert acme.all_bytes("new") == sent
    assert acme.files() == []


def test_files_written_without_delivery_are_delivered_later_unchanged(acme: Workspace) -> None:
    result = acme.run(NOW, deliver=False)
    assert statuses(result) == {"ACME daily": Status.WRITTEN}
    written = acme.all_bytes("outbox")
    assert acme.files() == []
    acme.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E2")
    assert statuses(acme.run(NOW)) == {"ACME daily": Status.DELIVERED}
    assert acme.all_bytes() == {name: written[name] for name in (ACTIVITY, BROADCAST)}


def test_a_file_that_was_changed_in_the_outbox_is_rebuilt(acme: Workspace) -> None:
    acme.run(NOW, deliver=False)
    (acme.folder / "outbox" / ACTIVITY).write_text("tampered")
    acme.run(NOW)
    assert acme.text(ACTIVITY).startswith("Broadcast ID")


def test_a_destination_that_is_down_does_not_delay_the_other(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, destination: [far, there]}", destinations=BOTH)
    result = acme.run(NOW)
    assert result.exit_code == 3
    assert "destination 'far'" in str(result.windows[0].error)
    assert [file.destinations for file in result.windows[0].files] == [["there"], ["there"]]
    sent = acme.all_bytes()
    assert sent.keys() == {ACTIVITY, BROADCAST}
    for name in sent:
        (acme.folder / "there" / name).unlink()  # the receiver moved them away
    acme.configure(
        "  - {brand: ACME, destination: [far, there]}",
        destinations="{there: {directory: there}, far: {directory: far}}",
    )
    assert acme.run(NOW).exit_code == 0
    assert acme.all_bytes("far") == sent
    assert acme.files() == []  # nothing was delivered twice


def test_a_failing_brand_does_not_stop_the_others(acme: Workspace) -> None:
    acme.mailing("日本", "2026-11-19")
    acme.add(
        "broadcasts",
        {
            "brand": "OTHER",
            "broadcast_id": "1",
            "subject": "日本",
            "sent_on": "2026-11-19 10:00:00",
            "received_at": "2026-11-19 10:00:00",
        },
    )
    acme.configure("  - {brand: ACME}\n  - {brand: OTHER}", defaults="{encoding: latin-1}")
    result = acme.run(NOW)
    assert statuses(result) == {"ACME daily": Status.DELIVERED, "OTHER daily": Status.FAILED}
    assert result.exit_code == 3
    assert "row 1 contains U+65E5, which latin-1 does not have" in str(result.windows[0].error)
    assert acme.files() == [ACTIVITY, BROADCAST]


def test_a_failing_data_test_ships_nothing(acme: Workspace) -> None:
    acme.run("2026-11-19 07:00")
    before = acme.all_bytes()
    # A warehouse that another loader fills can contain a broadcast twice.
    twin = {"brand": "ACME", "broadcast_id": "ACME-1", "sent_on": "2026-11-19 10:00:00"}
    acme.add("broadcasts", {**twin, "received_at": "2026-11-19 09:00:00"})
    result = acme.run(NOW)
    assert result.exit_code == 4
    assert statuses(result) == {"ACME daily": Status.STOPPED}
    error = str(result.windows[0].error)
    assert "activities_daily_unique" in error
    assert "found 1 rows; see them with: dbt run" in error
    assert acme.all_bytes() == before
    with duckdb.connect(str(acme.warehouse)) as connection:
        connection.execute(
            "create table raw.one as"
            " select distinct * replace (null as loaded_at) from raw.broadcasts"
        )
        connection.execute("delete from raw.broadcasts")
        connection.execute("insert into raw.broadcasts from raw.one")
    assert statuses(acme.run(NOW)) == {"ACME daily": Status.DELIVERED}


def test_an_activity_of_an_unknown_broadcast_ships_with_a_warning(acme: Workspace) -> None:
    acme.opened("ACME", "2026-11-19 12:00:00", "LATER", event_id="E9")
    result = acme.run(NOW)
    assert result.exit_code == 0
    assert "the data test activities_of_unknown_broadcasts warns of 1" in result.warnings[0]
    assert "\nLATER,C1," in acme.text(ACTIVITY)


def test_an_unknown_brand_gives_a_warning(acme: Workspace) -> None:
    acme.configure("  - {brand: ACMEE}")
    result = acme.run(NOW)
    assert result.warnings == [
        "the warehouse knows no brand 'ACMEE'; did you mean ACME?; correct it, or load its rows"
    ]
    assert acme.text("activity_ACMEE_20261119.csv").count("\n") == 1


def test_every_brand_without_a_separate_entry_is_exported(acme: Workspace) -> None:
    for brand in ("BETA", "GAMMA"):
        acme.mailing(brand, "2026-11-19")
    acme.mailing("TOMORROW", "2026-11-20")
    acme.configure("  - {brand: ACME, labels: nl}\n  - {brand: '*', delimiter: ';'}")
    result = acme.run(NOW, brands=["BETA"])
    assert statuses(result) == {"BETA daily": Status.DELIVERED}
    result = acme.run(NOW)
    assert statuses(result) == {"ACME daily": Status.DELIVERED, "GAMMA daily": Status.DELIVERED}
    assert acme.run(NOW).windows == []
    assert acme.text("activity_GAMMA_20261119.csv").startswith("Broadcast ID;Customer ID;")
    assert acme.text(ACTIVITY).startswith("Broadcastid,Customerid,Extern klantnummer,E-mailadres")
    assert statuses(acme.run("2026-11-21 07:00")).keys() == {
        "ACME daily",
        "BETA daily",
        "GAMMA daily",
        "TOMORROW daily",
    }


def test_a_window_before_the_first_row_of_a_brand_gives_no_warning(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, start: 2026-11-17}\n  - {brand: '*', start: 2026-11-17}")
    result = acme.run(NOW)
    assert starts(result) == ["11-17 00:00", "11-18 00:00", "11-19 00:00"]
    assert result.warnings == []
    assert acme.run(NOW).windows == []


@pytest.mark.parametrize("wanted", [{}, {"days": days("2026-11-19")}, {"brands": ["ACME"]}])
def test_every_brand_of_an_empty_warehouse_waits_for_rows(
    workspace: Workspace, wanted: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    workspace.configure("  - {brand: '*', start: 2026-11-18}")
    result = workspace.run(NOW, **wanted)
    assert {**statuses(result)} == {"* daily": Status.DUE}
    assert [warning for warning in result.warnings if "'*'" in warning] == [NO_BRANDS]
    assert caplog.text.count(NO_BRANDS) == 1
    assert result.exit_code == 0
    assert workspace.files() == []
    workspace.mailing("ACME", "2026-11-19")
    result = workspace.run(NOW)
    assert statuses(result) == {"ACME daily": Status.DELIVERED}
    assert starts(result) == ["11-19 00:00"]  # on the day before, the brand was unknown
    assert result.warnings == []
    assert workspace.text(ACTIVITY).count("\n") == 2
    assert workspace.run(NOW).windows == []


def test_a_destination_that_was_down_gets_the_same_bytes_of_every_brand_once(
    acme: Workspace,
) -> None:
    exports = "  - {brand: '*', destination: [far, there]}"
    acme.configure(exports, destinations=BOTH)
    assert acme.run(NOW).exit_code == 3
    sent = acme.all_bytes()
    for name in sent:
        (acme.folder / "there" / name).unlink()
    acme.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E2")
    acme.configure(exports, destinations="{there: {directory: there}, far: {directory: far}}")
    assert acme.run(NOW).exit_code == 0
    assert acme.all_bytes("far") == sent
    assert acme.files() == []
    assert acme.run(NOW).windows == []


def test_a_brand_that_failed_is_delivered_by_a_separate_entry(acme: Workspace) -> None:
    acme.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E2", customer_id="日")
    acme.configure("  - {brand: '*', encoding: latin-1}")
    assert acme.run(NOW).exit_code == 1
    assert acme.run("2026-11-21 07:00").exit_code == 3  # the next day has no problem
    acme.configure("  - {brand: ACME}\n  - {brand: '*', encoding: latin-1}")
    assert starts(acme.run("2026-11-21 07:00")) == ["11-19 00:00"]
    assert "日" in acme.text(ACTIVITY)
    acme.configure("  - {brand: '*'}")
    assert acme.run("2026-11-21 07:00").windows == []


def test_every_brand_delivers_the_windows_of_a_removed_entry(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME}\n  - {brand: '*'}")
    acme.run(NOW, deliver=False)
    acme.configure("  - {brand: '*'}")
    assert statuses(acme.run(NOW)) == {"ACME daily": Status.DELIVERED}
    assert acme.run(NOW).windows == []


def test_a_refused_export_does_not_stop_another_at_the_same_destination(acme: Workspace) -> None:
    acme.mailing("BETA", "2026-11-20")
    (acme.folder / "there/blocked").write_text("a file where a folder should be")
    acme.configure("  - {brand: ACME, directory: blocked}\n  - {brand: BETA}")
    acme.run(NOW)
    result = acme.run("2026-11-21 07:00")
    assert statuses(result)["BETA daily"] is Status.DELIVERED
    assert result.exit_code == 3


def test_exports_of_one_brand_with_equal_windows_are_both_delivered(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, at: '00:00', timezone: Europe/Amsterdam}")
    acme.run("2026-11-19 23:30")
    # The rest of the day in UTC is one hour, and a window of the hourly export too.
    acme.configure(
        "  - {brand: ACME, at: '00:00'}\n  - {brand: ACME, interval: hourly, directory: hours}"
    )
    result = acme.run("2026-11-20 00:16")
    assert statuses(result) == {
        "ACME daily": Status.DELIVERED,
        "ACME hourly": Status.DELIVERED,
    }
    assert starts(result) == ["11-19 23:00", "11-19 23:00"]


def test_a_brand_that_cannot_be_a_file_name_does_not_stop_the_others(acme: Workspace) -> None:
    acme.mailing("../../etc/x", "2026-11-19")
    acme.configure("  - {brand: '*'}")
    result = acme.run(NOW)
    assert statuses(result) == {
        "../../etc/x daily": Status.FAILED,
        "ACME daily": Status.DELIVERED,
    }
    assert result.exit_code == 3
    assert acme.files() == [ACTIVITY, BROADCAST]


def test_an_unknown_column_is_reported_with_line_and_key(acme: Workspace) -> None:
    acme.configure("  - brand: ACME\n    activity_fields: [broadcast_id, emial_address]")
    with pytest.raises(ConfigError) as caught:
        acme.run(NOW)
    message = str(caught.value)
    assert "exports.yml:5: exports[0].activity_fields: no column in activities_daily" in message
    assert "'emial_address'; did you mean email_address?; valid: brand, event_id" in message
    acme.configure("  - {brand: ACME, activity_types: [opens]}")
    with pytest.raises(ConfigError, match=r"activity_types: no activity 'opens'; .*mean open\?"):
        acme.run(NOW)
    acme.configure("  - {brand: ACME, activity_fields: [os, {column: url, as: os}], labels: names}")
    with pytest.raises(ConfigError, match="two fields have the heading 'os'"):
        acme.run(NOW)


def test_each_export_chooses_its_fields_and_rows(acme: Workspace) -> None:
    acme.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E2", is_machine=True, os="iOS")
    acme.add(
        "email_clicks",
        {
            "brand": "ACME",
            "event_id": "E3",
            "broadcast_id": "ACME-1",
            "customer_id": "C2",
            "received_at": "2026-11-19 13:00:00",
            "url": "https://example.com/",
        },
    )
    acme.configure(
        """\
  - brand: ACME
    labels: names
    activity_fields: [activity, {column: email_address, as: mail, hash: sha256}]
    additional_fields: {activities: [os, is_machine], broadcasts: [is_touched]}
    machine_activity: exclude
  - {brand: ACME, directory: opens, activity_types: [open], labels: nl, activity_fields: [activity]}
"""
    )
    acme.run(NOW)
    lines = acme.text(ACTIVITY).splitlines()
    assert lines[0] == "activity,mail,os,is_machine"
    mail = hashlib.sha256(b"jan@example.com").hexdigest()
    assert lines[1:] == [f"open,{mail},,", "click,,,"]
    assert acme.text(BROADCAST).splitlines()[0].endswith(",sent_on,is_touched")
    assert acme.text(f"opens/{ACTIVITY}").splitlines() == ["Activiteit", "Opens", "Opens"]


def test_a_window_without_rows_is_skipped_if_configured(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, empty: skip, start: 2026-11-18}")
    result = acme.run(NOW)
    assert [window.status for window in result.windows] == [Status.SKIPPED, Status.DELIVERED]
    assert acme.files() == [ACTIVITY, BROADCAST]
    assert acme.run(NOW).windows == []


def test_windows_shorter_than_a_day_are_reported_with_their_time(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME}\n  - {brand: ACME, interval: hourly, start: 2026-11-20}")
    lines = [report.window_line(window) for window in acme.run("2026-11-20 02:20").windows]
    assert [line.partition(": ")[0] for line in lines] == [
        "delivered ACME daily 2026-11-18",
        "delivered ACME hourly 2026-11-20 00:00+0000",
        "delivered ACME hourly 2026-11-20 01:00+0000",
    ]


@pytest.mark.faults  # 25 windows; tests/e2e has them too, with other file names
def test_a_day_with_a_repeated_hour_has_25_hourly_files(workspace: Workspace) -> None:
    workspace.mailing("ACME", "2026-10-01")
    for hour in (0, 1):  # 02:30 local, twice
        moment = f"2026-10-25 0{hour}:30:00"
        workspace.opened("ACME", moment, "ACME-1", event_id=f"H{hour}")
    workspace.configure("  - {brand: ACME, interval: hourly, timezone: Europe/Amsterdam}")
    result = workspace.run("2026-10-26 00:00", days=days("2026-10-25"))
    assert len(result.windows) == 25
    names = [name for name in workspace.files() if name.startswith("activity")]
    assert len(names) == 25
    rows = {name: workspace.text(name).count("\n") - 1 for name in names}
    assert {name: count for name, count in rows.items() if count} == {
        "activity_ACME_20261025_0200.csv": 1,
        "activity_ACME_20261025_0200+0100.csv": 1,
    }


def test_daily_delivers_no_other_interval(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME}\n  - {brand: ACME, interval: monthly, directory: months}")
    assert statuses(acme.run(NOW, daily_only=True)).keys() == {"ACME daily"}
    assert statuses(acme.run(NOW)).keys() == {"ACME monthly"}


def test_a_run_while_another_holds_the_lock_exits_with_75(acme: Workspace) -> None:
    outbox = acme.folder / "outbox"
    outbox.mkdir()
    with (outbox / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("process 4711")
        file.flush()
        with pytest.raises(LockedError, match="process 4711") as caught:
            acme.run(NOW)
    assert caught.value.exit_code == 75
    assert acme.run(NOW).exit_code == 0


def test_a_missing_warehouse_is_reported(acme: Workspace) -> None:
    acme.warehouse.unlink()
    with pytest.raises(UsageError, match=r"no warehouse at .*; set DUCKDB_PATH"):
        acme.run(NOW)


def test_delivered_files_are_removed_from_the_outbox_after_keep_local(acme: Workspace) -> None:
    acme.run(NOW)
    with sqlite3.connect(acme.folder / "state/ledger.db") as ledger:
        ledger.execute("update deliveries set delivered_at = '2026-11-06 07:00:00.000000'")
    stranger = acme.folder / "outbox" / "notes.txt"
    stranger.write_text("mine")
    os.utime(stranger, (0, 0))
    acme.run("2026-11-21 07:00")
    assert acme.files("outbox") == [
        ".lock",
        "activity_ACME_20261120.csv",
        "broadcast_ACME_20261120.csv",
        "notes.txt",
    ]


def test_a_column_is_added_with_only_sql_and_yaml(acme: Workspace, tmp_path: Path) -> None:
    project = tmp_path / "dbt_project"
    shutil.copytree(ROOT / "dbt_project", project)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    sql = project / "models/exports/activities_daily.sql"
    text = sql.read_text().replace(
        "        email_activities.is_machine\n",
        "        email_activities.is_machine,\n"
        "        upper(email_activities.brand) as shouted_brand\n",
    )
    sql.write_text(text)
    yml = project / "models/exports/activities_daily.yml"
    column = """\
    columns:
      - name: shouted_brand
        description: The brand, shouted.
        data_type: "{{ 'string' if target.type == 'spark' else 'text' }}"
        config: {meta: {labels: {en: Shouted brand, nl: Geschreeuwd merk}}}
"""
    yml.write_text(yml.read_text().replace("    columns:\n", column, 1))
    acme.configure(
        "  - {brand: ACME, labels: nl, additional_fields: {activities: [shouted_brand]}}"
    )
    assert acme.run(NOW).exit_code == 0
    first, second = acme.text(ACTIVITY).splitlines()
    assert first.endswith(",Geschreeuwd merk")
    assert second.endswith(",ACME")


def test_files_go_to_a_real_sftp_server(acme: Workspace, sftp_server: Sshd) -> None:
    key, hosts = sftp_server.client_key, sftp_server.known_hosts
    destination = (
        f"{{sftp: {{host: 127.0.0.1, port: {sftp_server.port}, username: {sftp_server.username}, "
        f"private_key: {key}, known_hosts: {hosts}}}}}"
    )
    acme.configure(
        "  - {brand: ACME, directory: '{brand}/{window_start:%Y}'}",
        destinations=f"{{managed: {destination}, there: {{directory: there}}}}",
        defaults="{destination: [managed, there]}",
    )
    assert acme.run(NOW).exit_code == 0
    root = sftp_server.root / "ACME/2026"
    assert sorted(path.name for path in root.iterdir()) == [ACTIVITY, BROADCAST]
    assert (root / ACTIVITY).read_text() == acme.text(f"ACME/2026/{ACTIVITY}")
    pinned = hosts.rename(acme.folder / "pinned")  # without a trusted host key there are no retries
    later = acme.run("2026-11-21 07:00")
    assert later.exit_code == 3
    assert "destination 'managed'" in str(later.windows[0].error)
    pinned.rename(hosts)
    assert acme.run("2026-11-21 07:00").exit_code == 0
    assert len(list(root.iterdir())) == 4
