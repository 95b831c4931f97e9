"""A large table of PostgreSQL is staged in parts, with the same lines as from a single part."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import Postgres
from postgres_workspace import PostgresWorkspace

from orchestrator.errors import ExportError
from orchestrator.warehouse.postgres import reader
from orchestrator.warehouse.postgres.reader import PostgreSQL
from orchestrator.warehouse.stage import ORDER, Stage

_RELATIONS = {"activities_daily": "made.activities", "broadcasts_daily": "made.broadcasts"}
_LINE = "concat(coalesce(cast(activity_date as varchar), 'null'), ' ', event_id)"
# One row in a hundred has the same moment, and a few have an infinite moment or none.
_MOMENT = """
    case
        when number % 1000 = 1 then 'infinity'
        when number % 1000 = 2 then '-infinity'
        when number % 1000 = 3 then null
        when number % 100 = 4 then timestamptz '2026-11-21 12:00:00+00'
        else timestamptz '2026-11-21 00:00:00+00' + hashint4(number) * interval '20 microseconds'
    end"""


@pytest.fixture
def engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> Iterator[PostgreSQL]:
    workspace = PostgresWorkspace(tmp_path, monkeypatch, postgres.warehouse())
    workspace.execute("create schema made")
    workspace.execute(f"""
        create table made.activities as
        select
            case when number % 3 = 0 then 'B' else 'A' end as brand,
            {_MOMENT} as activity_date,
            'B' || number % 7 as broadcast_id,
            'C' || number % 11 as customer_id,
            'open' as activity,
            'E' || number as event_id
        from generate_series(1, 30000) as numbers (number)""")
    workspace.execute("create table made.broadcasts as select 'A'::text as brand")
    workspace.execute("create table made.brands as select 'A'::text as brand")
    engine = PostgreSQL(workspace.output, workspace.folder)
    engine.open()
    yield engine
    engine.close()


def _lines(stage: Stage, *brands: str) -> list[str]:
    texts: list[str] = []
    for _, lines in stage.lines("activity", _LINE, brands=brands):
        assert not isinstance(lines, ExportError)
        texts += map(str, lines.to_pylist())
    return texts


def _ordered(stage: Stage, brand: str) -> list[str]:
    order = ", ".join(ORDER["activity"])
    rows = stage.connection.sql(
        f"select {_LINE} from stage.activities where brand = '{brand}' order by {order}"
    )
    return [row[0] for row in rows.fetchall()]


def test_rows_in_parts_are_in_the_order_of_a_single_part(
    engine: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = engine.read(_RELATIONS, "made.brands", {})
    assert len(single.parts["activity"]) == 1
    ordered = {brand: _ordered(single, brand) for brand in "AB"}
    assert [len(rows) for rows in ordered.values()] == [20_000, 10_000]
    assert _lines(single, "A") == ordered["A"]

    monkeypatch.setattr(reader, "_PART", 200_000)
    parted = engine.read(_RELATIONS, "made.brands", {})
    sizes = [
        parted.connection.sql(f"select count(*) from {part}").fetchall()[0][0]
        for part in parted.parts["activity"]
    ]
    assert sum(sizes) == 30_000
    assert len(sizes) > 5
    assert max(sizes) < 3 * min(sizes[1:-1])
    assert _lines(parted, "A") == ordered["A"]
    assert _lines(parted, "B") == ordered["B"]
    assert _lines(parted, "A", "B") == ordered["A"] + ordered["B"]

    again = engine.read(_RELATIONS, "made.brands", {})  # as for the next window
    assert _lines(again, "A") == ordered["A"]


def test_a_table_without_a_moment_to_order_by_has_one_part(
    engine: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_PART", 1000)
    stage = engine.read(_RELATIONS, "made.brands", {})
    assert len(stage.parts["broadcast"]) == 1
    assert 100 < len(stage.parts["activity"]) <= 128  # each part is an open file
