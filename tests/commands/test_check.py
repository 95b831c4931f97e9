"""`orchestrate check` reports every problem with a remedy, and no problem hides another."""

import fcntl
import json
import os
from datetime import UTC, datetime

import duckdb
import pytest
from forked_commands import orchestrate
from postgres_server import Postgres
from sshd import Sshd
from workspace import Workspace, snapshot

from orchestrator import config
from orchestrator.commands import check
from orchestrator.commands.check import CheckResult
from orchestrator.ledger import Ledger


def checked(workspace: Workspace) -> CheckResult:
    loaded = config.read(workspace.folder / "exports.yml")
    return check.check_all(loaded, None, now=datetime.now(UTC))


def failures_of(workspace: Workspace, subject: str) -> str:
    """Return the failures of a subject; assert that only the warehouse may fail as well."""
    result = checked(workspace)
    assert result.exit_code == 1
    failing = [finding for finding in result.findings if not finding.ok]
    assert {finding.subject for finding in failing} <= {subject, "warehouse"}
    return "\n".join(finding.text for finding in failing if finding.subject == subject)


def test_a_brand_with_only_old_events_is_known(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME}\n  - {brand: EVENTS}")
    acme.opened("EVENTS", "2026-11-01 10:00:00", "B", event_id="E9")
    assert checked(acme).exit_code == 0


def test_a_valid_setup_passes_and_nothing_is_left_behind(
    acme: Workspace, sftp_server: Sshd
) -> None:
    exports = "  - {brand: ACME, directory: '{brand}/{window_start:%Y}'}\n  - {brand: '*'}\n"
    exports += "  - {brand: BETA, interval: hourly, directory: there/already}"
    line = sftp_server.line(timeout="5s")
    acme.configure(
        exports,
        defaults="{destination: [server, there]}",
        destinations=f"{{server: {{sftp: {line}}}, there: {{directory: there/new}}}}",
    )
    (sftp_server.root / "there/already").mkdir(parents=True)
    (sftp_server.root / "there/already/theirs.csv").write_text("theirs")
    for number, brand in enumerate(("BETA", "GAMMA")):
        acme.mailing(brand, "2026-11-19", number=7 + number)
    before = snapshot(acme.folder)
    result = checked(acme)
    assert [(finding.subject, finding.ok) for finding in result.findings] == [
        ("exports.yml", True),
        ("ledger", True),
        ("outbox", True),
        ("warehouse", True),
        ("destination 'server'", True),
        ("destination 'there'", True),
    ]
    assert result.exit_code == 0
    assert "have every field; 3 brands" in result.findings[3].text
    assert "in 3 folders" in result.findings[4].text
    after = snapshot(acme.folder)
    assert {name for name in after.keys() ^ before.keys() if "sshd.log" not in name} == set()
    changed = {name for name, facts in after.items() if facts != before[name]}
    assert {name for name in changed if not name.endswith("sshd.log")} == set()


def test_the_command_prints_findings_and_exits_with_their_code(acme: Workspace) -> None:
    ran = orchestrate(acme.folder, "check", "--json")
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["exit_code"]) == (0, 0)
    assert all(finding["ok"] for finding in document["findings"])
    (acme.folder / "exports.yml").write_text("exports: []")
    assert orchestrate(acme.folder, "check").returncode == 2
    acme.configure("  - {brand: ACME}")
    acme.warehouse.unlink()
    ran = orchestrate(acme.folder, "check")
    assert ran.returncode == 1
    assert "\nFAILED warehouse: " in ran.stdout
    assert "\nok     destination 'there'" in ran.stdout
    assert "Traceback" not in ran.stderr


def test_a_field_that_the_views_lack_is_reported(acme: Workspace) -> None:
    acme.configure("  - {brand: ACME, activity_fields: [nothing]}")
    assert "exports.yml:4: exports[0].activity_fields" in failures_of(acme, "warehouse")


def test_missing_raw_tables_and_wrong_columns_are_reported(acme: Workspace) -> None:
    with duckdb.connect(str(acme.warehouse)) as connection:
        connection.execute("drop table raw.email_clicks")
        connection.execute("alter table raw.email_opens drop column os")
        connection.execute("alter table raw.broadcasts alter sent_on type double using 0")
        connection.execute("alter table raw.customers alter email_address type varchar[] using []")
        connection.execute("alter table raw.email_opens alter is_test type integer")
    assert failures_of(acme, "warehouse").splitlines() == [
        "raw.broadcasts: sent_on is of type double, not timestamp",
        "raw.customers: email_address is of type varchar[], not text",
        "raw.email_clicks is missing",
        "raw.email_opens: the column os is missing",
    ]


def test_a_brand_without_rows_is_reported(acme: Workspace) -> None:
    acme.mailing("BRANDNAME", "2026-11-19", number=2)
    acme.configure("  - {brand: ACME}\n  - {brand: BRANDNAM}\n  - {brand: '*'}")
    message = failures_of(acme, "brand")
    assert "exports.yml:5: exports[1].brand: the warehouse knows no brand 'BRANDNAM'" in message
    assert "; did you mean BRANDNAME?; correct it, or load its rows" in message
    assert len(message.splitlines()) == 1


def test_a_warehouse_without_brands_is_reported(workspace: Workspace) -> None:
    workspace.configure("  - {brand: ACME}")
    assert "the warehouse knows no brand 'ACME'; correct it, or load" in failures_of(
        workspace, "brand"
    )
    workspace.configure("  - {brand: ACME}\n  - {brand: '*'}")
    message = failures_of(workspace, "warehouse")
    assert "target duckdb: the warehouse has no brand yet: nothing is exported for '*'" in message
    assert "load rows, or check the dbt vars raw_database and raw_schema" in message


def test_a_missing_warehouse_is_reported(acme: Workspace) -> None:
    acme.warehouse.unlink()
    assert "create it with 'orchestrate load'" in failures_of(acme, "warehouse")


def test_a_missing_dbt_project_is_reported(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_PROJECT_DIR", str(acme.folder / "nothing"))
    assert "set DBT_PROJECT_DIR" in failures_of(acme, "warehouse")


def test_an_unreachable_ledger_is_reported_without_its_password(acme: Workspace) -> None:
    acme.warehouse.unlink()
    text = (acme.folder / "exports.yml").read_text()
    (acme.folder / "exports.yml").write_text(
        f"{text}state: postgresql+psycopg://user:hush@127.0.0.1:1/ledger\n"
    )
    message = failures_of(acme, "ledger")
    assert "127.0.0.1:1/ledger cannot be opened" in message
    assert "hush" not in message


def test_a_ledger_in_postgresql_passes(acme: Workspace, postgres: Postgres) -> None:
    text = (acme.folder / "exports.yml").read_text()
    url = f"postgresql+psycopg://postgres@/postgres?host={postgres.folder}"
    (acme.folder / "exports.yml").write_text(f"{text}state: {url}\n")
    acme.warehouse.unlink()
    assert checked(acme).findings[1].ok


def test_a_file_in_place_of_a_folder_is_reported(acme: Workspace) -> None:
    acme.warehouse.unlink()
    (acme.folder / "state").write_text("no folder")
    assert "is not a folder, so the ledger cannot be created in it" in failures_of(acme, "ledger")
    (acme.folder / "state").unlink()
    (acme.folder / "outbox").write_text("no folder")
    assert "is not a folder, so the outbox cannot be created in it" in failures_of(acme, "outbox")


def test_an_outbox_that_others_can_read_is_reported(acme: Workspace) -> None:
    acme.warehouse.unlink()
    outbox = acme.folder / "outbox"
    outbox.mkdir()
    outbox.chmod(0o755)
    assert f"chmod 700 {outbox}" in checked(acme).findings[2].text


def test_a_run_in_progress_is_not_a_failure(acme: Workspace) -> None:
    loaded = config.read(acme.folder / "exports.yml")
    ledger = Ledger(loaded.state)
    loaded.outbox.mkdir()
    with (loaded.outbox / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = checked(acme)
    ledger.close()
    assert result.exit_code == 0
    assert f"another run (process {os.getpid()} on " in result.findings[1].text


def test_a_destination_that_fails_does_not_hide_the_others(
    acme: Workspace, sftp_server: Sshd
) -> None:
    sftp_server.pin()
    line = sftp_server.line(timeout="5s")
    acme.configure(
        "  - {brand: ACME}\n  - {brand: '*', directory: 'all/{brand}'}",
        defaults="{destination: [server, there]}",
        destinations=f"{{server: {{sftp: {line}}}, there: {{directory: there}}}}",
    )
    acme.warehouse.unlink()
    result = checked(acme)
    assert [(finding.subject, finding.ok) for finding in result.findings[3:]] == [
        ("warehouse", False),
        ("destination 'server'", False),
        ("destination 'there'", True),
    ]
    assert "only if it is the same, add the key: ssh-keyscan -p" in result.findings[4].text
    assert "in 2 folders" in result.findings[5].text


def test_notify_urls_are_reported_and_nothing_is_sent(acme: Workspace) -> None:
    acme.warehouse.unlink()
    config_file = acme.folder / "exports.yml"
    config_file.write_text(f"{config_file.read_text()}notify: ['json://127.0.0.1:1/hush']\n")
    finding = checked(acme).findings[-1]
    assert (finding.subject, finding.ok) == ("notify", True)
    assert finding.text.startswith("1 URL that Apprise knows")


def test_brand_names_that_collide_or_are_invalid_at_a_receiver_are_reported(
    workspace: Workspace,
) -> None:
    for number, brand in enumerate(("ACME", "Acme", "a:b", "nul", "Plain")):
        workspace.mailing(brand, "2026-11-19", number=number)
    workspace.configure("  - {brand: '*', directory: '{brand}'}")
    result = checked(workspace)
    names = [finding for finding in result.findings if finding.subject == "names"]
    assert [finding.ok for finding in names] == [False, True, True]
    assert "give Acme or ACME an entry with its own directory" in names[0].text
    assert "'a:b' contains :" in names[1].text
    assert "'nul' is the name of a device" in names[2].text
    assert result.exit_code == 1
