"""Raw rows into a PostgreSQL warehouse."""

# ruff: noqa: S608 -- names come from the checked contract, types from the database
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import pyarrow as pa
from adbc_driver_manager import dbapi as adbc

from orchestrator.errors import ExportError, UsageError
from orchestrator.warehouse import Loaded
from orchestrator.warehouse.contract import RECEIVED, Table
from orchestrator.warehouse.postgres.server import (
    connect,
    credentials,
    run_cancellable,
    translated_errors,
)
from orchestrator.warehouse.sql import identifier, literal

_TYPES = {"text": "text", "timestamp": "timestamp with time zone", "boolean": "boolean"}
_PATIENCE = "10min"  # how long a load waits for another load, or to add a column


class PostgresLoader(AbstractContextManager["PostgresLoader"]):
    """A PostgreSQL database that takes raw rows, each table in one transaction.

    Loads of one table wait for each other; readers wait for none.
    """

    def __init__(self, output: Mapping[str, Any], *, schema: str = "raw") -> None:
        """Connect to the database of dbt's target.

        Raises ExportError where it cannot be reached.
        """
        self._schema = schema
        self._connection = connect(credentials(output), autocommit=False)

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def prepare(self, table: Table) -> None:
        """Make the raw table and its indexes, or add the columns that it lacks.

        A table that is there keeps the indexes that it has. Raises UsageError where it cannot take
        raw rows.
        """
        with self._transaction(table):
            run_cancellable(self._connection, lambda: self._fit(table))

    def load(self, table: Table, rows: pa.RecordBatchReader) -> Loaded:
        """Bring `rows` into the raw table, all or nothing, as orchestrator.engines.Loader says.

        Raises UsageError where the table cannot take them.
        """
        with self._transaction(table):
            return run_cancellable(self._connection, lambda: self._bring(table, rows))

    def _fit(self, table: Table) -> None:
        self._wait_for_loads(self._schema)  # two may find the same table missing
        existing = self._columns(table)
        if existing is None:
            self._make(table)
        else:
            self._widen(table, existing)

    def _bring(self, table: Table, rows: pa.RecordBatchReader) -> Loaded:
        with self._connection.cursor() as cursor:
            cursor.adbc_ingest("arriving", rows, mode="create", temporary=True)
        self._wait_for_loads(self._target(table))  # what is there already is looked up once
        self._arrive(table)
        return self._write(table)

    def _wait_for_loads(self, name: str) -> None:
        """Wait until this load is alone with a name, up to the end of the transaction.

        A lock on the table itself would need more rights than a load does.
        """
        self._execute(
            f"select pg_advisory_xact_lock(hashtext('orchestrate load'), hashtext({literal(name)}))"
        )

    def _make(self, table: Table) -> None:
        schema, target = identifier(self._schema), self._target(table)
        if self._fetch(f"select to_regnamespace({literal(schema)}) is null"):
            self._execute(f"create schema {schema}")
        self._execute(f"create table {target} ({', '.join(_definitions(table).values())})")
        keys = ", ".join(_name(name) for name in table.key)
        self._execute(f"create index on {target} ({keys})")
        if table.is_received:
            # Rows stand in order of arrival: a BRIN of some kilobytes finds a window.
            options = "with (autosummarize = true)"
            self._execute(f"create index on {target} using brin ({RECEIVED}) {options}")

    def _widen(self, table: Table, existing: Mapping[str, str]) -> None:
        """Add the nullable columns that the table lacks."""
        for column in table.lacking(existing, where=f"{self._schema}.{table.name}"):
            definition = _definitions(table)[column.name]
            self._execute(f"alter table {self._target(table)} add column {definition}")

    def _arrive(self, table: Table) -> None:
        """Keep the rows that are to be written in `fresh`, of all that came in `incoming`."""
        types = self._columns(table) or {}
        # In the warehouse's own types, which may be others: alike is what is alike there.
        values = ", ".join(
            f"{_cast(_name(column.name), column.type, types[column.name.lower()])}"
            f" as {_name(column.name)}"
            for column in table.columns
        )
        self._execute(f"create temp table incoming on commit drop as select {values} from arriving")
        self._execute("drop table arriving")
        self._execute("analyze incoming")
        others = [column.name for column in table.columns if column.name not in table.key]
        alike = [
            _same(table),
            *(f"new.{_name(name)} is not distinct from old.{_name(name)}" for name in others),
        ]
        if table.kind == "event" and table.is_received:  # for the index
            bounds = (f"(select {end}({RECEIVED}) from incoming)" for end in ("min", "max"))
            alike.append(f"old.{RECEIVED} between {' and '.join(bounds)}")
        self._execute(
            "create temp table fresh on commit drop as select * from incoming as new"
            f" where not exists (select from {self._target(table)} as old"
            f" where {' and '.join(alike)})"
        )

    def _write(self, table: Table) -> Loaded:
        target, same = self._target(table), _same(table)
        incoming = self._fetch("select count(*) from incoming")
        fresh = self._fetch("select count(*) from fresh")
        replaced = 0
        if table.kind == "entity":
            replaced = self._fetch(
                "select count(*) from fresh as new"
                f" where exists (select from {target} as old where {same})"
            )
            self._execute(f"delete from {target} as old using fresh as new where {same}")
        names = ", ".join(_name(column.name) for column in table.columns)
        order = f"order by {RECEIVED}" if table.is_received else ""
        added = self._execute(f"insert into {target} ({names}) select {names} from fresh {order}")
        if added != fresh:
            raise ExportError(f"{target}: a trigger or rule keeps rows out; none were loaded.")
        self._execute(f"analyze {target}")
        return Loaded(added=fresh - replaced, replaced=replaced, present=incoming - fresh)

    def _columns(self, table: Table) -> dict[str, str] | None:
        """Return the type of each column of the table; None where there is no table."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "select attname, format_type(atttypid, atttypmod), relkind"
                " from pg_attribute join pg_class on pg_class.oid = attrelid"
                f" where attrelid = to_regclass({literal(self._target(table))})"
                " and attnum > 0 and not attisdropped"
            )
            columns = cursor.fetchall()
        if any(kind not in ("r", "p") for _, _, kind in columns):
            raise UsageError(f"{self._schema}.{table.name} is no table: raw rows go into tables")
        return {name: type_name for name, type_name, _ in columns} or None

    @contextmanager
    def _transaction(self, table: Table) -> Iterator[None]:
        with translated_errors(f"{self._schema}.{table.name}"):
            try:
                self._execute(f"set local lock_timeout = '{_PATIENCE}'")
                yield
                self._connection.commit()
            except BaseException:
                with suppress(adbc.Error):  # a connection that is lost has rolled back
                    self._connection.rollback()
                raise

    def _target(self, table: Table) -> str:
        return f"{identifier(self._schema)}.{_name(table.name)}"

    def _execute(self, statement: str) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return int(cursor.rowcount)

    def _fetch(self, query: str) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return int((cursor.fetchone() or (0,))[0])


def _name(name: str) -> str:
    return identifier(name.lower())  # as SQL that quotes nothing reads it


def _definitions(table: Table) -> dict[str, str]:
    return {
        column.name: f"{_name(column.name)} {_TYPES[column.type]}"
        + ("" if column.nullable else " not null")
        for column in table.columns
    }


def _cast(value: str, kind: str, to: str) -> str:
    if kind == "boolean" and to.startswith(("smallint", "bigint", "numeric")):
        value = f"cast({value} as integer)"  # the one number that a boolean can become
    return f"cast({value} as {to})"


def _same(table: Table) -> str:
    return " and ".join(f"new.{_name(name)} = old.{_name(name)}" for name in table.key)
