"""Raw rows into a DuckDB warehouse."""

# ruff: noqa: S608 -- names come from the checked contract, values from the database
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from orchestrator.errors import ExportError, UsageError
from orchestrator.warehouse import Loaded
from orchestrator.warehouse.contract import RECEIVED, Table
from orchestrator.warehouse.duckdb.reader import path_of, unavailable
from orchestrator.warehouse.project import rendered
from orchestrator.warehouse.sql import identifier, literal
from orchestrator.warehouse.stage import limits

_TYPES = {"text": "varchar", "timestamp": "timestamptz", "boolean": "boolean"}


class DuckdbLoader(AbstractContextManager["DuckdbLoader"]):
    """A DuckDB file that takes raw rows; it is open, and locked, as long as the `with` lasts.

    Tables get no primary key: DuckDB's indexes cost memory, and the views' tests check keys.
    """

    def __init__(self, output: Mapping[str, Any], *, schema: str = "raw") -> None:
        """Open or create the database of dbt's target.

        Raises LockedError if another process has it open, UsageError if it cannot be opened.
        """
        self._schema = schema
        output = rendered(output)
        self._con = _connect(path_of(output))
        for name, value in {**limits(), **(output.get("settings") or {})}.items():
            self._con.execute(f"set {name} = {literal(str(value))}")

    def __exit__(self, *_: object) -> None:
        """Close the database and give up its lock."""
        self._con.close()

    def prepare(self, table: Table) -> None:
        """Make the raw table, or add the columns that it lacks.

        Raises UsageError if the table exists in a shape that cannot take raw rows.
        """
        with self._explained(table):
            self._fit(table, self._target(table))

    def load(self, table: Table, rows: pa.RecordBatchReader) -> Loaded:
        """Bring `rows` into the raw table, all or nothing, as orchestrator.engines.Loader says.

        Raises UsageError if the table exists in a shape that cannot take them.
        """
        with self._explained(table):
            self._arrive(table, self._target(table), rows)
            return self._write(table, self._target(table))

    def _target(self, table: Table) -> str:
        return f"{identifier(self._schema)}.{identifier(table.name)}"

    @contextmanager
    def _explained(self, table: Table) -> Iterator[None]:
        try:
            yield
        except (duckdb.ProgrammingError, duckdb.DataError, duckdb.IntegrityError) as error:
            # DuckDB's words may quote a value, and so an address: only the kind is told.
            raise UsageError(
                f"{self._schema}.{table.name} does not take rows of the raw contract"
                f" ({type(error).__name__}): compare its columns and types with models/staging.",
            ) from None

    def _arrive(self, table: Table, target: str, rows: pa.RecordBatchReader) -> None:
        """Keep the rows that are to be written in `fresh`, of all that came in `incoming`.

        This is done before the transaction, which this process alone can open. In one, DuckDB
        2.0.0 loses an Arrow stream of more than one row group (122,880 rows) that goes into a
        table made `as select … limit 0`: its scans stay empty, even after the commit.
        """
        con = self._con
        names = _names(table)
        # In the warehouse's own types, which may be others: alike is what is alike there.
        con.execute(
            f"create or replace temp table incoming as select {names} from {target} limit 0"
        )
        con.register("arriving", rows)
        con.execute(f"insert into incoming select {names} from arriving")
        con.unregister("arriving")
        alike = " and ".join(
            f"new.{name} is not distinct from old.{name}"
            for name in (identifier(column.name) for column in table.columns)
        )
        con.execute(
            "create or replace temp table fresh as select new.* from incoming as new anti join"
            f" (select {names} from {target} {self._range(table)}) as old on {alike}",
        )

    def _write(self, table: Table, target: str) -> Loaded:
        con = self._con
        incoming, fresh = self._count("incoming"), self._count("fresh")
        same = " and ".join(f"new.{name} = old.{name}" for name in map(identifier, table.key))
        replaced = 0
        con.begin()
        try:
            if table.kind == "entity":
                replaced = self._count(f"fresh as new semi join {target} as old on {same}")
                con.execute(f"delete from {target} as old using fresh as new where {same}")
            self._insert(table, target, fresh)
            con.commit()
        except BaseException:
            con.rollback()
            raise
        con.execute("drop table incoming; drop table fresh")
        return Loaded(added=fresh - replaced, replaced=replaced, present=incoming - fresh)

    def _insert(self, table: Table, target: str, fresh: int) -> None:
        before = self._count(target)
        # In order of arrival, so that the zone maps of received_at narrow a window's read.
        order = f"order by {RECEIVED}" if table.is_received else ""
        self._con.execute(f"insert into {target} ({_names(table)}) from fresh {order}")
        if self._count(target) != before + fresh:
            raise ExportError(f"{target}: DuckDB lost rows on the way; none were loaded.")

    def _fit(self, table: Table, target: str) -> None:
        """Make the schema and the table, or add the nullable columns that the table lacks."""
        self._con.execute(f"create schema if not exists {identifier(self._schema)}")
        definitions = {
            column.name: f"{identifier(column.name)} {_TYPES[column.type]}"
            + ("" if column.nullable else " not null")
            for column in table.columns
        }
        self._con.execute(
            f"create table if not exists {target} ({', '.join(definitions.values())})",
        )
        description = self._con.execute(f"from {target} limit 0").description
        existing = {str(column[0]).lower() for column in description}
        for column in table.lacking(existing, where=f"{self._schema}.{table.name}"):
            self._con.execute(f"alter table {target} add column {definitions[column.name]}")

    def _range(self, table: Table) -> str:
        """Narrow the rows there are to those that could be alike, by zone map and not by index."""
        if not table.is_received or table.kind != "event":
            return ""
        lowest, highest = self._con.execute(
            f"select min({RECEIVED})::varchar, max({RECEIVED})::varchar from incoming",
        ).fetchall()[0]
        if lowest is None:
            return "where false"
        return f"where {RECEIVED} between '{lowest}' and '{highest}'"

    def _count(self, relation: str) -> int:
        return int(self._con.execute(f"select count(*) from {relation}").fetchall()[0][0])


def _names(table: Table) -> str:
    return ", ".join(identifier(column.name) for column in table.columns)


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is no folder: make it, or set DUCKDB_PATH.")
    try:
        con = duckdb.connect(path)
    except duckdb.IOException as error:
        raise unavailable(path, error) from error
    con.execute("set timezone = 'UTC'")
    return con
