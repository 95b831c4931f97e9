"""`check` on a warehouse that is a server: the same findings as on DuckDB."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from postgres_server import Postgres
from postgres_workspace import PostgresWorkspace

from orchestrator import config
from orchestrator.commands import check
from orchestrator.commands.check import Finding

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def warehouse_finding(path: Path, target: str) -> Finding:
    """Return the finding about the warehouse."""
    result = check.check_all(config.read(path), target, now=NOW)
    return next(finding for finding in result.findings if finding.subject == "warehouse")


def test_missing_tables_and_wrong_columns_of_postgresql_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    workspace = PostgresWorkspace(tmp_path, monkeypatch, postgres.warehouse())
    workspace.configure("  - brand: ACME")
    path = tmp_path / "exports.yml"
    workspace.prepare()
    workspace.mailing("ACME", "2026-11-19")
    found = warehouse_finding(path, "postgres")
    assert found.ok, found.text
    assert "target postgres: the views can be built and have every field; 1 brand" in found.text
    workspace.execute("alter table raw.email_clicks drop column url")
    workspace.execute("alter table raw.customers alter email_address type text[] using null")
    workspace.execute("alter table raw.email_bounces alter received_at type bigint using 1")
    workspace.execute("drop table raw.email_opens")
    found = warehouse_finding(path, "postgres")
    assert not found.ok
    assert found.text.splitlines() == [
        "raw.customers: email_address is of type array, not text",
        "raw.email_bounces: received_at is of type bigint, not timestamp",
        "raw.email_clicks: the column url is missing",
        "raw.email_opens is missing",
    ]
