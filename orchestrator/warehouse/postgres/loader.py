"""Store raw rows in a PostgreSQL warehouse."""

# ruff: noqa: S608 -- names come from the checked contract, types from the database
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Literal

import duckdb
from adbc_driver_manager import dbapi as adbc

from orchestrator.errors import UsageError
from orchestrator.warehouse import Loader, MergeCounts
from orchestrator.warehouse.contract import RECEIVED_AT, ColumnType, Table
from orchestrator.warehouse.merging import (
    LOADED_AT,
    OMITTED,
    Merge,
    data_columns,
    refuse_missing_rows,
)
from orchestrator.warehouse.postgres import (
    connect,
    credentials,
    run_cancellable,
    translated_errors,
)
from orchestrator.warehouse.sql import identifier, literal

_log = logging.getLogger(__name__)

_TYPES: dict[ColumnType, str] = {
    "text": "text",
    "timestamp": "timestamp with time zone",
    "boolean": "boolean",
}
_LOCK_TIMEOUT = "10min"  # for a load that waits for another load, or to add a column
_ROWS_AT_ONCE = 100_000
_BY_BYTES = ' collate "C"'


class PostgresLoader(Loader):
    """A PostgreSQL database that stores raw rows, each table in one transaction.

    Two loads of the same table wait for each other; readers never wait.
    """

    def __init__(
        self, output: Mapping[str, Any], arriving: duckdb.DuckDBPyConnection, *, schema: str = "raw"
    ) -> None:
        """Connect to the database of dbt's target; `arriving` is the connection with the rows.

        Raises ExportError if it cannot be reached.
        """
        self._schema = schema
        self._arriving = arriving
        self._connection = connect(credentials(output), autocommit=False)
        self._created: set[str] = set()

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._connection.close()

    def prepare(self, table: Table) -> None:
        """Create the raw table and its indexes, or add the nullable columns that are missing.

        An existing table gets no other indexes.
        """
        with self._transaction(table):
            run_cancellable(self._connection, lambda: self._prepare(table))

    def load(self, table: Table, arriving: str, now: datetime, *, sort: bool) -> MergeCounts:
        """Merge the rows of a relation into the raw table, as Loader.load says."""
        with self._transaction(table):
            return run_cancellable(
                self._connection, lambda: self._load(table, arriving, now, sort=sort)
            )

    def _prepare(self, table: Table) -> None:
        self._wait_for_loads(self._schema)  # otherwise two loads could create the same table
        existing, stored = self._types(table), self._stored(table)
        definitions = table.definitions(_TYPES, _name)
        if not existing:
            schema = identifier(self._schema)
            if self._fetch(f"select to_regnamespace({literal(schema)}) is null")[0]:
                self._execute(f"create schema {schema}")
            self._execute(f"create table {stored} ({', '.join(definitions.values())})")
            self._create_indexes(table)
            self._created.add(table.name)
            return
        where = f"{self._schema}.{table.name}"
        for column in table.missing_columns(existing, where=where):
            if column.name == LOADED_AT and not self._may_alter(table):
                _log.warning(
                    "%s has no column %s, and this role may not add it: late rows cannot be found",
                    *(where, LOADED_AT),
                )
                continue
            self._execute(f"alter table {stored} add column {definitions[column.name]}")
            if column.name == LOADED_AT:
                self._create_brin_index(table, LOADED_AT)

    def _load(self, table: Table, arriving: str, now: datetime, *, sort: bool) -> MergeCounts:
        self._wait_for_loads(self._stored(table))  # no other load adds rows after the comparison
        if not self._is_empty(table):
            loaded = self._merge(table, arriving, now, sort=sort)
        elif table.name not in self._created:
            loaded = self._fill(table, arriving, now, sort=sort)
        else:
            # It is faster to build an index once over all rows than to extend it with each row.
            self._drop_indexes(table)
            loaded = self._fill(table, arriving, now, sort=sort)
            self._create_indexes(table)
        self._created.discard(table.name)
        return loaded

    def _is_empty(self, table: Table) -> bool:
        """Return whether the stored table has no rows, and its columns the types of load."""
        types = self._types(table)
        if any(types[name.lower()] != kind for name, kind in self._kinds(table, types).items()):
            return False
        # Row-level security hides rows, and PostgreSQL does not copy into such a table.
        stored = self._stored(table)
        (is_empty,) = self._fetch(
            f"select not row_security_active({literal(stored)}::regclass)"
            f" and not exists (select from {stored})"
        )
        return bool(is_empty)

    def _fill(self, table: Table, arriving: str, now: datetime, *, sort: bool) -> MergeCounts:
        """Copy the rows into an empty table: there is nothing to compare them with."""
        stored, kinds = self._stored(table), self._kinds(table, self._types(table))
        moment = f"timestamptz {literal(now.isoformat())}"
        columns = ", ".join(
            f"{moment if name == LOADED_AT else identifier(name)} as {_name(name)}"
            for name in kinds
        )
        order = f" order by {identifier(RECEIVED_AT)}" if sort else ""
        rows = self._arriving.sql(f"select {columns} from {arriving}{order}")
        sent = self._ingest(rows, table.name.lower(), "append", db_schema_name=self._schema)
        (written,) = self._fetch(f"select count(*) from {stored}")
        refuse_missing_rows(stored, expected=sent, written=written)
        # A tenth of the usual sample is enough for the run that follows. Because columns are named,
        # PostgreSQL does not count this as an analyze, so autovacuum soon makes a complete one.
        self._execute("set local default_statistics_target = 10")
        self._analyze(table, kinds)
        return MergeCounts(added=sent, replaced=0, present=0)

    def _merge(self, table: Table, arriving: str, now: datetime, *, sort: bool) -> MergeCounts:
        columns = ", ".join(
            f"{identifier(column.name)} as {_name(column.name)}" for column in data_columns(table)
        )
        rows = self._arriving.sql(f"select {columns}, {identifier(OMITTED)} from {arriving}")
        self._ingest(rows, "arriving", "create", temporary=True)
        types = self._types(table)
        keys = ", ".join(_name(name) for name in table.key)
        self._execute(f"analyze arriving ({keys})")
        loaded = (
            Merge(
                table=table,
                stored=self._stored(table),
                arriving="arriving",
                types=types,
                usual=_TYPES,
                row="ctid",
                temporary="create temp table {} on commit drop as",
                sort=sort,
                collations=self._collations(table),
                quoted=_name,
                execute=self._execute,
                fetch=self._fetch,
            )
            .compare()
            .write(now)
        )
        self._execute("drop table arriving")
        # A window after the newest moment that the planner knows would seem to have no rows.
        self._analyze(table, [name for name in (RECEIVED_AT, LOADED_AT) if name in types])
        return loaded

    def _analyze(self, table: Table, columns: Iterable[str]) -> None:
        if names := ", ".join(map(_name, columns)):
            self._execute(f"analyze {self._stored(table)} ({names})")

    @staticmethod
    def _kinds(table: Table, types: Mapping[str, str]) -> dict[str, str]:
        """Return the type that load gives each column, by name, without those not in `types`."""
        return {c.name: _TYPES[c.type] for c in table.columns if c.name.lower() in types}

    def _ingest(
        self,
        rows: duckdb.DuckDBPyRelation,
        name: str,
        mode: Literal["append", "create"],
        **options: Any,  # noqa: ANN401 - those of adbc_ingest
    ) -> int:
        """Copy rows into a table that exists or is created; return their number."""
        with self._connection.cursor() as cursor:
            reader = rows.to_arrow_reader(_ROWS_AT_ONCE)
            return cursor.adbc_ingest(name, reader, mode=mode, **options)

    def _create_indexes(self, table: Table) -> None:
        # Entities are joined by their key. Only load looks up an event by its key, and to sort the
        # keys by their bytes takes a fifth of the time that the rules of a language take. The brand
        # comes last: many rows have the same one, and two keys are compared from the first column.
        key, texts = list(table.key), set[str]()
        if table.kind == "event":
            key.sort(key=lambda name: name == "brand")
            texts = {column.name for column in table.columns if column.type == "text"}
        keys = ", ".join(_name(name) + (_BY_BYTES if name in texts else "") for name in key)
        self._execute(f"create index on {self._stored(table)} ({keys})")
        for column in table.columns:
            if column.name in (RECEIVED_AT, LOADED_AT):
                self._create_brin_index(table, column.name)

    def _create_brin_index(self, table: Table, column: str) -> None:
        """Create a BRIN index on a timestamp: a few kilobytes, enough to find the rows of a window.

        It relies on the order of the rows, which are inserted in the order of arrival.
        """
        options = "with (autosummarize = true)"
        self._execute(f"create index on {self._stored(table)} using brin ({column}) {options}")

    def _collations(self, table: Table) -> dict[str, str]:
        """Return a clause for each column of the key that an index has in the order of the bytes.

        A comparison can use an index only with the collation of the index. Indexes that an earlier
        version or somebody else created have that of the column.
        """
        query = f"""select string_agg(attname, ' ')
            from pg_index, unnest(indkey::int2[], indcollation::oid[]) as part (number, rule)
            join pg_attribute on attnum = number
            where indrelid = to_regclass({literal(self._stored(table))}) and attrelid = indrelid
            and rule = 'pg_catalog."C"'::regcollation"""
        indexed = (self._fetch(query)[0] or "").split(" ")
        return {name: _BY_BYTES for name in table.key if name.lower() in indexed}

    def _drop_indexes(self, table: Table) -> None:
        indexes = self._fetch(
            "select coalesce(string_agg(indexrelid::regclass::text, ', '), '') from pg_index"
            f" where indrelid = to_regclass({literal(self._stored(table))})"
        )[0]
        if indexes:
            self._execute(f"drop index {indexes}")

    def _may_alter(self, table: Table) -> bool:
        """Return whether the role may alter the table."""
        query = f"""select pg_has_role(relowner, 'usage') from pg_class
            where oid = to_regclass({literal(self._stored(table))})"""
        return bool(self._fetch(query)[0])

    def _wait_for_loads(self, name: str) -> None:
        """Lock a name until the end of the transaction, and wait for other loads that locked it.

        It is an advisory lock, because a lock on the table would require more privileges.
        """
        self._execute(
            f"select pg_advisory_xact_lock(hashtext('orchestrate load'), hashtext({literal(name)}))"
        )

    def _types(self, table: Table) -> dict[str, str]:
        """Return the type of each column of the stored table; empty if the table does not exist."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "select attname, format_type(atttypid, atttypmod), relkind"
                " from pg_attribute join pg_class on pg_class.oid = attrelid"
                f" where attrelid = to_regclass({literal(self._stored(table))})"
                " and attnum > 0 and not attisdropped"
            )
            columns = cursor.fetchall()
        if any(kind not in ("r", "p") for _, _, kind in columns):
            raise UsageError(
                f"{self._schema}.{table.name} is not a table: load can only write to tables"
            )
        return {name: type_name for name, type_name, _ in columns}

    @contextmanager
    def _transaction(self, table: Table) -> Iterator[None]:
        with translated_errors(f"{self._schema}.{table.name}"):
            try:
                self._execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
                yield
                self._connection.commit()
            except BaseException:
                with suppress(adbc.Error):  # a lost connection has rolled back already
                    self._connection.rollback()
                raise

    def _stored(self, table: Table) -> str:
        return f"{identifier(self._schema)}.{_name(table.name)}"

    def _execute(self, statement: str) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return int(cursor.rowcount)

    def _fetch(self, query: str) -> tuple[Any, ...]:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone() or ()


def _name(name: str) -> str:
    return identifier(name.lower())  # PostgreSQL lowers names that are not quoted
