"""Failures of every kind leave no secret, address or customer id in the output or in files."""

import json
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import duckdb
import pytest
from canaries import (
    AWKWARD,
    CUSTOMER,
    EMAIL,
    MARK,
    SECRETS,
    files_with_a_canary,
    orchestrate,
    readable_by_others,
)
from gpg import Gpg
from postgres_server import Postgres
from sshd import Sshd, make_key
from workspace import ROOT, Workspace

DAY = ("--date", "2026-11-19")
EXPORTS = "activities_daily.sql"


@pytest.fixture
def planted(workspace: Workspace) -> Workspace:
    """A brand with activities whose every value is a canary."""
    workspace.mailing("ACME", "2026-11-19")
    workspace.opened(
        "ACME",
        "2026-11-19 12:00:00",
        "ACME-1",
        event_id="kanarie-1",
        customer_id=CUSTOMER,
        email_address=EMAIL,
    )
    workspace.add(
        "email_bounces",
        {
            "brand": "ACME",
            "event_id": "kanarie-2",
            "broadcast_id": "ACME-1",
            "customer_id": CUSTOMER,
            "email_address": EMAIL,
            "message": AWKWARD,
            "received_at": "2026-11-19 12:00:00",
        },
    )
    workspace.configure("  - {brand: ACME}")
    return workspace


def customise(workspace: Workspace, column: str, expression: str) -> None:
    """Replace the expression of a column of activities_daily."""
    project = workspace.folder / "dbt_project"
    shutil.copytree(ROOT / "dbt_project", project)
    model = project / "models/exports" / EXPORTS
    sql = model.read_text(encoding="utf-8")
    start, end = sql.rsplit(f"email_activities.{column},\n", 1)
    model.write_text(f"{start}{expression} as {column},\n{end}", encoding="utf-8")


@pytest.mark.parametrize(
    ("column", "expression", "exit_code", "expected"),
    [
        (
            "customer_id",
            "cast(cast(email_activities.customer_id as integer) as varchar)",
            4,
            ["model activities_daily failed", "Conversion Error", "LINE"],
        ),
        ("customer_id", "nullif(email_activities.customer_id, 'C1')", 4, ["found 1 rows"]),
    ],
)
def test_a_value_that_breaks_a_customised_view_is_not_logged(
    planted: Workspace, column: str, expression: str, exit_code: int, expected: list[str]
) -> None:
    customise(planted, column, expression)
    ran = orchestrate(planted.folder, "daily", *DAY, "-v", "--log-format", "json")
    ran.assert_silent(exit_code)
    assert [json.loads(line) for line in ran.output.splitlines()]
    assert all(word in ran.output for word in expected), ran.output
    left = files_with_a_canary(planted.folder / "outbox", planted.folder / "state")
    assert left == []
    assert planted.files() == []


def test_encrypted_values_can_be_read_by_the_receiver_alone(planted: Workspace, gpg: Gpg) -> None:
    (planted.folder / "key.asc").write_bytes(gpg.export(gpg.make_key("Confidant", subkey="never")))
    planted.configure("  - {brand: ACME, encrypt_for: key.asc, compression: zip, completion: both}")
    ran = orchestrate(planted.folder, "daily", *DAY, "-v", private=("outbox", "state"))
    ran.assert_silent(0)
    folders = [planted.folder / name for name in ("outbox", "state", "there")]
    assert files_with_a_canary(*folders) == []
    path = planted.folder / "there/activity_ACME_20261119.csv.zip.pgp"
    (planted.folder / "got.zip").write_bytes(gpg.decrypt(path.read_bytes()))
    with zipfile.ZipFile(planted.folder / "got.zip") as archive:
        assert EMAIL.encode() in archive.read("activity_ACME_20261119.csv")


def test_failing_destinations_and_a_failing_row_log_no_secret(
    planted: Workspace, start_sshd: Callable[..., Sshd]
) -> None:
    servers = [start_sshd(sftp_options="-R"), start_sshd()]
    another = SECRETS["KEY_PASSPHRASE"][::-1]
    locked = make_key(planted.folder / "locked", passphrase=another)
    opened = make_key(planted.folder / "opened", passphrase=SECRETS["KEY_PASSPHRASE"])
    public = opened.with_name("opened.pub").read_text()
    servers[0].client_key.with_name("client_key.pub").write_text(public)
    sftp = {
        name: {
            "sftp": {
                **server.line(private_key=str(key)),
                "passphrase": "{{ env_var('KEY_PASSPHRASE') }}",
                "password": "{{ env_var('SFTP_PASSWORD') }}",
            }
        }
        for name, server, key in zip(("readonly", "locked"), servers, (opened, locked), strict=True)
    }
    planted.mailing("TWO", "2026-11-19")
    planted.mailing("SNOW", "2026-11-19")
    planted.opened(
        "SNOW",
        "2026-11-19 12:00:00",
        "SNOW-1",
        event_id="E2",
        customer_id=f"{CUSTOMER} \u2603",
        email_address=EMAIL,
    )
    hashed = "{column: email_address, hash: sha256, salt: \"{{ env_var('HASH_SALT') }}\"}"
    planted.configure(
        f"  - {{brand: ACME, destination: readonly, activity_fields: [{hashed}]}}\n"
        f"  - {{brand: TWO, destination: locked, activity_fields: [{hashed}]}}\n"
        "  - {brand: SNOW, destination: there, encoding: latin-1}",
        destinations=json.dumps({**sftp, "there": {"directory": "there"}}),
    )
    (planted.folder / "outbox").mkdir(mode=0o777)
    with listener() as (port, heard):
        config = planted.folder / "exports.yml"
        text = config.read_text(encoding="utf-8")
        token = "{{ env_var('NOTIFY_TOKEN') }}"  # noqa: S105 - a name
        urls = [f"json://user:{token}@127.0.0.1:{port}/", f"json://{token}@127.0.0.1:1/{token}"]
        text += f"state: sqlite:///ledger.db\nnotify: {json.dumps(urls)}\n"
        config.write_text(text, encoding="utf-8")
        private = ("outbox", "ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock")
        ran = orchestrate(planted.folder, "daily", *DAY, "-v", private=private)
    ran.assert_silent(
        1,
        "the server says",
        "passphrase is wrong",
        "contains U+2603, which latin-1 does not have",
        "notify[1]: notification failed",
    )
    assert heard
    assert MARK not in b"".join(heard).lower()
    ledger_files = planted.folder.glob("ledger.db*")
    assert files_with_a_canary(planted.folder / "outbox/.dbt", *ledger_files) == []
    assert not any(map(readable_by_others, map(planted.folder.joinpath, private)))
    assert "activity_ACME_20261119.csv" in planted.files("outbox")


def test_a_ledger_that_refuses_the_login_logs_no_password(
    planted: Workspace, postgres: Postgres
) -> None:
    config = planted.folder / "exports.yml"
    user = "guarded:{{ env_var('LEDGER_PASSWORD') }}"
    state = f'state: "postgresql+psycopg://{user}@/postgres?host={postgres.folder}"\n'
    config.write_text(config.read_text(encoding="utf-8") + state, encoding="utf-8")
    ran = orchestrate(planted.folder, "daily", *DAY, "-v", "--json")
    ran.assert_silent(1, "the ledger postgresql+psycopg://guarded:***@", "cannot be opened")


@contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """Receive notifications on a free port; yield the port and the list of bodies."""
    heard: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def raw_folder(workspace: Workspace, name: str, text: str) -> Path:
    folder = workspace.folder / "raw"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


OPEN = {
    "event_id": "kanarie",
    "brand": "ACME",
    "broadcast_id": "B1",
    "customer_id": CUSTOMER,
    "email_address": EMAIL,
    "occurred_at": "2026-11-19T12:00:00Z",
    "received_at": "2026-11-19T12:00:00Z",
    "is_test": "false",
}


@pytest.mark.parametrize(
    ("name", "text", "exit_code", "expected"),
    [
        (
            "email_opens.jsonl",
            "\n".join(
                json.dumps({**OPEN, **wrong})
                for wrong in (
                    {},
                    {"occurred_at": CUSTOMER, EMAIL: 1, CUSTOMER: 1},
                    {"brand": None, "is_test": AWKWARD},
                )
            )
            + f"\n{EMAIL}",
            3,
            "3 rows rejected",
        ),
        (
            "email_opens.csv",
            f"{EMAIL},{CUSTOMER},{CUSTOMER},kanarie_brand\n",
            2,
            "columns of email_opens are missing",
        ),
        (
            "email_opens.csv",
            ",".join([*OPEN, EMAIL]) + "\n" + ",".join([*OPEN.values(), "x"]),
            0,
            "",
        ),
        ("email_opens.csv", f'"{EMAIL}"x,{CUSTOMER}\n', 2, "is not a header"),
        ("email_opens.parquet", f"PAR1{EMAIL}PAR1", 2, "not a complete Parquet file"),
        ("email_opens.jsonl", json.dumps([OPEN]), 2, "not a JSON Lines file"),
    ],
)
def test_raw_files_that_break_the_contract_log_no_value(
    workspace: Workspace, name: str, text: str, exit_code: int, expected: str
) -> None:
    folder = raw_folder(workspace, name, text)
    (workspace.folder / "rejected").mkdir(mode=0o777)
    ran = orchestrate(workspace.folder, "load", str(folder), "-v", private=("rejected",))
    ran.assert_silent(exit_code, expected)
    rejected = list((workspace.folder / "rejected").iterdir())
    assert bool(rejected) == (exit_code == 3)
    assert bool(files_with_a_canary(*rejected)) == bool(rejected)
    assert not any(map(readable_by_others, rejected))


def test_a_raw_table_with_other_constraints_logs_no_value(workspace: Workspace) -> None:
    with duckdb.connect(str(workspace.warehouse)) as connection:
        connection.execute("drop table raw.email_opens")
        connection.execute(
            "create table raw.email_opens as select * from raw.email_sends limit 0;"
            "alter table raw.email_opens add column os varchar;"
            "alter table raw.email_opens add column is_machine boolean;"
            "create unique index one on raw.email_opens (customer_id)"
        )
    rows = [OPEN, {**OPEN, "event_id": "kanarie-2"}]
    folder = raw_folder(workspace, "email_opens.jsonl", "\n".join(map(json.dumps, rows)))
    ran = orchestrate(workspace.folder, "load", str(folder), "-v", "--log-format", "json")
    ran.assert_silent(2, "cannot store rows of the raw contract (ConstraintException)")
