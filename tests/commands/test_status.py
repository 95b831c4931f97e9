"""`orchestrate status` after real runs, and on ledgers that the tests write."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from forked_commands import orchestrate
from postgres_server import Postgres
from sshd import Sshd
from workspace import Workspace, days, utc

from orchestrator import config
from orchestrator.cli import status_text
from orchestrator.commands.status import (
    ExportStatus,
    ProblemKind,
    StatusResult,
    read_status,
)
from orchestrator.config.exports import File
from orchestrator.config.ledger_url import parse
from orchestrator.errors import ConfigError, UsageError
from orchestrator.jobs import Request
from orchestrator.ledger import WRITTEN, Delivery, Entry, Failure, Ledger, session
from orchestrator.windows import Window

HOUR = timedelta(hours=1)
FIRST, SECOND = "2026-11-20 07:00", "2026-11-21 07:00"


def status_at(workspace: Workspace, now: str, *brands: str) -> StatusResult:
    loaded = config.read(workspace.folder / "exports.yml")
    with closing(Ledger(loaded.state, read_only=True)) as ledger:
        return read_status(loaded, Request(brands=brands), ledger, now=utc(now))


def export_at(workspace: Workspace, now: str, *brands: str) -> ExportStatus:
    (found,) = status_at(workspace, now, *brands).exports
    return found


def problem_kinds(export: ExportStatus) -> list[str]:
    return [problem.kind.value for problem in export.problems]


def sentences(found: StatusResult) -> list[str]:
    return [status_text.sentence(*pair) for pair in status_text.problems(found)]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, workspace: Workspace) -> str:
    """The URL of an empty ledger, in SQLite and in PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{workspace.folder}/state/ledger.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(Ledger(parse(url, Path()))) as opened:
        yield opened


def configure(workspace: Workspace, url: str, line: str, *, destinations: str = "") -> None:
    workspace.configure(line, destinations=destinations)
    with (workspace.folder / "exports.yml").open("a") as file:
        file.write(f"state: {url}\n")


def delivered(
    ledger: Ledger, window: Window, *moments: datetime | None, revision: int = 1
) -> Entry:
    """Write a window of ACME to the ledger, with one file per destination, delivered then."""
    entry = Entry("ACME daily", window, revision, WRITTEN, activity_rows=5, broadcast_rows=1)
    files = [
        Delivery(File("activity", f"a{window.start:%d}.csv", 10, "a" * 64), f"d{number}", at)
        for number, at in enumerate(moments)
    ]
    entry = replace(entry, choice="all include", activities={"open": 3, "click": 2})
    ledger.write([(entry, files)])
    if all(moments):
        ledger.finish([entry])
    return entry


def test_a_missing_ledger_reads_as_empty_and_is_not_created(acme: Workspace) -> None:
    found = status_at(acme, FIRST)
    (export,) = found.exports
    assert (export.last, export.overdue_windows, problem_kinds(export)) == (None, 1, ["overdue"])
    assert export.lag_seconds == HOUR.total_seconds()
    assert export.next_due == utc("2026-11-21 06:00")
    assert sentences(found) == [
        "window 2026-11-19 is due since 2026-11-20 06:00 UTC, and not written"
    ]
    assert status_text.summary(found) == "1 export, 1 with problems, nothing delivered yet"
    assert not (acme.folder / "state").exists()


def test_the_last_window_of_a_run_is_reported(acme: Workspace) -> None:
    acme.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E2")
    acme.add(
        "email_clicks",
        {
            "brand": "ACME",
            "event_id": "E3",
            "broadcast_id": "ACME-1",
            "customer_id": "C1",
            "received_at": "2026-11-19 12:00:00",
        },
    )
    acme.run(FIRST)
    export = export_at(acme, FIRST)
    assert export.last
    assert export.last.rows == {"activity": 3, "broadcast": 1}
    assert export.last.activities == {"open": 2, "click": 1}
    assert [file.path for file in export.last.files] == [
        "broadcast_ACME_20261119.csv",
        "activity_ACME_20261119.csv",
    ]
    there = export.last.delivered["there"]
    assert there
    assert abs(there - datetime.now(UTC)) < HOUR
    assert (export.problems, export.overdue_windows) == ([], 0)
    acme.configure("  - {brand: ACME, activity_types: [click]}")
    acme.run(FIRST, daily_only=True, days=days("2026-11-19"), force=True)
    export = export_at(acme, FIRST)
    assert export.last
    assert (export.last.revision, export.last.activities) == (2, {"click": 1})


def test_a_window_that_tests_stop_is_one_problem_with_its_number_of_runs(acme: Workspace) -> None:
    twin = {"brand": "ACME", "broadcast_id": "ACME-1", "sent_on": "2026-11-19 10:00:00"}
    acme.add("broadcasts", {**twin, "received_at": "2026-11-19 09:00:00"})
    for _ in range(3):
        assert acme.run(FIRST).exit_code == 4
    found = status_at(acme, FIRST)
    (export,) = found.exports
    (problem,) = export.problems
    assert (problem.kind, problem.times, problem.windows) == (ProblemKind.STOPPED, 3, 1)
    assert (export.failed_windows, export.overdue_windows) == (1, 1)
    assert "unique" in problem.text
    assert sentences(found)[0].startswith("window 2026-11-19 was stopped in 3 runs since ")
    acme.query("delete from raw.broadcasts")
    acme.run(FIRST)
    export = export_at(acme, FIRST)
    assert (export.problems, export.failed_windows) == ([], 0)
    with closing(Ledger(config.read(acme.folder / "exports.yml").state, read_only=True)) as ledger:
        kept = ledger.failures.since(utc("2026-01-01 00:00"))
    assert [(failure.status, failure.times) for failure in kept] == [("stopped", 3)]


def test_only_the_unreachable_destination_is_reported(acme: Workspace, sftp_server: Sshd) -> None:
    destinations = json.dumps(
        {"there": {"directory": "there"}, "managed": {"sftp": sftp_server.line()}}
    )
    acme.configure("  - {brand: ACME, destination: [there, managed]}", destinations=destinations)
    pinned = sftp_server.known_hosts.rename(acme.folder / "pinned")  # not trusted: no retries
    acme.run(FIRST)
    acme.run(SECOND)
    export = export_at(acme, SECOND)
    assert export.undelivered_windows == {"there": 0, "managed": 2}
    assert export.last
    assert export.last.delivered["there"]
    assert export.last.delivered["managed"] is None
    assert problem_kinds(export) == ["failed"]
    assert export.problems[0].windows == 2
    assert "destination 'managed'" in export.problems[0].text
    assert status_text.cells(export)["Delivered"].endswith("managed: not yet")
    pinned.rename(sftp_server.known_hosts)
    acme.run(SECOND)
    export = export_at(acme, SECOND)
    assert export.undelivered_windows == {"there": 0, "managed": 0}
    assert not export.problems


def test_a_window_that_was_written_but_not_sent_is_undelivered(acme: Workspace) -> None:
    acme.run(FIRST, deliver=False)
    found = status_at(acme, FIRST)
    assert found.exports[0].undelivered_windows == {"there": 1}
    assert sentences(found) == [
        "window 2026-11-19 is due since 2026-11-20 06:00 UTC, written, and not at there"
    ]


def test_many_undelivered_windows_need_no_more_queries_than_one(
    workspace: Workspace, ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(
        workspace,
        url,
        "  - {brand: ACME, destination: [d0, d1]}",
        destinations="{d0: {directory: d0}, d1: {directory: d1}}",
    )
    queries: list[str] = []
    read = session._read  # noqa: SLF001 - every statement passes through it

    def note(statement: str) -> str:
        queries.append(statement)
        return read(statement)

    monkeypatch.setattr(session, "_read", note)
    numbers = []
    for day in (1, *range(2, 20)):
        start = utc(f"2026-11-{day:02} 00:00")
        delivered(ledger, Window(start, start + 24 * HOUR), start + 30 * HOUR, None)
        if day in (1, 19):
            queries.clear()
            export = export_at(workspace, "2026-11-20 07:00")
            assert export.undelivered_windows == {"d0": 0, "d1": day}
            numbers.append(len(queries))
    assert 0 < numbers[0] == numbers[1]


def test_late_rows_are_reported_with_the_command_that_sends_them(acme: Workspace) -> None:
    acme.run(FIRST)
    acme.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E2")
    acme.run(SECOND)
    found = status_at(acme, SECOND)
    (export,) = found.exports
    assert export.late_rows == {"activity": 1, "broadcast": 0}
    assert export.overdue_windows == 0
    assert export.problems[0].text == "orchestrate daily --date 2026-11-19 --brand ACME --force"
    assert sentences(found) == [
        f"late rows in window 2026-11-19: 1 activity; send again with: {export.problems[0].text}"
    ]
    acme.run(SECOND, daily_only=True, days=days("2026-11-19"), force=True)
    assert not export_at(acme, SECOND).problems


def test_every_brand_has_a_row_and_none_hides_another(workspace: Workspace) -> None:
    for brand in ("ALFA", "BETA", "x/../y"):
        workspace.mailing(brand, "2026-11-19")
    workspace.configure('  - {brand: OWN}\n  - {brand: "*"}')
    assert [export.brand for export in status_at(workspace, FIRST).exports] == ["*", "OWN"]
    workspace.run(FIRST)
    found = {export.brand: export for export in status_at(workspace, FIRST).exports}
    assert list(found) == ["x/../y", "*", "ALFA", "BETA", "OWN"]
    assert problem_kinds(found["x/../y"]) == ["failed"]
    assert "is part of file names" in found["x/../y"].problems[0].text
    assert [found[brand].overdue_windows for brand in found] == [1, 1, 0, 0, 0]
    assert [brand for brand in found if found[brand].problems] == ["x/../y"]
    # Due windows of the entry for every brand are reported once and count for each brand.
    later = {export.brand: export for export in status_at(workspace, "2026-11-23 07:00").exports}
    assert {brand: export.overdue_windows for brand, export in later.items()} == {
        "x/../y": 4,
        "*": 4,
        "ALFA": 3,
        "BETA": 3,
        "OWN": 3,
    }
    text = {brand: [p.windows for p in later[brand].problems] for brand in later}
    assert text == {"x/../y": [1], "*": [3], "ALFA": [], "BETA": [], "OWN": [3]}
    assert later["ALFA"].lag_seconds == 49 * HOUR.total_seconds()
    for table in ("broadcasts", "email_opens"):
        workspace.query(f"delete from raw.{table} where brand = 'x/../y'")
    workspace.run(FIRST)
    found = {export.brand: export for export in status_at(workspace, FIRST).exports}
    assert list(found) == ["*", "ALFA", "BETA", "OWN"]
    assert not any(export.problems or export.overdue_windows for export in found.values())


def test_only_the_requested_brands_are_reported(workspace: Workspace) -> None:
    workspace.mailing("ALFA", "2026-11-19")
    workspace.configure('  - {brand: OWN}\n  - {brand: "*"}')
    workspace.run(FIRST)
    assert [export.brand for export in status_at(workspace, FIRST, "OWN").exports] == ["OWN"]
    assert "ALFA" in [export.brand for export in status_at(workspace, FIRST, "ALFA").exports]
    assert "OWN" not in [export.brand for export in status_at(workspace, FIRST, "ALFA").exports]
    with pytest.raises(UsageError, match=r"'ALFFA', and none that the ledger knows; .* ALFA\?"):
        status_at(workspace, FIRST, "ALFA", "ALFFA")
    workspace.configure("  - {brand: OWN}")
    with pytest.raises(UsageError, match="no export of brand 'ALFA'"):
        status_at(workspace, FIRST, "ALFA")


@pytest.mark.parametrize(
    ("line", "now", "due"),
    [
        # The clocks are set back on 25 October at 03:00: the day has 25 hours.
        ("timezone: Europe/Amsterdam", "2026-10-24 05:00", "2026-10-25 05:00"),
        ("timezone: Europe/Amsterdam", "2026-10-25 05:00", "2026-10-26 05:00"),
        ("timezone: Europe/Amsterdam", "2026-03-28 06:00", "2026-03-29 04:00"),
        ("timezone: Europe/Amsterdam, at: '02:30'", "2026-03-28 12:00", "2026-03-29 01:30"),
        ("timezone: Europe/Amsterdam, interval: hourly", "2026-10-25 00:20", "2026-10-25 01:15"),
        ("interval: weekly", "2026-11-20 12:00", "2026-11-23 06:00"),
        ("interval: monthly, settle: 9h", "2026-11-20 12:00", "2026-12-01 09:00"),
        ("start: 2027-01-01", "2026-11-20 12:00", "2027-01-02 06:00"),
    ],
)
def test_the_next_due_time_follows_the_calendar(
    workspace: Workspace, line: str, now: str, due: str
) -> None:
    workspace.configure(f"  - {{brand: ACME, {line}}}")
    assert export_at(workspace, now).next_due == utc(due)


@pytest.mark.parametrize(
    ("moments", "lag"),
    [
        ([["2026-11-21 06:10", "2026-11-21 06:25"]], 25 * 60),  # the last destination counts
        ([["2026-11-21 06:10"], ["2026-11-21 15:00"]], 10 * 60),  # the first revision counts
        ([["2026-11-21 04:00"]], 0),  # requested and delivered before it was due
        ([["2026-11-21 06:10", None]], 3600),  # overdue: until now
        ([["2026-11-21 06:10"], [None]], 3600),  # overdue too: a later revision is not delivered
    ],
)
def test_lag_is_the_time_from_due_to_delivered(
    workspace: Workspace,
    url: str,
    ledger: Ledger,
    moments: Sequence[Sequence[str | None]],
    lag: float,
) -> None:
    configure(
        workspace,
        url,
        "  - {brand: ACME, destination: [d0, d1]}",
        destinations="{d0: {directory: d0}, d1: {directory: d1}}",
    )
    window = Window(utc("2026-11-20 00:00"), utc("2026-11-21 00:00"))
    for number, found in enumerate(moments):
        there = [utc(at) if at else None for at in found]
        delivered(ledger, window, *there, revision=number + 1)
    export = export_at(workspace, "2026-11-21 07:00")  # while the ledger is locked
    assert export.lag_seconds == lag
    assert export.last
    assert export.last.activities == {"open": 3, "click": 2}


def test_lag_of_a_day_with_25_hours(workspace: Workspace, ledger: Ledger, url: str) -> None:
    configure(workspace, url, "  - {brand: ACME, timezone: Europe/Amsterdam}")
    window = Window(utc("2026-10-24 22:00"), utc("2026-10-25 23:00"))
    delivered(ledger, window, utc("2026-10-26 05:30"))
    assert export_at(workspace, "2026-10-26 12:00").lag_seconds == 1800
    assert export_at(workspace, "2026-10-27 06:00").lag_seconds == 3600


def test_exports_are_sorted_by_the_severity_of_their_problems(
    workspace: Workspace, ledger: Ledger, url: str
) -> None:
    configure(workspace, url, "\n".join(f"  - {{brand: {b}}}" for b in ("A", "B", "C", "D", "E")))
    window = Window(utc("2026-11-20 00:00"), utc("2026-11-21 00:00"))
    for brand in ("A", "D"):
        entry = replace(delivered(ledger, window, utc("2026-11-21 06:01")), export=f"{brand} daily")
        ledger.finish([entry])
    late = Window(utc("2020-11-20 00:00"), utc("2020-11-21 00:00"))
    ledger.plan([Entry(f"{brand} daily", window, 1) for brand in "BCE"])
    ledger.plan([Entry("B daily", late, 1)])
    failures = ledger.failures
    failures.note([Failure("E daily", window, 1, "stopped", "a test")])
    failures.note([Failure("C daily", window, 1, "failed", "a server")])
    found = status_at(workspace, "2026-11-21 07:00")
    assert [export.brand for export in found.exports] == ["E", "C", "B", "A", "D"]
    assert status_text.summary(found) == "5 exports, 3 with problems"


def test_reasons_of_failures_are_cut_and_limited_in_number(ledger: Ledger) -> None:
    failures = ledger.failures
    window = Window(utc("2026-11-20 00:00"), utc("2026-11-21 00:00"))
    begin = utc("2026-11-21 06:00")

    def fail(reason: str, minutes: int) -> None:
        at = begin + timedelta(minutes=minutes)
        failures.note([Failure("ACME daily", window, 1, "failed", reason, at, at)])

    fail("first\x1b[31m\n line " + "ö" * 1000, 0)
    for number in range(100):
        fail(f"process {number} was in the way", number)
    fail("process 99 was in the way", 200)
    fail("process 99 was in the way", 300)
    kept = failures.since(begin)
    assert len(kept) == 20
    assert (kept[0].reason, kept[0].times) == ("process 99 was in the way", 3)
    assert (kept[0].first_at, kept[0].last_at) == (begin + 99 * HOUR / 60, begin + 5 * HOUR)
    assert failures.since(begin + timedelta(minutes=250)) == kept[:1]
    fail("first\x1b[31m\n line " + "ö" * 1000, 400)
    text = failures.since(begin)[0].reason
    assert len(text) == 500
    assert text.startswith("first\\x1b[31m line öö")
    assert text.endswith("ö…")


def test_an_old_failure_is_not_a_problem_of_a_reopened_window(
    workspace: Workspace, ledger: Ledger, url: str
) -> None:
    configure(workspace, url, "  - {brand: ACME}", destinations="{d0: {directory: d0}}")
    window = Window(utc("2026-11-20 00:00"), utc("2026-11-21 00:00"))
    past = utc("2020-01-01 00:00")
    ledger.failures.note([Failure("ACME daily", window, 1, "failed", "x", past, past)])
    entry = delivered(ledger, window, utc("2026-11-21 06:01"))
    ledger.reopen([(entry, ["d0"])])
    assert problem_kinds(export_at(workspace, "2026-11-21 07:00")) == ["undelivered"]


def test_a_ledger_of_an_older_version_is_read_and_then_upgraded(acme: Workspace) -> None:
    acme.run(FIRST)
    with closing(sqlite3.connect(acme.folder / "state/ledger.db")) as connection:
        connection.execute("alter table windows drop column activities")
        connection.execute("drop table failures")
    export = export_at(acme, FIRST)
    assert export.last
    assert (export.last.rows["activity"], export.last.activities) == (1, {})
    acme.run(SECOND)
    export = export_at(acme, SECOND)
    assert export.last
    assert (export.last.window.start, export.last.activities) == (utc("2026-11-20 00:00"), {})
    acme.run(SECOND, daily_only=True, days=days("2026-11-19"), force=True)


def test_windows_ahead_of_the_clock_are_reported(
    workspace: Workspace, ledger: Ledger, url: str
) -> None:
    configure(workspace, url, "  - {brand: ACME}", destinations="{d0: {directory: d0}}")
    window = Window(utc("2026-12-20 00:00"), utc("2026-12-21 00:00"))
    delivered(ledger, window, utc("2026-12-21 06:01"))
    found = status_at(workspace, "2026-11-21 07:00")
    assert problem_kinds(found.exports[0]) == ["ahead"]
    assert "the ledger has windows up to 2026-12-21 00:00 UTC" in sentences(found)[0]
    assert found.exports[0].next_due == utc("2026-12-22 06:00")


def test_an_unknown_column_in_the_config_is_a_failure(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, activity_fields: [shoe_size]}")
    with pytest.raises(UsageError):
        acme.run(FIRST)
    (problem,) = export_at(acme, FIRST).problems
    assert problem.kind is ProblemKind.FAILED
    assert "shoe_size" in problem.text


def test_paused_retention_is_reported(workspace: Workspace, ledger: Ledger, url: str) -> None:
    configure(workspace, url, "  - {brand: ACME}", destinations="{d0: {directory: d0}}")
    window = Window(utc("2026-11-20 00:00"), utc("2026-11-21 00:00"))
    delivered(ledger, window, utc("2026-11-21 06:01"))
    assert status_at(workspace, "2026-11-22 07:00").warnings == []
    (warning,) = status_at(workspace, "2099-11-22 07:00").warnings
    assert warning.startswith(
        "nothing old was removed: the clock of this machine shows 2099-11-22 07:00 UTC"
    )


LOADED = """
import sys
from orchestrator.cli import app
try:
    app(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 0, ended.code
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & {"dbt", "duckdb", "pyspark", "pandas", "asyncssh", "pyarrow", "apprise"}))
"""


def test_the_command_prints_text_and_json_without_heavy_imports(acme: Workspace) -> None:
    acme.run(FIRST)
    files = ["--html", "status.html", "--prometheus", "status.prom"]

    def ran(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", LOADED, "status", *arguments],
            cwd=acme.folder,
            env=os.environ | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    table, loaded = ran().strip().rsplit("\n", 1)
    assert loaded == "[]"
    assert "1 export, 1 with problems" in table
    heads, row = table.splitlines()[-2:]
    assert heads.split()[:3] == ["Brand", "Interval", "Last"]
    assert row.split()[:5] == ["ACME", "daily", "2026-11-19", "1", "1"]
    document, loaded = ran("--json", *files).rsplit("\n[", 1)
    assert loaded == "]\n"
    found = json.loads(document)
    assert found["exit_code"] == 0
    (export,) = found["exports"]
    assert export["last"]["activities"] == {"open": 1}
    assert export["problems"][0]["kind"] == "overdue"
    assert ran(*files) == "[]\n"
    assert (acme.folder / "status.html").read_text().startswith("<!doctype html>")
    assert "event_based_export_lag_seconds" in (acme.folder / "status.prom").read_text()


SECRETS = """
destinations:
  managed:
    sftp:
      host: "{{ env_var('NOT_SET') }}"
      port: "{{ env_var('NOT_SET') }}"
      username: acme
      passphrase: "{{ env_var('NOT_SET') }}"
  there: {directory: "{{ env_var('NOT_SET') }}/there", retention: 60d}
defaults:
  wait: 0s
  destination: [managed, there]
  activity_fields: [{column: email_address, hash: sha256, salt: "{{ env_var('NOT_SET') }}"}]
exports: [{brand: ACME}]
notify: ["{{ env_var('NOT_SET') }}"]
"""


def test_variables_that_only_a_delivery_needs_may_be_unset(acme: Workspace) -> None:
    path = acme.folder / "exports.yml"

    def ran(*arguments: str) -> tuple[int, str]:
        done = orchestrate(acme.folder, *arguments)
        return done.returncode, done.stdout + done.stderr

    path.write_text(SECRETS)
    code, text = ran("status")
    assert (code, "1 export, 1 with problems" in text) == (0, True), text
    code, text = ran("schedule", "cron")
    assert (code, "orchestrate run" in text) == (0, True), text
    code, text = ran("daily", "--dry-run")
    assert (code, "due       ACME daily" in text) == (0, True), text
    code, text = ran("prune", "--dry-run")
    assert (code, "no file is old enough to be removed" in text) == (0, True), text
    code, text = ran("daily")
    assert (code, "exports.yml:5: destinations.managed.sftp.host: " in text) == (2, True), text
    loaded = config.read(path, secrets=False)
    assert (loaded.destinations, loaded.notify) == ({}, ())
    assert loaded.retention == {"there": timedelta(days=60)}
    path.write_text("destinations: {there: \"{{ env_var('NOT_SET') }}\"}\nexports: [{brand: A}]\n")
    assert config.read(path, secrets=False).retention == {}
    path.write_text(SECRETS.replace("60d", "\"{{ env_var('NOT_SET') }}\""))
    with pytest.raises(ConfigError, match=r":9: destinations\.there\.retention: .*NOT_SET is not"):
        config.read(path, secrets=False)
    path.write_text(SECRETS.replace("\"{{ env_var('NOT_SET') }}\"}]", "[]}]"))
    with pytest.raises(ConfigError, match=r":13: defaults\.activity_fields\[0\]\.salt: .*expected"):
        config.read(path, secrets=False)
    for line in ("state: \"{{ env_var('NOT_SET') }}\"", "outbox: \"{{ env_var('NOT_SET') }}\""):
        path.write_text(SECRETS + line)
        code, text = ran("status")
        assert (code, "NOT_SET is not set" in text) == (2, True), text
        assert f": {line.partition(':')[0]}: " in text


@pytest.mark.parametrize("option", ["--html", "--prometheus"])
def test_a_folder_in_place_of_an_output_file_is_refused(acme: Workspace, option: str) -> None:
    (acme.folder / "site").mkdir()
    before = sorted(acme.folder.iterdir())
    for folder in (".", "site"):
        done = orchestrate(acme.folder, "status", option, folder)
        assert done.returncode == 2
        assert "is a directory" in done.stderr
    assert sorted(acme.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (3_725, "1 h 2 min"), (86_400 + 59, "1 d"), (200_000, "2 d 7 h")],
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert status_text.duration(seconds) == text
