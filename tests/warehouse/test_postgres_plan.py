"""PostgreSQL's plan of a window: it reads a raw table a few times, not once for each event."""

from pathlib import Path

import pytest
from postgres_server import Postgres
from postgres_workspace import PostgresWorkspace

_COLUMNS = "event_id, brand, broadcast_id, customer_id, occurred_at, received_at, is_test"
# With this many rows PostgreSQL expects one row from the deduplication, and would use nested loops.
_EVENTS, _CUSTOMERS, _BROADCASTS = 20_000, 2_000, 400
_RAW = (
    f"""
    insert into raw.broadcasts
    select 'ACME', 'B' || number, 'email', 'SINGLE', null, null, moment, moment
    from
        generate_series(1, {_BROADCASTS}) as number,
        (select timestamptz '2026-11-21 10:00:00+00' as moment)
    """,
    f"""
    insert into raw.customers
    select 'ACME', 'C' || number, null, null from generate_series(1, {_CUSTOMERS}) as number
    """,
    f"""
    insert into raw.email_sends ({_COLUMNS})
    select
        'E' || number, 'ACME', 'B' || 1 + number % {_BROADCASTS},
        'C' || 1 + number % {_CUSTOMERS}, moment, moment, false
    from
        generate_series(1, {_EVENTS}) as number,
        (select timestamptz '2026-11-21 12:00:00+00' as moment)
    """,
    f"""
    insert into raw.email_opens ({_COLUMNS}, os, is_machine)
    select {_COLUMNS}, 'iOS', false from raw.email_sends
    """,
    "vacuum analyze",
)


@pytest.fixture
def workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> PostgresWorkspace:
    """A warehouse of one brand, whose statistics are up to date."""
    workspace = PostgresWorkspace(tmp_path, monkeypatch, postgres.warehouse())
    workspace.configure("  - brand: ACME")
    workspace.prepare()
    for statement in _RAW:
        workspace.execute(statement)
    return workspace


def test_customers_are_not_read_for_each_event(workspace: PostgresWorkspace) -> None:
    (window,) = workspace.run("2026-11-22 12:00:00").windows
    assert {file.kind: file.rows for file in window.files}["activity"] == 2 * _EVENTS
    query = "select seq_tup_read from pg_stat_user_tables where relname = 'customers'"
    ((read,),) = workspace.execute(query)
    assert 0 < read <= 10 * _CUSTOMERS
