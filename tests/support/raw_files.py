"""Raw files in every format, and loads of them into a warehouse."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from postgres_server import profile_output

from orchestrator.loading import LoadResult, TableResult, load
from orchestrator.progress import Progress, no_progress
from orchestrator.warehouse import Loader
from orchestrator.warehouse.contract import Contract, read_contract
from orchestrator.warehouse.duckdb import DuckdbLoader
from orchestrator.warehouse.postgres.loader import PostgresLoader

PROJECT = Path(__file__).parents[2] / "dbt_project"
CONTRACT = read_contract(PROJECT)
NOW = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
AT = datetime(2026, 11, 21, 10, 20, 30, 123456, tzinfo=UTC)


class Warehouse:
    """A DuckDB file, and a folder of raw files that are loaded into it."""

    row = "rowid"
    """The column with the position of a row in its table."""

    def __init__(self, home: Path) -> None:
        self.path = home / "warehouse.duckdb"
        self.folder = home / "raw"
        self.rejected = home / "rejected"
        self.folder.mkdir()

    def load(
        self,
        *,
        contract: Contract = CONTRACT,
        now: datetime = NOW,
        progress: Progress = no_progress,
    ) -> LoadResult:
        return load(
            self.folder,
            contract=contract,
            opener=self.loader,
            rejected=self.rejected,
            now=now,
            progress=progress,
        )

    def loader(self, arriving: duckdb.DuckDBPyConnection) -> Loader:
        return DuckdbLoader({"path": str(self.path)}, arriving)

    def execute(self, statement: str) -> None:
        with duckdb.connect(self.path) as con:
            con.execute(statement)

    def load_one(self, *, now: datetime = NOW) -> TableResult:
        (table,) = self.load(now=now).tables
        return table

    def query(self, query: str) -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []
        with duckdb.connect(self.path, read_only=True) as con:
            con.execute("set timezone = 'UTC'")
            return con.execute(query).fetchall()

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return the rows without `loaded_at`, which differs with each load."""
        names = self.query(
            "select column_name from information_schema.columns where table_schema = 'raw'"
            f" and table_name = '{table}' and column_name <> 'loaded_at' order by ordinal_position"
        )
        columns = ", ".join(f'"{name}"' for (name,) in names)
        return sorted(self.query(f"select {columns} from raw.{table}"), key=repr) if names else []

    def tables(self) -> list[str]:
        """Return the names of the raw tables that have rows."""
        names = self.query("select table_name from duckdb_tables() order by 1")
        return [name for (name,) in names if self.rows(name)]

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def rejects(self, result: TableResult) -> list[dict[str, Any]]:
        if result.reject_file is None:
            return []
        lines = result.reject_file.read_text(encoding="utf-8").strip().split("\n")
        return [json.loads(line) for line in lines]


class PostgresWarehouse(Warehouse):
    """A PostgreSQL database, named by libpq's variables, and a folder of raw files."""

    row = "ctid"

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__(home)
        self.output = profile_output(environment)
        names = ("host", "port", "user", "dbname")
        self.conninfo = " ".join(f"{name}={self.output[name]}" for name in names)

    def loader(self, arriving: duckdb.DuckDBPyConnection) -> Loader:
        return PostgresLoader(self.output, arriving)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.conninfo) as con:
            con.execute(statement.encode())

    def query(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.conninfo) as con:
            con.execute("set timezone = 'UTC'")
            return con.execute(query.encode()).fetchall()

    def tables(self) -> list[str]:
        names = self.query("select tablename from pg_tables where schemaname = 'raw' order by 1")
        return [name for (name,) in names if self.rows(name)]


def event(number: int = 1, **values: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "event_id": f"e{number}",
        "brand": "BRANDNAAM",
        "broadcast_id": "b1",
        "customer_id": "c1",
        "email_address": "someone@example.org",
        "occurred_at": AT,
        "received_at": AT + timedelta(seconds=number),
        "is_test": False,
    }
    return row | values


def bounce(number: int = 1, **values: object) -> dict[str, Any]:
    return event(number, bounce_type="hard", message=None) | values


def broadcast(number: int = 1, **values: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "brand": "BRANDNAAM",
        "broadcast_id": f"b{number}",
        "channel": "email",
        "broadcast_type": "SINGLE",
        "description": None,
        "subject": "Hello",
        "sent_on": AT,
        "received_at": AT,
    }
    return row | values


def as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    def field(value: object) -> str:
        return "" if value is None else '"' + as_text(value).replace('"', '""') + '"'

    lines = [",".join(rows[0]), *(",".join(map(field, row.values())) for row in rows)]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    lines = (json.dumps(row, default=as_text, ensure_ascii=False) for row in rows)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def write_parquet(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    def kind(name: str) -> pa.DataType:
        if name in {"occurred_at", "received_at", "sent_on"}:
            return pa.timestamp("us", tz="UTC")
        return pa.bool_() if name.startswith(("is_", "via_")) else pa.string()

    schema = pa.schema([pa.field(name, kind(name)) for name in rows[0]])
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)


WRITERS: dict[str, Callable[[Path, Sequence[dict[str, Any]]], None]] = {
    "csv": write_csv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


every_format = pytest.mark.parametrize("suffix", list(WRITERS))


def write(warehouse: Warehouse, name: str, rows: Sequence[dict[str, Any]]) -> Path:
    path = warehouse.folder / name
    path.parent.mkdir(exist_ok=True)
    WRITERS[path.suffix[1:]](path, rows)
    return path


HEADER = ",".join(bounce())
LINE = "B,b1,c1,,2026-11-21T10:00:00Z,2026-11-21T10:00:00Z,,hard,ok"
