"""Databases, roles and environments that are not UTF-8: stored texts and files are right."""

from pathlib import Path

import pytest
from forked_commands import orchestrate
from postgres_server import Postgres
from postgres_workspace import PostgresWorkspace

from orchestrator.pipeline import Status

_NOW = "2026-11-22 12:00:00"
_ACTIVITIES = "activity_ACME_20261121.csv"
_CUSTOMERS = "brand,customer_id,external_customer_number,email_address\nACME,C1,,{}@example.test\n"


def _workspace(
    folder: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres, encoding: str
) -> PostgresWorkspace:
    """A database of this encoding with the raw tables; two brands are exported."""
    workspace = PostgresWorkspace(folder, monkeypatch, postgres.warehouse(encoding))
    workspace.configure("  - brand: ACME\n  - brand: BETA")
    workspace.prepare()
    return workspace


@pytest.fixture(
    params=[
        *("LATIN1", "SQL_ASCII", "role"),
        *(pytest.param(each, marks=pytest.mark.faults) for each in ("WIN1252", "environment")),
    ]
)
def workspace(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres: Postgres,
) -> PostgresWorkspace:
    """A database that is not UTF-8, or whose role or environment asks for LATIN1."""
    kind = request.param
    encoding = "UTF8" if kind in ("role", "environment") else kind
    workspace = _workspace(tmp_path, monkeypatch, postgres, encoding)
    if kind == "role":
        workspace.execute("create role latin superuser login")
        workspace.execute("alter role latin set client_encoding = 'LATIN1'")
        monkeypatch.setenv("PGUSER", "latin")
    if kind == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    return workspace


def test_texts_are_stored_and_exported_unchanged(workspace: PostgresWorkspace) -> None:
    raw = workspace.folder / "raw"
    raw.mkdir()
    (raw / "customers.csv").write_text(_CUSTOMERS.format("josé"), encoding="utf-8")
    ran = orchestrate(workspace.folder, "load", "raw")
    assert ran.returncode == 0, ran.stderr
    with workspace.connect(client_encoding="UTF8") as connection:
        # As bytes: psycopg does not return texts of an SQL_ASCII database as str.
        query = "select convert_to(email_address, 'UTF8') from raw.customers"
        if workspace.execute("show server_encoding") == [("SQL_ASCII",)]:
            query = "select email_address::bytea from raw.customers"
        (stored,) = connection.execute(query).fetchall()
    assert stored == ("josé@example.test".encode(),)
    workspace.mailing("ACME", "2026-11-21")
    workspace.execute("update raw.email_opens set email_address = null")
    ran = orchestrate(workspace.folder, "daily", "--date", "2026-11-21", "--brand", "ACME")
    assert ran.returncode == 0, ran.stderr
    assert ",josé@example.test," in workspace.text(_ACTIVITIES)


def test_a_text_that_the_database_cannot_store_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    workspace = _workspace(tmp_path, monkeypatch, postgres, "LATIN1")
    raw = workspace.folder / "raw"
    raw.mkdir()
    (raw / "customers.csv").write_text(_CUSTOMERS.format("日本"), encoding="utf-8")
    ran = orchestrate(workspace.folder, "load", "raw")
    assert ran.returncode == 2
    assert "customers: " in ran.stderr
    assert "LATIN1" in ran.stderr
    assert "日本" not in ran.stderr
    assert workspace.execute("select count(*) from raw.customers") == [(0,)]


@pytest.mark.parametrize(
    "defaults",
    [
        "{}",
        "{encoding: utf-16}",
        *(
            pytest.param(each, marks=pytest.mark.faults)
            for each in (
                "{encoding: latin-1}",
                "{newlines: space, formulas: escape, quoting: all}",
                "{delimiter: '||', compression: gzip}",
            )
        ),
    ],
)
def test_bytes_that_are_not_text_fail_only_their_brand(
    defaults: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    workspace = _workspace(tmp_path, monkeypatch, postgres, "SQL_ASCII")
    workspace.configure("  - brand: ACME\n  - brand: BETA", defaults=defaults)
    workspace.mailing("ACME", "2026-11-21", number=1)
    workspace.mailing("BETA", "2026-11-21", number=2)
    workspace.execute(
        r"update raw.email_opens set email_address = convert_from('\x6a6f73e9ff', 'SQL_ASCII')"
        " where brand = 'ACME'"
    )
    acme, beta = workspace.run(_NOW).windows
    assert (acme.brand, acme.status, beta.status) == ("ACME", Status.FAILED, Status.DELIVERED)
    assert acme.error
    assert (
        "the activity file of ACME: the row with activity 'open', event_id 'E1': email_address "
        "cannot be in a file: it is not valid UTF-8" in acme.error
    )
    assert {name[:13] for name in workspace.files()} == {"activity_BETA", "broadcast_BET"}
    # The window is delivered once the row is corrected.
    workspace.execute(r"update raw.email_opens set email_address = 'jos' || chr(195) || chr(169)")
    assert {window.status for window in workspace.run(_NOW).windows} == {Status.DELIVERED}
