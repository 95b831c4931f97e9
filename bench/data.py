"""Generated raw events, any number of them, in the order of arrival. DuckDB generates the rows."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psycopg
from adbc_driver_postgresql import dbapi

from orchestrator.warehouse import project
from orchestrator.warehouse.contract import Table, read_contract
from orchestrator.warehouse.duckdb import DuckdbLoader
from orchestrator.warehouse.merging import data_columns
from orchestrator.warehouse.postgres.loader import PostgresLoader

DAY, NEXT_DAY = "2026-11-01", "2026-11-02"
"""The first day with events. Every figure is about the window of this day."""

_CUSTOMER = "'C' || lpad(customer::varchar, 9, '0')"
_ADDRESS = "'person' || customer || '@example.com'"
# By table: its number of rows in a hundred events, and the values of the columns that only it has.
_EVENTS = {
    "email_sends": (60, ""),
    "email_opens": (25, ", 'iOS', number % 3 = 0"),
    "email_clicks": (
        10,
        ", 'https://www.example.com/offer/' || number || '?from=mail', null, null",
    ),
    "email_bounces": (5, ", 'soft', '452 4.2.2 mailbox ' || number || ' is full'"),
}


@dataclass(frozen=True)
class Shape:
    """The size of a warehouse: events of each day, brands that share them, and days.

    One event in fifty is received twice. There are ten events a day for each customer. `before` is
    the number of additional days before the first one.
    """

    rows: int
    brands: int = 1
    days: int = 1
    before: int = 0


def create(folder: Path, shape: Shape) -> Path:
    """Create a warehouse and an exports.yml in a folder; return the path for DUCKDB_PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "warehouse.duckdb"
    tables = _tables(folder)
    with duckdb.connect() as rows, DuckdbLoader({"path": str(path)}, rows) as loader:
        for table in tables:
            loader.prepare(table)
    with duckdb.connect(path) as connection:
        connection.execute("set TimeZone = 'UTC'; set preserve_insertion_order = false")
        connection.execute("set memory_limit = '4GB'")
        _fill(connection, shape)
    configure(folder)
    return path


def configure(folder: Path) -> None:
    """Write an exports.yml that delivers every brand to the folder `there`."""
    text = "destinations: {there: {directory: there}}\nexports:\n  - {brand: '*'}\n"
    (folder / "exports.yml").write_text(text, encoding="utf-8")
    (folder / "there").mkdir(exist_ok=True)


def copy_to_postgres(path: Path, variables: Mapping[str, str]) -> None:
    """Copy the raw tables of a warehouse to the PostgreSQL database that libpq's `variables` name.

    `orchestrate load` creates the same tables and indexes.
    """
    os.environ |= variables
    tables = _tables(path.parent)
    output = project.find(path.parent, "postgres").output
    with duckdb.connect() as rows, PostgresLoader(output, rows) as loader:
        for table in tables:
            loader.prepare(table)
    with (
        duckdb.connect(path, read_only=True) as source,
        dbapi.connect(f"dbname={variables['PGDATABASE']}", autocommit=False) as target,
        target.cursor() as cursor,
    ):
        for table in tables:
            rows = source.sql(f"from raw.{table.name}").to_arrow_reader()
            cursor.adbc_ingest(table.name, rows, mode="append", db_schema_name="raw")
        target.commit()
    with psycopg.connect("", autocommit=True) as connection:
        connection.execute("vacuum analyze")


def events(folder: Path) -> dict[str, dict[str, str]]:
    """Return the columns of the raw files, by table of events: the SQL type of each column."""
    types = {"text": "text", "timestamp": "timestamptz", "boolean": "boolean"}
    tables = [table for table in _tables(folder) if table.name in _EVENTS]
    return {
        table.name: {column.name: types[column.type] for column in data_columns(table)}
        for table in tables
    }


def _tables(folder: Path) -> list[Table]:
    return list(read_contract(project.find(folder, "duckdb").folder).tables)


def _fill(connection: duckdb.DuckDBPyConnection, shape: Shape) -> None:
    broadcasts = max(400 // shape.brands, 4)  # per brand
    customers = max(shape.rows // 10 // shape.brands, 1)
    connection.execute(f"""
        insert into raw.broadcasts
        select 'BRAND' || brand, 'B' || lpad(number::varchar, 6, '0'), 'email', 'SINGLE',
            'Newsletter ' || number, 'New: "offer" ' || number, sent_on, sent_on, sent_on
        from range({shape.brands}) brands (brand), range({broadcasts}) numbers (number),
            (select timestamptz '2026-10-25 10:00:00+00' as sent_on)
        """)
    connection.execute(f"""
        insert into raw.customers
        select 'BRAND' || brand, {_CUSTOMER}, 'CRM-' || customer, {_ADDRESS}, null
        from range({shape.brands}) brands (brand), range({customers}) customers (customer)
        """)
    for day in range(-shape.before, shape.days):
        for table, (share, more) in _EVENTS.items():
            count = max(shape.rows * share // 100, 1)
            connection.execute(f"""
                insert into raw.{table}
                select 'E{day}-' || lpad(number::varchar, 9, '0'),
                    'BRAND' || number % {shape.brands},
                    'B' || lpad((hash(number, 1) % {broadcasts})::varchar, 6, '0'), {_CUSTOMER},
                    {_ADDRESS}, received_at - interval 1 minute, received_at, false {more},
                    received_at + interval 10 minute
                from (
                    select number, hash(number) % {customers} as customer,
                        timestamptz '{DAY} 00:00:00+00' + to_days({day})
                        + to_microseconds(number * (86000000000 // {count})) as received_at
                    from range({count}) numbers (number)
                )
                """)
            connection.execute(f"""
                insert into raw.{table}
                select * replace (received_at + interval 1 second as received_at)
                from raw.{table}
                where event_id like 'E{day}-%' and hash(event_id) % 50 = 0
                """)
