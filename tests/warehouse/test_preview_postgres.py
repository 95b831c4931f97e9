"""`preview` on a server: the same bytes as a run, and never at the same time as a run."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from postgres_server import Postgres
from postgres_workspace import PostgresWorkspace
from workspace import days

from orchestrator import config
from orchestrator.commands import preview
from orchestrator.commands.preview import Head
from orchestrator.errors import LockedError
from orchestrator.jobs import Request
from orchestrator.warehouse import open_engine, project


def heads(path: Path) -> list[Head]:
    return preview.preview(
        config.read(path),
        project.find(path.parent, "postgres"),
        Request(brands=["ACME"], days=days("2026-11-19")),
        most=1,
        now=datetime(2026, 11, 22, 12, tzinfo=UTC),
    )


def test_a_preview_has_the_bytes_of_a_run_and_leaves_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    workspace = PostgresWorkspace(tmp_path, monkeypatch, postgres.warehouse())
    workspace.configure("  - {brand: ACME, encoding: utf-16, delimiter: '||'}")
    workspace.prepare()
    workspace.mailing("ACME", "2026-11-19")
    workspace.opened("ACME", "2026-11-19 12:00:00", "ACME-1", event_id="E2")
    path = tmp_path / "exports.yml"
    found = heads(path)
    assert [head.rows for head in found] == [1, 2]
    assert (
        workspace.execute("select tablename from pg_tables where schemaname = 'exports_run'") == []
    )
    workspace.run("2026-11-20 12:00:00")
    for head in found:
        assert (tmp_path / "there" / head.path).read_bytes().startswith(head.head)
    engine = open_engine(project.find(tmp_path, "postgres"), tmp_path)
    engine.open()
    try:
        with pytest.raises(LockedError, match="another run uses the schema exports_run"):
            heads(path)
    finally:
        engine.close()
